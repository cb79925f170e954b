"""Decode photos once, before training."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.data.store import (
    PIXELS,
    VERSION,
    CropCache,
    Window,
    checksum,
    content_of,
    load,
    write_index,
)
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.runtime.storage import explain_unwritable
from ssbsn_cli.core.runtime.temporary import locked, temporary_folder
from ssbsn_cli.core.types import Notify, count_of

_ALIGNMENT = 64
_SECONDS_BETWEEN_NOTES = 10.0
_WINDOWS_SEED = 1
# Before decoding, the sizes of files serve as estimates of the sizes of pixels.
_LOSSY = {end for codec in CODECS.values() if codec.lossy for end in codec.extensions}
_LOSSY_GAIN = 8


def open_cache(
    photos: Sequence[Path],
    folder: Path,
    *,
    side: int = 512,
    limit_bytes: int = 4 << 30,
    notify: Notify = lambda _message: None,
) -> CropCache:
    """Open the crop cache of some photos; build it if it is missing or damaged.

    A cache is written atomically, and one process builds it while others wait. It is identified by
    the photos (path, size and modification time), `side` and `limit_bytes`.

    Parameters
    ----------
    photos : sequence of Path
        One photo or more, or DND's ``images_srgb/*.mat``; some may occur several times.
    folder : Path
        Where caches are kept; created if it is missing.
    side : int
        Size of the windows that represent photos if `limit_bytes` is too little for all of
        them. It must be at least the size of the crops to be drawn.
    limit_bytes : int
        The most bytes that the pixels may take. Photos larger than their share of the
        remaining room are represented by windows at random but reproducible positions. If there is
        no room for even one window of each, some photos are left out.
    notify : callable, optional
        Called with sentences about the progress.

    Returns
    -------
    CropCache
        With all photos that could be read; the others are in its `skipped`.

    Raises
    ------
    OptionError
        No photo can be read or fits the limit, or the cache cannot be written.
    """
    sizes, key = _identify(photos, side, limit_bytes)
    path = folder / f"crops-{key}"
    cache = load(path, key, reused=True)
    if cache is None:
        builder = _Builder(photos, sizes, side, limit_bytes, notify)
        try:
            cache = _load_or_build(path, key, builder)
        except OSError as error:
            instead = "choose another place with --cache (ssbsn denoise: TMPDIR)"
            raise OptionError(*explain_unwritable(path, error, instead)) from error
    state = "Reused" if cache.reused else "Built"
    notify(
        f"{state} the crop cache {path}: {cache.size_bytes / 1e6:.1f} of at most "
        f"{limit_bytes / 1e6:.0f} MB."
    )
    return cache


def _identify(photos: Sequence[Path], side: int, limit_bytes: int) -> tuple[list[int], str]:
    """Return the size of each file, and the digest that identifies these photos."""
    digest = hashlib.sha256(f"{VERSION} {side} {limit_bytes}".encode())
    sizes = []
    for photo in photos:
        size, changed = 0, 0
        # A missing photo is skipped later, like any unreadable one.
        with suppress(OSError):
            status = photo.stat()
            size, changed = status.st_size, status.st_mtime_ns
        sizes.append(size)
        digest.update(os.fsencode(os.path.realpath(photo)) + f"\0{size} {changed}\0".encode())
    return sizes, digest.hexdigest()[:32]


def _load_or_build(path: Path, key: str, builder: _Builder) -> CropCache:
    """Build a cache, or wait for another process that is building it."""
    folder, notify = path.parent, builder.notify
    folder.mkdir(parents=True, exist_ok=True)
    wait = f"Waiting for another process that builds the crop cache {path}."
    with locked(path, lambda: notify(wait)):
        if cache := load(path, key, reused=True):
            return cache
        if path.exists():
            notify(f"The crop cache {path} is damaged and is built anew.")
        notify(f"Decoding {count_of(len(builder.photos), 'photo')} into the crop cache {path}.")
        return builder.build(path, key)


class UnreadableError(OptionError):
    """None of the photos can be read."""


@dataclass(frozen=True)
class _Builder:
    photos: Sequence[Path]
    sizes: Sequence[int]
    side: int
    limit_bytes: int
    notify: Notify

    def build(self, path: Path, key: str) -> CropCache:
        """Build a cache in a temporary folder, and move it into place when it is complete."""
        with temporary_folder(path.parent) as temporary:
            with (temporary / PIXELS).open("wb") as file:
                windows, skipped = self._decode(file)
                file.flush()
                os.fsync(file.fileno())
            if not windows:
                photo, reason = skipped[0]
                raise UnreadableError(
                    f"0 of {len(self.photos)} photos can be used; the first is {photo}: {reason}",
                    "Name a folder of readable photos.",
                )
            write_index(temporary, key, windows, skipped)
            # Everybody who may use the folder of caches may use this one.
            temporary.chmod(path.parent.stat().st_mode & 0o777)
            # An existing cache is damaged, or it would have been opened.
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
        cache = load(path, key, reused=False)
        if cache is None:
            raise OSError(errno.EIO, "what was written reads back differently")
        return cache

    def _decode(self, file: BinaryIO) -> tuple[list[Window], list[tuple[Path, str]]]:
        windows: list[Window] = []
        skipped: dict[int, str] = {}
        # Clean photos may be those of several pairs.
        whole: dict[Path, Window] = {}
        noted = time.monotonic()
        # Small photos first, so that large ones share all the remaining room.
        for done, number in enumerate(sorted(range(len(self.photos)), key=self._expected_size)):
            if time.monotonic() - noted > _SECONDS_BETWEEN_NOTES:
                self.notify(f"Decoded {done} of {count_of(len(self.photos), 'photo')}.")
                noted = time.monotonic()
            photo = self.photos[number]
            if photo in whole:
                windows.append(replace(whole[photo], number=number))
                continue
            try:
                pixels = read_pixels(photo)
            except OptionError:
                raise
            # Whatever a decoder raises, only that photo is skipped.
            except Exception as error:
                skipped[number] = str(error) or type(error).__name__
                continue
            room, among = self.limit_bytes - file.tell(), len(self.photos) - done
            parts = self._cut(pixels, number, room, among)
            if not parts:
                skipped[number] = "There is no room for it in the crop cache."
            for top, left, height, width in parts:
                part = pixels[top : top + height, left : left + width]
                part = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))
                window = Window(
                    photo=str(photo),
                    number=number,
                    top=top,
                    left=left,
                    photo_height=pixels.shape[0],
                    photo_width=pixels.shape[1],
                    offset=file.tell(),
                    height=height,
                    width=width,
                    dtype=part.dtype.str,
                    checksum=checksum(part),
                    content=content_of(part),
                )
                windows.append(window)
                if part.shape == pixels.shape:
                    whole[photo] = window
                file.write(part.data)
                file.write(bytes(-file.tell() % _ALIGNMENT))
        windows.sort(key=lambda window: window.number)
        return windows, [(self.photos[number], skipped[number]) for number in sorted(skipped)]

    def _expected_size(self, number: int) -> int:
        lossy = self.photos[number].suffix.lower() in _LOSSY
        return self.sizes[number] * (_LOSSY_GAIN if lossy else 1)

    def _cut(
        self, pixels: NDArray[Any], number: int, room: int, among: int
    ) -> list[tuple[int, int, int, int]]:
        """Return top, left, height and width of the parts of a photo to keep.

        These are the whole photo, or as many windows (maybe none) as fit into a fair share of
        `room` bytes `among` photos. With less room, the first of the same windows are kept,
        which `PairSampler` relies on.
        """
        height, width, _ = pixels.shape
        share = room / among
        if _aligned(pixels.nbytes) <= share:
            return [(0, 0, height, width)]
        # Only the number decides, so that both photos of a pair have windows at the same positions.
        rng = np.random.default_rng([_WINDOWS_SEED, number])
        rows, columns = min(self.side, height), min(self.side, width)
        cost = _aligned(rows * columns * 3 * pixels.itemsize)
        # Random rounding: if no share has room for a window, some photos still get one.
        count = min(int(share / cost + rng.random()), room // cost)
        places = (rng.integers((height - rows + 1, width - columns + 1)) for _ in range(count))
        return [(int(top), int(left), rows, columns) for top, left in places]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
