"""The files of a run, and what it logs: written as it happens, read back robustly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ssbsn_cli.core.errors import OptionError


@dataclass(frozen=True)
class RunFiles:
    """The files of a run.

    Parameters
    ----------
    directory : Path
        The run.
    """

    directory: Path

    @property
    def config(self) -> Path:
        """The whole configuration, TOML."""
        return self.directory / "config.toml"

    @property
    def data(self) -> Path:
        """Which photos were found, JSON."""
        return self.directory / "data.json"

    @property
    def metrics(self) -> Path:
        """Losses and scores, one JSON object a line."""
        return self.directory / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """What a resumed training goes on from."""
        return self.directory / "state.pt"

    @property
    def weights(self) -> Path:
        """The best weights so far."""
        return self.directory / "weights.safetensors"

    @property
    def card(self) -> Path:
        """What they are, for people."""
        return self.directory / "weights.md"

    @property
    def checkpoints(self) -> Path:
        """The directory of the last weights."""
        return self.directory / "checkpoints"

    @property
    def previews(self) -> Path:
        """The directory of pictures before and after."""
        return self.directory / "previews"

    def checkpoint(self, step: int) -> Path:
        """Return where the weights after some steps go."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def preview(self, step: int) -> Path:
        """Return where the picture after some steps goes."""
        return self.previews / f"step-{step:08d}.png"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the log of a run that may have been killed and resumed any number of times.

    Parameters
    ----------
    path : Path
        What `MetricsLog` wrote.

    Returns
    -------
    list of dict
        With "event" and "step" in each. Steps never fall, and no event occurs twice at one step:
        what a resumed run did again counts as it was done last. Lines that are cut short or
        otherwise damaged are left out. Empty if there is no such file.

    Raises
    ------
    OptionError
        If there is such a file but it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OptionError(
            f"{path}: cannot be read: {error.strerror}", "Check the path and its permissions."
        ) from None
    kept: list[dict[str, Any]] = []
    for line in content.split(b"\n"):
        record = _parse(line)
        if record is not None:
            del kept[_superseded_from(kept, record) :]
            kept.append(record)
    return kept


class MetricsLog:
    """Append to the log of a run, one line at a time; a kill costs the last line at most.

    Of several processes, only one may have it.

    Parameters
    ----------
    path : Path
        Made if it does not exist; else the log is continued.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        if self._file.tell():
            self._file.seek(-1, 2)
            # Else the first new line would continue the one that a kill cut short: both lost.
            if self._file.read(1) != b"\n":
                self._write(b"\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line, which others can read at once.

        Parameters
        ----------
        record : mapping
            Plain values, with "event" (str) and "step" (int) among them. Numbers that are not
            finite become null, which every reader of JSON understands.
        """
        values = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        self._write(json.dumps(values, allow_nan=False).encode("ascii") + b"\n")

    def close(self) -> None:
        """Close the file; nothing can be written any more."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, content: bytes) -> None:
        self._file.write(content)


class TensorBoardLog:
    """Write what `MetricsLog` writes for TensorBoard, too.

    Parameters
    ----------
    directory : Path
        For the files of TensorBoard; made if it does not exist.

    Raises
    ------
    OptionError
        If TensorBoard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise OptionError(
                "TensorBoard is not installed.",
                "Install it with pip install 'ssbsn[tensorboard]', or leave --tensorboard out.",
            ) from None
        self._writer: Any = SummaryWriter(str(directory))

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of a record as scalars named ``event/key``.

        Parameters
        ----------
        record : mapping
            As for `MetricsLog.write`; texts and truth values are passed over.
        """
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"{record['event']}/{key}", value, record["step"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    # ValueError: no JSON, or no UTF-8. RecursionError: nested too deeply for the parser.
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return None
    step = record.get("step")
    return record if isinstance(step, int) and not isinstance(step, bool) else None


def _superseded_from(kept: list[dict[str, Any]], record: dict[str, Any]) -> int:
    """Return the index in `kept` of the first line that `record` and what follows do again."""
    step = record["step"]
    first = len(kept)
    while first and kept[first - 1]["step"] > step:
        first -= 1
    # A step and the validation after it share a number: only the same event is a repetition.
    same = first
    while same and kept[same - 1]["step"] == step:
        same -= 1
        if kept[same]["event"] == record["event"]:
            return same
    # A lower step than the last line's tells a resumption, which does all of that step again.
    return same if first < len(kept) else first


@dataclass(frozen=True)
class StepDone:
    """What became of one step.

    Parameters
    ----------
    step : int
        Steps done.
    loss : float
        Of this step's batch.
    learning_rate : float
        Of this step.
    images_per_second : float
        Crops a second, of all processes, since training began or was resumed.
    progress : float
        Part of the training that is done, 0 to 1.
    seconds : float
        Time spent on training, earlier sessions included.
    """

    step: int
    loss: float
    learning_rate: float
    images_per_second: float
    progress: float
    seconds: float
