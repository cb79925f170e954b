"""Where the photos of a training are, on the command line and in the record of a run."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DataPath:
    """The photos in a folder or a file, or `photos` instead.

    `share` is how often they are drawn, relative to the others.
    """

    path: Path
    share: float = 1.0
    photos: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """What messages call it."""
        return "The photos" if self.photos else str(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return absolute paths and the share, as values for JSON."""
        photos = [str(photo.absolute()) for photo in self.photos]
        return {"path": str(self.path.absolute()), "share": self.share, "photos": photos}


def parse_data(text: str) -> DataPath:
    """Read ``PATH`` or ``PATH=SHARE``."""
    path, sign, share = text.rpartition("=")
    if sign and not os.path.exists(text):  # noqa: PTH110 - raises nothing
        with suppress(ValueError):
            return DataPath(Path(path), float(share))
    return DataPath(Path(text))


def data_told(told: dict[str, Any]) -> DataPath:
    """Undo `DataPath.to_dict`; raise ValueError, KeyError or TypeError if that is damaged."""
    photos = tuple(path_told(photo) for photo in told["photos"])
    return DataPath(path_told(told["path"]), float(told["share"]), photos)


def path_told(told: str) -> Path:
    """Return a path that a record tells; raise ValueError or TypeError if it is none."""
    if "\0" in told:
        raise ValueError("no path")
    return Path(told)
