"""Keeping a run's files: checkpoints, the best weights, their card, metrics, pictures."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssbsn_cli import __version__
from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.card import model_card
from ssbsn_cli.core.training.files import RunFiles
from ssbsn_cli.core.training.metrics import MetricsLog, TensorBoardLog
from ssbsn_cli.core.training.state import TrainingState
from ssbsn_cli.core.training.validation import denoise_picture
from ssbsn_cli.core.weights.checkpoints import save_checkpoint
from ssbsn_cli.core.weights.records import HALF_WRITTEN, write_atomically

if TYPE_CHECKING:
    from ssbsn_cli.core.training.loop import StepReport

_GAP = 8

Notify = Callable[[str], None]


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

    def log_step(self, report: StepReport) -> None:
        """Log a step."""
        self._log(
            {
                "event": "step",
                "step": report.step,
                "seconds": round(report.seconds, 3),
                "loss": report.loss,
                "learning_rate": report.learning_rate,
                "images_per_second": round(report.images_per_second, 3),
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
