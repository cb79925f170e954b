"""The logs of a run, which can be read back even if damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ssbsn_cli.core.errors import OptionError, explain_unreadable, how_to_install
from ssbsn_cli.core.runtime.parsing import parse_json


@dataclass(frozen=True)
class StepDone:
    """The results of a step, and the speed and progress of the training.

    Images are the crops of all processes; their speed is the mean since the training started or was
    resumed. `progress` is the fraction that is done, 0 to 1. `seconds` include earlier sessions.
    """

    step: int
    loss: float
    learning_rate: float
    images_per_second: float
    progress: float
    seconds: float


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the log of a run that may have been killed and resumed any number of times.

    Each record has an "event" and a "step". Steps never decrease, and no event occurs twice at one
    step: if a resumed run repeated steps, the last repetition counts. Damaged lines are left out.
    Without the file, there are no records.

    Raises
    ------
    OptionError
        The file exists, but cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OptionError(*explain_unreadable(path, error)) from None
    kept: list[dict[str, Any]] = []
    for line in content.split(b"\n"):
        record = _parse(line)
        if record is not None:
            del kept[_superseded_from(kept, record) :]
            kept.append(record)
    return kept


class MetricsLog:
    """Appends lines to the log of a run; a kill costs at most the last line.

    Only one process may have it open. The first line creates the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def _open(self) -> BinaryIO:
        file: BinaryIO = self._path.open("a+b", buffering=0)
        if file.tell():
            file.seek(-1, 2)
            # A kill may have cut the last line short.
            if file.read(1) != b"\n":
                file.write(b"\n")
        return file

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line of plain values, including "event" and "step".

        Numbers that are not finite become null, since JSON lacks them.
        """
        values = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        self._file = self._file or self._open()
        self._file.write(json.dumps(values, allow_nan=False).encode("ascii") + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


class TensorBoardLog:
    """Writes the same as `MetricsLog` for TensorBoard; the first record creates its files.

    Later steps that a killed process has logged are forgotten, since they come again.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise OptionError(
                "TensorBoard is not installed.",
                f"{how_to_install('tensorboard')} Or leave --tensorboard out.",
            ) from None
        self._make_writer = partial(SummaryWriter, str(folder))
        self._writer: Any = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Add only the numbers of a record, as scalars named ``event/key``."""
        self._writer = self._writer or self._make_writer(purge_step=record["step"])
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"{record['event']}/{key}", value, record["step"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._writer:
            self._writer.close()


Log = MetricsLog | TensorBoardLog


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return None
    step = record.get("step")
    return record if isinstance(step, int) and not isinstance(step, bool) else None


def _superseded_from(kept: list[dict[str, Any]], record: dict[str, Any]) -> int:
    """Return the index in `kept` of the first line that `record` makes obsolete."""
    step = record["step"]
    first = len(kept)
    while first and kept[first - 1]["step"] > step:
        first -= 1
    # A step and its validation share a number, so only the same event is a repetition.
    same = first
    while same and kept[same - 1]["step"] == step:
        same -= 1
        if kept[same]["event"] == record["event"]:
            return same
    # A step below that of the last line means that the run was resumed and repeats that step.
    return same if first < len(kept) else first
