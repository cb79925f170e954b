"""The training loop: one step after another, saved on the way, resumed as if never stopped."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssbsn_cli.core.errors import DeviceError, SsbsnError
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.device import is_out_of_memory
from ssbsn_cli.core.runtime.process import deferred_interrupts
from ssbsn_cli.core.runtime.threads import prefetch
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.log import StepDone
from ssbsn_cli.core.training.muon import Muon
from ssbsn_cli.core.training.objectives import distance, learning_rate
from ssbsn_cli.core.training.recorder import Recorder, TrainingState
from ssbsn_cli.core.training.sources import Draw, Mixture
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import Validation, to_device
from ssbsn_cli.core.types import Notify

_ENDLESS = 1 << 62
# Compiling takes up to a minute, and saves a third.
_WORTH_MINUTES = 5


class DivergedError(SsbsnError):
    """The loss is not finite any more."""


class Trainer:
    """Trains a network.

    Parameters
    ----------
    network : Network
        On the CPU.
    config : Config
        How to train.
    steps : int or None
        How many; None trains by time.
    batches : Mixture
        Where this process' part of each step comes from.
    validation : Validation
        Scores each checkpoint.
    recorder : Recorder or None
        Keeps the run's files; None in processes that do not lead.
    team : Team
        The processes.
    precision : {"fp32", "bf16"}
        Of the forward pass.
    state : TrainingState, optional
        Where to go on from.
    notify : callable, optional
        Told, in a sentence, what a user should know.

    Raises
    ------
    DeviceError
        If the network is to be compiled, and what that takes is missing.
    """

    def __init__(
        self,
        network: Network,
        config: Config,
        *,
        steps: int | None,
        batches: Mixture,
        validation: Validation,
        recorder: Recorder | None,
        team: Team,
        precision: str,
        state: TrainingState | None = None,
        notify: Notify = lambda _: None,
    ) -> None:
        self._config = config
        self._steps = steps
        self._batches = batches
        self._validation = validation
        self._recorder = recorder
        self._team = team
        self._precision = precision
        self._network = network.to(team.device).train()
        # PyTorch's type hints do not know this form.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._compiler = Compiler(
            network.bulk,
            config.training.compile,
            # As measured. Several processes would wait for the slowest to compile.
            pays=network.blind
            and team.device.type == "cpu"
            and precision == "bf16"
            and team.world == 1,
            # Forwards once, backwards for features and weights.
            passes=3,
            notify=notify,
        )
        self._optimizer: torch.optim.Optimizer
        if config.optimizer.kind == "muon":
            self._optimizer = Muon(network)
        else:
            fused = team.device.type in ("cpu", "cuda")
            self._optimizer = torch.optim.Adam(network.parameters(), fused=fused)
        self._average = copy.deepcopy(network).eval() if config.optimizer.ema else None
        self._step = 0
        self._seconds = 0.0
        if state:
            network.load_state_dict(state.network)
            self._optimizer.load_state_dict(state.optimizer)
            if self._average is not None and state.average is not None:
                self._average.load_state_dict(state.average)
            self._step, self._seconds = state.step, state.seconds
        self._parallel: nn.Module = team.wrap(network)

    @property
    def best_network(self) -> Network:
        """The network that is scored and saved: the average if there is one."""
        return self._network if self._average is None else self._average

    def train(self, listen: Callable[[StepDone], None] = lambda _: None) -> None:
        """Train to the end, with a checkpoint now and then and one at the end.

        Parameters
        ----------
        listen : callable, optional
            Told of each step.

        Raises
        ------
        DivergedError
            The loss is not finite any more.
        DeviceError
            The memory is too small.
        SsbsnError
            The last checkpoint cannot be written, or another process is gone.
        KeyboardInterrupt, SystemExit
            A signal asked to stop; all is saved.
        """
        if self._step == 0:
            # The initial weights take part: a fine-tuning that only spoils them changes nothing.
            self._save()
        start, first, earlier = time.monotonic(), self._step, self._seconds
        saved = start
        size, pixels = self._config.training.batch_size, self._pixels()
        with (
            deferred_interrupts() as interrupt,
            contextlib.closing(prefetch(self._batches, self._step, _ENDLESS)) as batches,
        ):
            while (progress := self._progress()) < 1:
                rate = learning_rate(self._config.optimizer, self._step, progress)
                draw = next(batches)
                with self._explained():
                    loss = self._compiler.run(
                        partial(self._do_step, draw, rate),
                        (draw.noisy.shape, draw.stride),
                        pixels,
                    )
                    elapsed = time.monotonic() - start
                    loss, stop, self._seconds = self._team.agree(
                        loss, bool(interrupt.number), earlier + elapsed
                    )
                if not math.isfinite(loss):
                    raise self._diverged(loss)
                self._step += 1
                speed = (self._step - first) * size / elapsed
                done = StepDone(
                    self._step, loss, rate, speed, min(self._progress(), 1), self._seconds
                )
                if self._recorder:
                    self._recorder.log_step(done)
                listen(done)
                if stop:
                    break
                if time.monotonic() - saved > 60 * self._config.training.save_minutes:
                    self._save_if_possible()
                    saved = time.monotonic()
            if self._recorder and self._step > self._recorder.saved_step:
                self._save_at_last()
            interrupt.leave()

    def _progress(self) -> float:
        if self._steps is not None:
            return self._step / self._steps
        assert self._config.training.max_minutes is not None
        return self._seconds / (60 * self._config.training.max_minutes)

    def _pixels(self) -> float:
        """Return how many pixels the whole training sees, or whether they are many."""
        if self._steps is not None:
            return self._steps * self._config.training.batch_size * self._config.training.crop**2
        assert self._config.training.max_minutes is not None
        return math.inf if self._config.training.max_minutes >= _WORTH_MINUTES else 0

    def _do_step(self, draw: Draw, rate: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        noisy = to_device(draw.noisy, self._team.device)
        target = noisy if draw.target is draw.noisy else to_device(draw.target, self._team.device)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            output = self._parallel(noisy, draw.stride)
            loss = distance(output, target, self._config.training.loss)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip := self._config.optimizer.gradient_clip:
            nn.utils.clip_grad_norm_(self._network.parameters(), clip)
        self._optimizer.step()
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights."""
        if self._average is None:
            return
        # Early on it forgets faster, or it would stay near the random start.
        decay = min(self._config.optimizer.ema, (1 + self._step) / (10 + self._step))
        for mean, value in zip(self._average.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision == "bf16":
            return torch.autocast(self._team.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _diverged(self, loss: float) -> DivergedError:
        return DivergedError(
            f"The loss of step {self._step + 1} is {loss}{self._last_checkpoint()}.",
            "Start another run from it with --init, and with a lower --lr, "
            "--set optimizer.gradient_clip=1 or --precision fp32.",
        )

    def _last_checkpoint(self) -> str:
        if not self._recorder:
            return ""
        return (
            f"; the last good checkpoint is that of step {self._recorder.saved_step}, in "
            f"{self._recorder.files.directory}"
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in a sentence, while inside, that memory ran out or another process is gone."""
        try:
            with self._team.together():
                yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"The memory of {self._team.device} is too small for this training"
                f"{self._last_checkpoint()}.",
                "Use a smaller --batch-size or --crop, or close other programs.",
            ) from None

    def _save_if_possible(self) -> None:
        try:
            self._save()
        except OSError as error:
            assert self._recorder
            # The disk may have room again by the next time.
            self._recorder.warn(
                f"A checkpoint could not be written: {error.strerror or error}; training goes on, "
                f"the last one is that of step {self._recorder.saved_step}."
            )

    def _save_at_last(self) -> None:
        try:
            self._save()
        except OSError as error:
            raise SsbsnError(
                f"The last checkpoint could not be written: {error.strerror or error}"
                f"{self._last_checkpoint()}.",
                "Free some space, then start the same command with --resume.",
            ) from None

    def _save(self) -> None:
        if not self._recorder:
            return
        network = self.best_network.eval()
        with self._explained(), self._autocast(), self._compiler.as_it_is():
            score = self._validation.score(network)
            rating = self._validation.rate(score)
            preview = self._recorder.preview(network)
        self._network.train()
        if not math.isfinite(rating):
            raise self._diverged(rating)
        state = TrainingState(
            step=self._step,
            seconds=self._seconds,
            network=_plain(self._network),
            average=_plain(self._average) if self._average else None,
            optimizer=self._optimizer.state_dict(),
        )
        self._recorder.save(state, network, score, rating, preview)


def _plain(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())
