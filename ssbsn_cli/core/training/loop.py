"""The training loop: it takes the steps, saves regularly, and resumes as if never stopped."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ssbsn_cli.core.errors import DeviceError, SsbsnError
from ssbsn_cli.core.runtime.device import is_out_of_memory
from ssbsn_cli.core.runtime.process import deferred_interrupts
from ssbsn_cli.core.runtime.storage import way_out
from ssbsn_cli.core.training.config import Config, OptimizerConfig
from ssbsn_cli.core.training.data import TrainingData
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.log import StepDone
from ssbsn_cli.core.training.recorder import Recorder
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import preview
from ssbsn_cli.core.training.workers import draw_ahead
from ssbsn_cli.core.types import Notify

# Compiling takes up to a minute, and saves a third of the training time.
_WORTH_MINUTES = 5


class DivergedError(SsbsnError):
    """The loss is no longer finite."""


@dataclass
class Trainer:
    """Runs a training.

    Only the leading process has a recorder. If `steps` is None, the training is limited by time.
    `workers` processes draw the batches, or a thread if there are none. `seconds` is the time
    trained so far, including earlier sessions. `say` gets a message when a signal stops it.
    """

    learner: Learner
    config: Config
    data: TrainingData
    recorder: Recorder | None
    team: Team
    steps: int | None
    workers: int = 0
    seconds: float = 0.0
    say: Notify = lambda _: None

    def train(self, listen: Callable[[StepDone], None] = lambda _: None) -> None:
        """Train to the end, with regular checkpoints and one at the end; report each step.

        Raises
        ------
        DivergedError
            The loss is no longer finite.
        DeviceError
            The memory is too small.
        SsbsnError
            The last checkpoint cannot be written, or another process is gone.
        KeyboardInterrupt, SystemExit
            A signal asked to stop; everything is saved.
        """
        training = self.config.training
        # The initial weights compete, too: if fine-tuning only makes them worse, they are kept.
        self._save()
        start, first, earlier = time.monotonic(), self.learner.step, self.seconds
        saved = start
        pixels = self._pixels()
        with (
            deferred_interrupts() as interrupt,
            contextlib.closing(draw_ahead(self.data.batches, first, self.workers)) as batches,
        ):
            while (progress := self.progress) < 1:
                rate = learning_rate(self.config.optimizer, self.learner.step, progress)
                with self._explained():
                    draw = next(batches)
                    loss = self.learner.learn(draw, rate, pixels)
                    elapsed = time.monotonic() - start
                    loss, stop, self.seconds = self.team.agree(
                        loss, bool(interrupt.number), earlier + elapsed
                    )
                step = self.learner.step
                if not math.isfinite(loss):
                    raise self._diverged(f"loss of step {step}", loss)
                speed = (step - first) * training.batch_size / elapsed
                done = StepDone(step, loss, rate, speed, min(self.progress, 1), self.seconds)
                if self.recorder:
                    self.recorder.log_step(done)
                listen(done)
                if stop:
                    self.say(
                        f"Stopping after step {step}: it is scored and saved first. Another Ctrl-C "
                        "stops at once and loses what came after the last checkpoint."
                    )
                    break
                if time.monotonic() - saved > 60 * training.save_minutes:
                    self._save(needed=False)
                    saved = time.monotonic()
            self._save()
            with self._explained():
                # A process that leaves while the leader still saves may crash.
                self.team.gather(None)
            interrupt.raise_again()

    @property
    def progress(self) -> float:
        """The fraction of the training that is done; it ends at 1."""
        if self.steps is not None:
            return self.learner.step / self.steps
        training = self.config.training
        assert training.max_minutes is not None
        most = training.most_steps or math.inf
        return max(self.seconds / (60 * training.max_minutes), self.learner.step / most)

    def _pixels(self) -> float:
        """Return how many pixels it sees at each stride; 0 or infinity if time limits it."""
        training = self.config.training
        if self.steps is not None:
            return self.steps * training.batch_size * training.crop**2 / len(training.pd_a)
        assert training.max_minutes is not None
        return math.inf if training.max_minutes >= _WORTH_MINUTES else 0

    def _diverged(self, what: str, value: float) -> DivergedError:
        return DivergedError(
            f"The {what} is {value}{self._last_checkpoint()}.",
            "Start another run with a lower --lr, --set optimizer.gradient_clip=1 or --precision "
            "fp32; --init names the weights to start from.",
        )

    def _last_checkpoint(self) -> str:
        if not self.recorder or not self.recorder.files.state.exists():
            return ""
        return (
            f"; the last good checkpoint is that of step {self.recorder.saved_step}, in "
            f"{self.recorder.files.folder}"
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors raised inside into sentences: memory ran out, or another process is gone."""
        try:
            with self.team.together():
                yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"The memory of {self.team.device} is too small for this training"
                f"{self._last_checkpoint()}.",
                "Use a smaller --batch-size or --crop (ssbsn denoise: leave out --adapt), or close "
                "other programs.",
            ) from None

    def _save(self, *, needed: bool = True) -> None:
        """Score the network and write a checkpoint, unless there is one of this step.

        If it is not needed, failure is only a warning.
        """
        if not self.recorder or self.learner.step == self.recorder.saved_step:
            return
        with self._explained(), self.learner.result() as network:
            score = self.data.validation(network)
            picture = preview(network, self.data.picture, self.team.device)
        if not math.isfinite(score.rating):
            raise self._diverged(f"validation after step {self.learner.step}", score.rating)
        try:
            with self._explained():
                self.recorder.save(self.learner.state(self.seconds), network, score, picture)
        except OSError as error:
            failed = f"A checkpoint could not be written: {error.strerror or error}"
            if needed:
                raise SsbsnError(
                    f"{failed}{self._last_checkpoint()}.",
                    f"{way_out(error)}, then start the same command with --resume (ssbsn denoise: "
                    "with --skip-existing).",
                ) from None
            # The disk may have room again next time.
            self.recorder.warn(f"{failed}; training goes on{self._last_checkpoint()}.")


def learning_rate(config: OptimizerConfig, step: int, progress: float) -> float:
    """Return the learning rate of one step.

    The warm-up depends on `step`, from 0. The schedule depends on `progress`, the fraction of the
    training that is done, in steps or in time; values above 1 count as 1.
    """
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "step":
        scale = config.factor ** sum(progress >= at for at in config.step_at)
    elif config.schedule == "cosine":
        scale = config.factor + (1 - config.factor) * (1 + math.cos(math.pi * progress)) / 2
    elif config.schedule == "linear":
        scale = config.factor + (1 - config.factor) * (1 - progress)
    else:
        scale = 1.0
    warm = min((step + 1) / (config.warmup_steps + 1), 1.0)
    return config.learning_rate * scale * warm
