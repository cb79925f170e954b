"""Fine-tuning weights on the photos that will be denoised."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ssbsn_cli.core.data.cache import UnreadableError
from ssbsn_cli.core.data.sampler import TooSmallError
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.settings import Settings
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.temporary import temporary_folder
from ssbsn_cli.core.training.data_paths import DataPath
from ssbsn_cli.core.training.log import StepDone
from ssbsn_cli.core.training.loop import DivergedError
from ssbsn_cli.core.training.parts import NoNoiseError
from ssbsn_cli.core.training.request import (
    TrainingOptions,
    TrainingRequest,
    adapting_config,
    make_request,
    usual_cache,
)
from ssbsn_cli.core.training.rounds import train_rounds
from ssbsn_cli.core.training.run import prepare_training
from ssbsn_cli.core.training.run_files import RunFiles
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.locate import LoadedWeights, load_weights
from ssbsn_cli.core.weights.registry import default_name


def adapt_weights(
    photos: Sequence[Path],
    weights: str | None,
    minutes: float,
    settings: Settings,
    keep: Path | None,
    say: Notify,
    warn: Notify,
    listen: Callable[[StepDone], None],
) -> LoadedWeights:
    """Fine-tune weights on noisy photos, with the configuration that `adapting_config` chooses.

    A part of each photo is held out, and the weights that score best there are returned: those of
    the last round that helped, or the original weights if none did. Their name tells what they were
    adapted from. Errors are those of `prepare_training` and `Trainer.train`.

    It starts from `weights` (see `load_weights`), by default the default weights. Of the settings,
    it uses the device, the precision ("fp16" counts as "auto") and compiling. The run is kept in
    `keep`, if given. A run that is already there is resumed, with all its photos. `listen` is
    called after each step.
    """
    name = weights or default_name()
    options = {
        "training.max_minutes": minutes,
        "training.device": settings.device,
        "training.precision": "auto" if settings.precision == "fp16" else settings.precision,
        "training.compile": settings.compile,
    }
    with ExitStack() as stack:
        temporary = stack.enter_context(temporary_folder(Path(tempfile.gettempdir())))
        run = keep or temporary / "run"
        going_on = RunFiles(run).resumable
        asked = TrainingOptions(
            run=run,
            config=adapting_config(name),
            options=options,
            cache=usual_cache() if keep else temporary,
            init=name,
            resume=going_on,
        )
        request = make_request(asked, say)
        if going_on:
            _refuse_others(request, photos)
        else:
            named = DataPath(photos[0].parent, photos=tuple(photos))
            request = replace(request, noisy=[named], resume=RunFiles(run).weights.exists())
        count = request.config.training.rounds
        try:
            train_rounds(request, partial(_train_round, count, listen, say, warn), say, warn)
        except (NoNoiseError, TooSmallError, DivergedError, UnreadableError) as error:
            warn(f"Adapting was given up. {error}")
        original, files = load_weights(name), RunFiles(run)
        adapted = load_weights(str(files.weights)) if files.weights.exists() else original
    if _same(adapted.network, original.network):
        say(f"Adapting did not help. The weights {name} are used unchanged.")
        return original
    say(f"Adapted the weights {name} to the photos{f': {files.weights}' if keep else ''}.")
    return replace(adapted, name=f"{name}, adapted")


def _train_round(
    count: int,
    listen: Callable[[StepDone], None],
    say: Notify,
    warn: Notify,
    number: int,
    request: TrainingRequest,
) -> None:
    """Train one of `count` rounds, and report each step with the progress of all rounds."""

    def report(done: StepDone) -> None:
        listen(replace(done, progress=(number - 1 + done.progress) / count))

    with closing(prepare_training(request, say, warn)) as prepared:
        if prepared.recorder is None:
            raise OptionError(
                "Photos are not denoised by several processes.", "Start ssbsn without torchrun."
            )
        prepared.trainer.train(report)


def _same(one: Network, other: Network) -> bool:
    weights = (network.state_dict().values() for network in (one, other))
    return all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def _refuse_others(request: TrainingRequest, photos: Sequence[Path]) -> None:
    """Refuse photos that the run did not start with."""
    known = {photo for data in request.noisy for photo in data.photos}
    if others := [photo for photo in photos if photo.absolute() not in known]:
        raise OptionError(
            f"{request.run} was adapted to other photos than {others[0]}.",
            f"Use it as it is with --weights {request.run}, or choose another folder.",
        )
