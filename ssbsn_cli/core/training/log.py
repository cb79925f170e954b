"""The files of a run, and what it logs: written as it happens, read back robustly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import OptionError


class RunFiles:
    """Where the files of a run are.

    Attributes
    ----------
    config, data : Path
        The whole configuration, TOML; the photos that were found, JSON.
    metrics : Path
        Losses and scores, one JSON object a line.
    state : Path
        What a resumed training goes on from.
    weights, card : Path
        The best weights so far, and their model card.
    checkpoints, previews : Path
        The directories of the last weights, and of pictures before and after.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config.toml"
        self.data = directory / "data.json"
        self.metrics = directory / "metrics.jsonl"
        self.state = directory / "state.pt"
        self.weights = directory / "weights.safetensors"
        self.card = directory / "weights.md"
        self.checkpoints = directory / "checkpoints"
        self.previews = directory / "previews"

    def checkpoint(self, step: int) -> Path:
        """Return the file of the weights after some steps."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def preview(self, step: int) -> Path:
        """Return the file of the picture after some steps."""
        return self.previews / f"step-{step:08d}.png"


@dataclass(frozen=True)
class StepDone:
    """What became of one step.

    Parameters
    ----------
    step, loss, learning_rate
        Steps done, and the loss and the learning rate of this one.
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


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the log of a run that may have been killed and resumed any number of times.

    Returns
    -------
    list of dict
        With "event" and "step" in each. Steps never fall, and no event occurs twice at one step:
        of what a resumed run did again, the last time counts. Lines that are cut short or
        otherwise damaged are left out. Empty if there is no such file.

    Raises
    ------
    OptionError
        The file is there, but cannot be read.
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
    """Appends to the log of a run, one line at a time; a kill costs the last line at most.

    Only one process may have it open.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        if self._file.tell():
            self._file.seek(-1, 2)
            # Otherwise the first new line would continue one that a kill cut short.
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line of plain values, "event" and "step" among them.

        Numbers that are not finite become null, as JSON has none.
        """
        values = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        self._file.write(json.dumps(values, allow_nan=False).encode("ascii") + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLog:
    """Writes for TensorBoard what `MetricsLog` writes."""

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
        """Add the numbers of a record, and nothing else in it, as scalars named ``event/key``."""
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"{record['event']}/{key}", value, record["step"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    # ValueError: not JSON, or not UTF-8. RecursionError: nested too deeply for the parser.
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return None
    step = record.get("step")
    return record if isinstance(step, int) and not isinstance(step, bool) else None


def _superseded_from(kept: list[dict[str, Any]], record: dict[str, Any]) -> int:
    """Return the index in `kept` of the first line that `record` makes out of date."""
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
    # A step below that of the last line means a resumption, which does all of that step again.
    return same if first < len(kept) else first
