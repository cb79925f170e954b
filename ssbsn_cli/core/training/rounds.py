"""Training in rounds: the result of each round denoises the photos for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from ssbsn_cli.core.training.loop import DivergedError
from ssbsn_cli.core.training.parts import NoNoiseError
from ssbsn_cli.core.training.request import TrainingRequest
from ssbsn_cli.core.training.run_files import RunFiles
from ssbsn_cli.core.types import Notify

_Trained = TypeVar("_Trained")


def train_rounds(
    request: TrainingRequest,
    train: Callable[[int, TrainingRequest], _Trained],
    say: Notify,
    warn: Notify,
) -> _Trained:
    """Call `train` with each of `rounds`, and return the result of the last one that succeeded.

    A later round may find no noise or diverge. Then the training keeps the result of the earlier
    rounds, and warns.

    Raises
    ------
    NoNoiseError, DivergedError
        The first round failed, or the one with which a training went on.
    OptionError
        As by `rounds`.
    """
    # Only the last result is kept, since results may hold networks and photos.
    result: list[_Trained] = []
    for number, each in rounds(request, say):
        try:
            result = [train(number, each)]
        except (NoNoiseError, DivergedError) as error:
            if not result:
                raise
            warn(f"Round {number} was given up. {error}")
    return result[0]


def rounds(request: TrainingRequest, say: Notify) -> Iterator[tuple[int, TrainingRequest]]:
    """Yield the rounds of a training, one after the other, with their numbers from 1.

    Each starts from the initial weights, which denoise the photos in the first round. In a later
    one, the result of the rounds before does. A resumed run goes on with the last round that has
    begun.

    Raises
    ------
    OptionError
        The run exists and should not be resumed, or weights without their state are there.
    """
    files, count = RunFiles(request.run), request.config.training.rounds
    if request.resume and files.has_trained_weights and not files.resumable:
        raise files.cannot_go_on("weights but no state.pt")
    if not request.resume:
        files.refuse_run()
    runs = [*map(files.round, range(1, count)), files]
    first = max((n for n, run in enumerate(runs) if run.state.is_file()), default=0)
    for n in range(first, count):
        if count > 1:
            say(f"Round {n + 1} of {count}.")
        # A later round has weights only if it improved on the initial ones.
        helped = [run.weights for run in runs[:n] if run.weights.is_file()]
        each = replace(
            request,
            run=runs[n].folder,
            denoise_with=str(helped[-1]) if helped else None,
            whole=None if runs[n] is files else request.run,
            resume=request.resume and n == first,
        )
        yield n + 1, each
