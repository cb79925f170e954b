"""Keeping a run's files: its state, checkpoints, best weights, their card, metrics, pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssbsn_cli import __version__
from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.storage import HALF_WRITTEN, write_atomically
from ssbsn_cli.core.training.card import model_card
from ssbsn_cli.core.training.log import MetricsLog, RunFiles, TensorBoardLog
from ssbsn_cli.core.training.validation import denoise_picture
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.checkpoints import save_checkpoint

_VERSION = 1


@dataclass(frozen=True)
class TrainingState:
    """A training between two steps. Crops, strides and noise follow from the seed and the step.

    Parameters
    ----------
    step : int
        Steps done.
    seconds : float
        Time that they took.
    network : dict
        Weights by name.
    average : dict or None
        Their moving average, if there is one.
    optimizer : dict
        State of the optimiser.
    best : float or None
        Best rating of a checkpoint so far; lower is better.
    best_step : int
        When that was.
    """

    step: int
    seconds: float
    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    best: float | None = None
    best_step: int = 0

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all: one that is there stays until then.

        Raises
        ------
        OSError
            It cannot be written.
        """
        buffer = io.BytesIO()
        torch.save({"version": _VERSION, **asdict(self)}, buffer)
        write_atomically(path, buffer.getvalue())


def load_state(path: Path, device: torch.device) -> TrainingState:
    """Read a state.

    Parameters
    ----------
    path : Path
        What `TrainingState.save` wrote. No code in it is ever run.
    device : torch.device
        Where its tensors go.

    Raises
    ------
    SsbsnError
        It is damaged.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content.pop("version") != _VERSION:
            raise ValueError("another version")
        return TrainingState(**content)
    # Damaged bytes make the unpickler fail in every way there is.
    except Exception as error:
        raise SsbsnError(
            f"{path} is damaged and training cannot go on from it.",
            "Start a new run from the run's weights with --init.",
        ) from error


if TYPE_CHECKING:
    from ssbsn_cli.core.training.log import StepDone

_GAP = 8


class Recorder:
    """Writes what a run leaves; only the leading process calls it.

    Parameters
    ----------
    files : RunFiles
        Where to.
    descriptor : Descriptor
        Of the network.
    about : mapping
        Arguments of `model_card` that stay the same: ``data``, ``config_text``, ``licence`` and
        ``init``.
    keep : int
        How many of the last checkpoints stay.
    picture : array
        (H, W, 3) float32 in [0, 1]: what the previews show.
    device : torch.device
        Of the network.
    state : TrainingState or None
        Where the run goes on from.
    warn : callable
        Told what a user should know.
    listen : callable
        Given each line of the metrics.
    tensorboard : bool
        Whether TensorBoard gets the metrics, too.
    """

    def __init__(
        self,
        files: RunFiles,
        descriptor: Descriptor,
        about: Mapping[str, Any],
        *,
        keep: int,
        half: bool,
        picture: NDArray[np.float32],
        device: torch.device,
        state: TrainingState | None,
        warn: Notify,
        listen: Callable[[Mapping[str, Any]], None],
        tensorboard: bool = False,
    ) -> None:
        self.files = files
        self.warn = warn
        self.saved_step = state.step if state else 0
        self.best = state.best if state else None
        self.best_step = state.best_step if state else 0
        self._descriptor = dataclasses.replace(descriptor, value_range=1.0)
        self._about = about
        self._keep = keep
        self._half = half
        self._picture = picture
        self._device = device
        for directory in (files.directory, files.checkpoints, files.previews):
            directory.mkdir(exist_ok=True)
            # A kill may have left what was being written.
            for leftover in directory.glob(f"{HALF_WRITTEN}*"):
                leftover.unlink()
        self._logs: list[MetricsLog | TensorBoardLog] = [MetricsLog(files.metrics)]
        if tensorboard:
            self._logs.append(TensorBoardLog(files.directory / "tensorboard"))
        self._listen = listen
        self._silent = False

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs:
            with contextlib.suppress(OSError):
                log.close()

    def log_step(self, done: StepDone) -> None:
        """Log a step."""
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

    def preview(self, network: Network) -> bytes:
        """Return a PNG of the same crop before and after."""
        after = denoise_picture(network, self._picture, self._device)
        gap = np.ones((len(after), _GAP, 3), np.float32)
        both = np.rint(np.hstack([self._picture, gap, after]) * 255).astype(np.uint8)
        return encode_photo(Photo(both, Metadata(), "png"), "png")

    def save(
        self,
        state: TrainingState,
        network: Network,
        score: Mapping[str, float],
        rating: float,
        preview: bytes,
    ) -> None:
        """Write a checkpoint; what was good before stays until all of it is there.

        Parameters
        ----------
        state : TrainingState
            All but what is best so far.
        network : Network
            Whose weights are the result.
        score, rating
            Of that network; see `Validation`.
        preview : bytes
            PNG.

        Raises
        ------
        OSError
            Something cannot be written.
        """
        better = self.best is None or rating < self.best
        best = rating if better else self.best
        weights = network.state_dict()
        if self._half:
            weights = {name: value.half() for name, value in weights.items()}
        about = {"trained_by": f"ssbsn {__version__}", "steps": str(state.step)}
        save_checkpoint(self.files.checkpoint(state.step), weights, self._descriptor, about)
        write_atomically(self.files.preview(state.step), preview)
        best_step = state.step if better else self.best_step
        if better:
            save_checkpoint(self.files.weights, weights, self._descriptor, about)
            card = model_card(
                name=self.files.directory.name,
                descriptor=self._descriptor.to_dict(),
                steps=state.step,
                minutes=state.seconds / 60,
                scores=dict(score),
                version=__version__,
                **self._about,
            )
            write_atomically(self.files.card, card.encode())
        dataclasses.replace(state, best=best, best_step=best_step).save(self.files.state)
        self.best, self.best_step, self.saved_step = best, best_step, state.step
        self._log(
            {
                "event": "validation",
                "step": state.step,
                "seconds": round(state.seconds, 3),
                **score,
                "best": better,
                "picture": self.files.preview(state.step)
                .relative_to(self.files.directory)
                .as_posix(),
            }
        )
        for old in sorted(self.files.checkpoints.glob("step-*.safetensors"))[: -self._keep]:
            old.unlink(missing_ok=True)

    def _log(self, record: Mapping[str, Any]) -> None:
        self._listen(record)
        for log in self._logs:
            try:
                log.write(record)
                self._silent = False
            except OSError as error:
                if not self._silent:
                    self.warn(f"The metrics could not be written: {error.strerror or error}.")
                self._silent = True
