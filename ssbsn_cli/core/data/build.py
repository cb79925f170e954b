"""Writing a crop cache, and what is kept where there is no room for whole photographs."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.data.store import (
    PIXELS,
    CropCache,
    Window,
    checksum,
    load,
    write_index,
)
from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.types import Notify


def cut_windows(
    pixels: NDArray[Any],
    room: int,
    among: int,
    side: int,
    alignment: int,
    rng: np.random.Generator,
) -> list[tuple[int, int, NDArray[Any]]]:
    """Cut a photograph to its fair share of the room.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, 3) integers.
    room : int
        Bytes that are left.
    among : int
        How many photographs share them, this one included.
    side : int
        Height and width of windows, but no more than the photograph has.
    alignment : int
        What is kept takes a multiple of so many bytes.
    rng : numpy.random.Generator
        Chooses the windows.

    Returns
    -------
    list of (int, int, numpy.ndarray)
        Top, left and view of the photograph, or of windows of it, maybe none, that take no more
        than `room`. By the same `rng`, fewer windows are the first of more: pairs rely on it.
    """
    share = room / among
    height, width, _ = pixels.shape
    if _aligned(pixels.nbytes, alignment) <= share:
        return [(0, 0, pixels)]
    rows, columns = min(side, height), min(side, width)
    cost = _aligned(rows * columns * 3 * pixels.itemsize, alignment)
    # Rounded at random: where no share has room for a window, some photographs get one.
    count = min(int(share / cost + rng.random()), room // cost)
    windows = []
    for _ in range(count):
        top, left = map(int, rng.integers((height - rows + 1, width - columns + 1)))
        windows.append((top, left, pixels[top : top + rows, left : left + columns]))
    return windows


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


HALF_BUILT = ".building-"
_ALIGNMENT = 64
_SECONDS_BETWEEN_NOTES = 10.0
_WINDOWS_SEED = 1
# File sizes stand for pixels where these are compared, before anything is decoded.
_LOSSY = (".jpg", ".jpeg", ".jpe", ".webp")
_LOSSY_GAIN = 8


def build(
    photos: Sequence[Path],
    sizes: Sequence[int],
    path: Path,
    key: str,
    side: int,
    limit_bytes: int,
    notify: Notify,
) -> CropCache:
    """Build a cache beside its place and move it there when it is complete.

    Parameters
    ----------
    photos : sequence of Path
        What goes in.
    sizes : sequence of int
        Bytes of their files.
    path : Path
        Where the cache goes; what is there is replaced.
    key : str
        Of the cache.
    side, limit_bytes, notify
        As for `open_cache`.

    Returns
    -------
    CropCache
        Open.

    Raises
    ------
    OptionError
        Nothing can be read, or nothing fits.
    OSError
        It cannot be written; nothing stays.
    """
    temporary = path.with_name(f"{HALF_BUILT}{secrets.token_hex(6)}")
    temporary.mkdir()
    try:
        with (temporary / PIXELS).open("wb") as file:
            windows, skipped = _decode(photos, sizes, file, side, limit_bytes, notify)
            file.flush()
            os.fsync(file.fileno())
        if not windows:
            photo, reason = skipped[0]
            raise OptionError(
                f"None of the {len(photos)} photos can be used; the first is {photo}: {reason}",
                "Name a folder of readable photos.",
            )
        write_index(temporary, key, windows, skipped)
        # One that is there is damaged, or it would have been opened.
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    cache = load(path, key, reused=False)
    if cache is None:
        raise OSError(errno.EIO, "what was written reads back differently")
    return cache


def _decode(
    photos: Sequence[Path],
    sizes: Sequence[int],
    file: BinaryIO,
    side: int,
    limit_bytes: int,
    notify: Notify,
) -> tuple[list[Window], list[tuple[Path, str]]]:
    windows: dict[int, list[Window]] = {}
    skipped: dict[int, str] = {}

    def pixels_expected(number: int) -> int:
        lossy = photos[number].suffix.lower() in _LOSSY
        return sizes[number] * (_LOSSY_GAIN if lossy else 1)

    noted = time.monotonic()
    # The small ones first, so that the large ones share all the room that those leave.
    for done, number in enumerate(sorted(range(len(photos)), key=pixels_expected)):
        if time.monotonic() - noted > _SECONDS_BETWEEN_NOTES:
            notify(f"Decoded {done} of {len(photos)} photos.")
            noted = time.monotonic()
        try:
            pixels = read_pixels(photos[number])
        except ImageError as error:
            skipped[number] = str(error)
            continue
        room = limit_bytes - file.tell()
        # By its number alone, so that the windows of two photos of a pair are at the same places.
        rng = np.random.default_rng([_WINDOWS_SEED, number])
        parts = cut_windows(pixels, room, len(photos) - done, side, _ALIGNMENT, rng)
        if not parts:
            skipped[number] = "There is no room for it in the crop cache."
        for top, left, part in parts:
            part = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False))
            offset, (height, width, _) = file.tell(), part.shape
            file.write(part.data)
            file.write(bytes(-file.tell() % _ALIGNMENT))
            window = Window(
                photo=str(photos[number]),
                number=number,
                top=top,
                left=left,
                photo_height=pixels.shape[0],
                photo_width=pixels.shape[1],
                offset=offset,
                height=height,
                width=width,
                dtype=part.dtype.str,
                checksum=checksum(part),
            )
            windows.setdefault(number, []).append(window)
    return (
        [window for number in sorted(windows) for window in windows[number]],
        [(photos[number], skipped[number]) for number in sorted(skipped)],
    )
