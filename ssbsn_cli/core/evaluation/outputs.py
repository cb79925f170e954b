"""What an evaluation leaves in files besides submissions: pictures and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.evaluation.rounding import quantise, reference_of, to_picture
from ssbsn_cli.core.evaluation.scoring import Result
from ssbsn_cli.core.imaging import Photo, encode_photo
from ssbsn_cli.core.report.evaluation import Pictures
from ssbsn_cli.core.runtime.storage import atomic_output

_CLEAN = "clean"
# With all methods, this makes a page of about 30 MB.
_MOST = 40
_SIDE = 384


def save_picture(folder: Path, result: Result, overwrite: bool) -> Path:
    """Write a result as an 8-bit PNG: ``METHOD/SAMPLE.png``.

    Parameters
    ----------
    folder : Path
        It and the method's folder are made if missing.
    result : Result
        With pixels.
    overwrite : bool
        Whether a file with other content may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImageError
        It cannot be written.
    """
    content = encode_photo(Photo(_eight_bits(result)), "png")
    path = folder / result.method / f"{result.sample.name}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # So that an interrupted evaluation can go on.
        if path.is_file() and path.read_bytes() == content:
            return path
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror}.", "Choose another --save-images."
        ) from error
    write_file(path, content, overwrite)
    return path


def write_file(path: Path, content: bytes, overwrite: bool) -> None:
    """Write a file whole or not at all; raise `ImageError` if that fails or it exists."""
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(content)


def to_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows that have the same keys as a CSV table, UTF-8, with a header."""
    rows = list(rows)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8", "backslashreplace")


class PictureBook:
    """Collects the middles of some samples, noisy, clean and denoised, for a report.

    Parameters
    ----------
    count : int
        How many samples there will be; at most 40 of them, evenly spread, are shown.
    """

    def __init__(self, count: int) -> None:
        shown = min(count, _MOST)
        self._numbers = {round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)}
        self._seen: dict[str, bool] = {}
        self._views: dict[str, dict[str, NDArray[np.uint8]]] = {}

    def wants(self, name: str) -> bool:
        """Tell whether a sample is shown; ask for samples in their order."""
        return self._seen.setdefault(name, len(self._seen) in self._numbers)

    def add(self, result: Result) -> None:
        """Take what is to be shown of a result."""
        name = result.sample.name
        if not self.wants(name) or result.pixels is None:
            return
        views = self._views.setdefault(name, {})
        if not views and result.sample.references:
            views[_CLEAN] = _middle(quantise(reference_of(result.sample).astype(np.float64)))
        views[result.method] = _middle(_eight_bits(result))

    def pictures(self) -> list[Pictures]:
        """Return all that was taken."""
        return [Pictures(name, views) for name, views in self._views.items()]


def _eight_bits(result: Result) -> NDArray[np.uint8]:
    assert result.pixels is not None
    return result.pixels if result.pixels.dtype == np.uint8 else to_picture(result.pixels)


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(length - _SIDE, 0) // 2 for length in picture.shape[:2])
    # A copy, or the whole picture would stay in memory.
    return picture[top : top + _SIDE, left : left + _SIDE].copy()
