"""A crop cache on disk: its files, checks for damage, and parts held out of training."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.runtime.parsing import parse_json
from ssbsn_cli.core.runtime.storage import short_digest

# A part of the keys of caches.
VERSION = 3
PIXELS = "pixels.raw"
INDEX = "index.json"
_CHECKED_ROWS = 64


@dataclass(frozen=True)
class Window:
    """A photo in a cache, or a part of a photo that is too large.

    `photo` is the path of its file, and `number` its index in the list of photos that the
    cache was opened with. Its first byte is at `offset`, and `dtype` is "|u1" or "<u2". `checksum`
    and `content` are from the functions below.
    """

    photo: str
    number: int
    top: int
    left: int
    photo_height: int
    photo_width: int
    offset: int
    height: int
    width: int
    dtype: str
    checksum: int
    content: int

    @property
    def size_bytes(self) -> int:
        """The size of its pixels in bytes."""
        return self.height * self.width * 3 * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class CropCache:
    """Decoded photos in a memory-mapped file.

    `path` is its folder, and `reused` is whether it existed already. Photos that are not in
    it are `skipped`, each with a reason. `pixels` are all bytes, read-only.
    """

    path: Path
    reused: bool
    windows: list[Window]
    skipped: list[tuple[Path, str]]
    pixels: NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """The size of all pixels in bytes."""
        return self.pixels.size

    @property
    def content(self) -> str:
        """A digest of the pictures, which does not depend on the photos' paths and dates."""
        windows = [replace(window, photo="", offset=0) for window in self.windows]
        return short_digest(windows)

    def by_number(self) -> dict[int, list[Window]]:
        """Return the windows of each photo, by its number."""
        windows: dict[int, list[Window]] = {}
        for window in self.windows:
            windows.setdefault(window.number, []).append(window)
        return windows

    def view(self, window: Window) -> NDArray[Any]:
        """Return the pixels of one of `windows`.

        They are a read-only view, (H, W, 3) uint8 or uint16: nothing is read until it is used.
        """
        flat = self.pixels[window.offset : window.offset + window.size_bytes]
        return flat.view(window.dtype).reshape(window.height, window.width, 3)


def checksum(pixels: NDArray[Any]) -> int:
    """Return the CRC-32 of every 64th row and the last row of (H, W, 3) pixels.

    These rows are enough to notice lost disk blocks, and few enough to take no time.
    """
    some = np.ascontiguousarray(pixels[::_CHECKED_ROWS])
    return zlib.crc32(np.ascontiguousarray(pixels[-1]).data, zlib.crc32(some.data))


def content_of(pixels: NDArray[Any]) -> int:
    """Return the CRC-32 of all pixels of (H, W, 3)."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def write_index(
    folder: Path, key: str, windows: Sequence[Window], skipped: Sequence[tuple[Path, str]]
) -> None:
    """Write everything that `load` needs in addition to the pixels, which must exist."""
    content = {
        "version": VERSION,
        "key": key,
        "bytes": (folder / PIXELS).stat().st_size,
        "windows": [asdict(window) for window in windows],
        "skipped": [(str(path), reason) for path, reason in skipped],
    }
    (folder / INDEX).write_text(json.dumps(content), encoding="ascii")


def load(folder: Path, key: str, *, reused: bool) -> CropCache | None:
    """Open a cache; return None if it is missing, cut short, damaged, or has another key."""
    try:
        content = parse_json((folder / INDEX).read_bytes())
        if (content["version"], content["key"]) != (VERSION, key):
            return None
        windows = [_window(entry) for entry in content["windows"]]
        skipped = [(Path(path), str(reason)) for path, reason in content["skipped"]]
        pixels = np.memmap(folder / PIXELS, np.uint8, "r")
        # A plain array over the same memory: slicing a memmap is several times slower.
        cache = CropCache(folder, reused, windows, skipped, pixels.view(np.ndarray))
        whole = pixels.size == content["bytes"] and windows
        if whole and all(checksum(cache.view(window)) == window.checksum for window in windows):
            return cache
    # A damaged index may cause any of these.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        pass
    return None


def _window(entry: dict[str, Any]) -> Window:
    """Return a window after checking its fields."""
    window = Window(**entry)
    numbers = [value for name, value in entry.items() if name not in ("photo", "dtype")]
    if not isinstance(window.photo, str) or window.dtype not in ("|u1", "<u2"):
        raise ValueError("no photo")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("no numbers")
    below, beyond = window.top + window.height, window.left + window.width
    if below > window.photo_height or beyond > window.photo_width:
        raise ValueError("no part of its photo")
    return window


def hold_out(cache: CropCache, fraction: float, crop: int) -> tuple[CropCache, CropCache]:
    """Split each photo into a part to train on and one to validate on.

    A crop of one part never overlaps a crop of the other.

    Parameters
    ----------
    cache : CropCache
        All photos.
    fraction : float
        Fraction of the rows to validate on, 0 to 1, but at least as many rows as a crop needs. They
        are taken alternately from the bottom and the top of successive photos.
    crop : int
        Height and width of the crops.

    Returns
    -------
    training, held : CropCache
        The same pixels with other windows. Photos without room for a crop of each kind are
        only used for training.
    """
    training: list[Window] = []
    held: list[Window] = []
    for window in cache.windows:
        rows = max(round(window.photo_height * fraction), crop)
        if window.photo_height - rows < crop or window.width < crop:
            training.append(window)
            continue
        above = window.number % 2 == 1
        # All windows of a photo are split at the same row.
        split = (rows if above else window.photo_height - rows) - window.top
        split = min(max(split, 0), window.height)
        upper, lower = _rows(window, 0, split), _rows(window, split, window.height)
        kept, checked = (lower, upper) if above else (upper, lower)
        for part, windows in ((kept, training), (checked, held)):
            if min(part.height, part.width) >= crop:
                windows.append(part)
    # A large photo is kept as windows, and all of them may be where its rows are held out.
    learned = {window.number for window in training}
    training += [window for window in held if window.number not in learned]
    held = [window for window in held if window.number in learned]
    return replace(cache, windows=training), replace(cache, windows=held)


def _rows(window: Window, start: int, stop: int) -> Window:
    row_bytes = window.size_bytes // window.height
    return replace(
        window,
        offset=window.offset + start * row_bytes,
        top=window.top + start,
        height=stop - start,
    )
