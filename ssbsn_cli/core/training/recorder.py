"""Writing a run's files: its state, checkpoints, best weights, their card, metrics, previews."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from typing import Any

from ssbsn_cli import __version__
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.storage import write_together
from ssbsn_cli.core.training.card import Origin, model_card
from ssbsn_cli.core.training.log import Log, StepDone
from ssbsn_cli.core.training.run_files import RunFiles
from ssbsn_cli.core.training.state import TrainingState
from ssbsn_cli.core.training.validation import Score
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.checkpoints import encode_checkpoint

# Takes a line of the metrics.
Listen = Callable[[Mapping[str, Any]], None]


@dataclass
class Recorder:
    """Writes the files of a run; only the leading process calls it.

    Nothing is written before the first checkpoint or step, so a training that fails to start leaves
    no run behind. The run continues from `state`, if given. `listen` and the logs get each line of
    the metrics. `saved_step` and `best_step` are the steps of the last and of the best checkpoint;
    without one, they are -1 and 0.

    `results` are where the best weights go: the run, and the whole run if it is a round of one.
    Those from before the first step go there, too, unless the round is a `later` one: then the
    result of the rounds before it stays until something better than the initial weights is found.
    """

    files: RunFiles
    results: Sequence[RunFiles]
    later: bool
    descriptor: Descriptor
    origin: Origin
    state: InitVar[TrainingState | None]
    warn: Notify
    listen: Listen
    logs: Sequence[Log]

    def __post_init__(self, state: TrainingState | None) -> None:
        self.saved_step = state.step if state else -1
        self.best_step = state.best_step if state else 0
        self._best = state.best if state else None
        self._resumed = state is not None
        self._training = self.origin.config.training
        self._begun = False
        self._unwritable: set[Log] = set()

    def close(self) -> None:
        """Close the logs, and let other processes train the run."""
        for log in self.logs:
            with contextlib.suppress(OSError):
                log.close()
        self.files.release()

    def log_step(self, done: StepDone) -> None:
        """Log a step."""
        self._begin()
        self._log(
            {
                "event": "step",
                "step": done.step,
                "seconds": round(done.seconds, 3),
                "loss": done.loss,
                "learning_rate": done.learning_rate,
                "images_per_second": round(done.images_per_second, 3),
            }
        )

    def save(self, state: TrainingState, network: Network, score: Score, picture: bytes) -> None:
        """Write a checkpoint; the previous files stay until it is complete.

        `best` and `best_step` of the state are not set yet. The picture is a PNG that shows what
        the network does. Raises OSError if something cannot be written.
        """
        self._begin()
        step = state.step
        better = self._best is None or score.rating < self._best
        best, best_step = (score.rating, step) if better else (self._best, self.best_step)
        weights = network.state_dict()
        if self._training.half:
            weights = {name: value.half() for name, value in weights.items()}
        about = {"trained_by": f"ssbsn {__version__}", "steps": str(step)}
        if self.origin.licence:
            about["licence"] = self.origin.licence
        preview = self.files.preview(step)
        checkpoint = encode_checkpoint(weights, self.descriptor, about)
        contents = {self.files.checkpoint(step): checkpoint, preview: picture}
        for result in self.results if better and (step or not self.later) else ():
            name, descriptor = result.folder.name, self.descriptor.to_dict()
            minutes = state.seconds / 60
            card = model_card(name, descriptor, self.origin, step, minutes, score.figures)
            contents |= {result.weights: checkpoint, result.card: card.encode()}
        contents[self.files.state] = replace(state, best=best, best_step=best_step).to_bytes()
        write_together(contents)
        self._best, self.best_step, self.saved_step = best, best_step, step
        self._log(
            {
                "event": "validation",
                "step": step,
                "seconds": round(state.seconds, 3),
                **score.figures,
                "best": better,
                "picture": preview.relative_to(self.files.folder).as_posix(),
            }
        )
        checkpoints = sorted(self.files.checkpoints.glob("step-*.safetensors"))
        for old in checkpoints[: -self._training.keep]:
            old.unlink(missing_ok=True)

    def _begin(self) -> None:
        """Make the run's folders, and remove files of later steps that a kill may have left."""
        if self._begun:
            return
        files = self.files
        for folder in (files.checkpoints, files.previews):
            folder.mkdir(exist_ok=True)
        if self._resumed:
            # The state is written last, so files of later steps belong to no state.
            for last in (files.checkpoint(self.saved_step), files.preview(self.saved_step)):
                for later in last.parent.glob(f"step-*{last.suffix}"):
                    if later.name > last.name:
                        later.unlink()
        record = json.dumps(self.origin.record, indent=2)
        config = self.origin.config.to_toml()
        write_together({files.data: record.encode("ascii"), files.config: config.encode()})
        self._begun = True

    def _log(self, record: Mapping[str, Any]) -> None:
        self.listen(record)
        for log in self.logs:
            try:
                log.write(record)
                self._unwritable.discard(log)
            except OSError as error:
                if log not in self._unwritable:
                    self.warn(f"The metrics could not be written: {error.strerror or error}.")
                self._unwritable.add(log)
