"""TIFFs that are too large for memory: only requested pixels are decoded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from tifffile import PHOTOMETRIC, TiffPage

from ssbsn_cli.core.imaging.codec import cut_short, damaged
from ssbsn_cli.core.imaging.formats import sniff
from ssbsn_cli.core.imaging.orientation import settle_turn
from ssbsn_cli.core.imaging.photo import Metadata, Pixels
from ssbsn_cli.core.imaging.reading import explained, settle
from ssbsn_cli.core.imaging.tiff import TIFF, normalise, read_metadata
from ssbsn_cli.core.imaging.tiff_pages import find_photo, open_tiff

# Images with more bytes of pixels than this are streamed from their files.
STREAM_BYTES = 1 << 30
# Larger rows of strips or tiles would take too much of the memory that streaming saves.
_MAX_ROW_BYTES = 256 << 20
_RUN_BYTES = 1 << 20


def open_large_tiff(path: Path) -> TiffImage | None:
    """Open a TIFF with too many pixels for memory, for a ``with`` block.

    Returns None if `read_photo` must read it: the file is small, is not a TIFF, cannot be decoded
    in parts, or cannot be read at all, which `read_photo` explains.
    """
    try:
        with ExitStack() as stack:
            # A pipe can be read only once.
            if not path.is_file():
                return None
            stream = stack.enter_context(path.open("rb"))
            if sniff(stream, path.suffix) is not TIFF:
                return None
            page, front = find_photo(stack.enter_context(open_tiff(stream)))
            found = settle(read_metadata(stream, page, front), page.samplesperpixel)
            orientation, metadata = settle_turn(found)
            if orientation > 1 or not _can_stream(page):
                return None
            image = TiffImage(page, metadata, str(path))
            # Decoding the first tile shows whether a codec is missing.
            image[:1, :1]
            image.closing = stack.pop_all()
            return image
    except Exception:
        return None


class TiffImage:
    """The pixels of a TIFF, decoded when they are requested; an `Image`.

    They are uint8 or uint16, grey or RGB, with interleaved channels. Strips and tiles are kept
    until rows below them are requested, so reading an image from top to bottom decodes each of them
    once. `name` is the file's name in messages.
    """

    def __init__(self, page: TiffPage, metadata: Metadata, name: str) -> None:
        self.shape: tuple[int, ...] = (page.imagelength, page.imagewidth, page.samplesperpixel)
        self.dtype: np.dtype[Any] = np.dtype(f"uint{page.bitspersample}")
        self.metadata = metadata
        self.closing = ExitStack()
        self._name = name
        self._page = page
        self._raw = _is_raw(page)
        self._side = _segment_side(page)
        self._across = -(-page.imagewidth // self._side[1])
        self._decoded: dict[int, Pixels] = {}
        self._top = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Return the pixels of some rows and columns, (h, w, C), as a new array.

        Raises
        ------
        ImageError
            The file is damaged there.
        """
        (top, bottom, _), (left, right, _) = (
            part.indices(length) for part, length in zip(window, self.shape, strict=False)
        )
        self._forget_above(top)
        out = np.empty((bottom - top, right - left, self.shape[2]), self.dtype)
        high, wide = self._side
        for y in range(top // high * high, bottom, high):
            for x in range(left // wide * wide, right, wide):
                part = self._segment(y // high * self._across + x // wide)
                a, b = max(top, y), min(bottom, y + high)
                c, d = max(left, x), min(right, x + wide)
                out[a - top : b - top, c - left : d - left] = part[a - y : b - y, c - x : d - x]
        return normalise(out, self._page)

    def _forget_above(self, top: int) -> None:
        """Drop the strips and tiles above a row, or all of them if reading goes back upwards."""
        first = top // self._side[0] * self._across
        kept = self._decoded.items() if top >= self._top else ()
        self._decoded = {index: pixels for index, pixels in kept if index >= first}
        self._top = top

    def _segment(self, index: int) -> Pixels:
        """Return a strip or tile, (h, w, C); at the edge of the image it may be shorter."""
        if index not in self._decoded:
            with explained(self._name, TIFF.label):
                self._decoded[index] = self._copy(index) if self._raw else self._decompress(index)
        return self._decoded[index]

    def _decompress(self, index: int) -> Pixels:
        page = self._page
        data = self._read(page.dataoffsets[index], page.databytecounts[index])
        segment, _, _ = page.decode(
            data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
        )
        if segment is None:
            raise damaged(TIFF.label)
        pixels: Pixels = segment[0]
        return pixels

    def _copy(self, index: int) -> Pixels:
        _, width, channels = self.shape
        top = index * self._side[0]
        rows = min(self._side[0], self.shape[0] - top)
        row_bytes = _row_bytes(self._page)
        stored = self.dtype.newbyteorder(self._page.parent.byteorder)
        data = self._read(self._page.dataoffsets[0] + top * row_bytes, rows * row_bytes)
        return np.frombuffer(data, stored).reshape(rows, width, channels)

    def _read(self, offset: int, count: int) -> bytes:
        file = self._page.parent.filehandle
        file.seek(offset)
        data: bytes = file.read(count)
        if len(data) < count:
            raise cut_short()
        return data


def _can_stream(page: TiffPage) -> bool:
    row_bytes = _row_bytes(page)
    return (
        page.imagelength * row_bytes > STREAM_BYTES
        and _segment_side(page)[0] * row_bytes <= _MAX_ROW_BYTES
        and page.dtype in (np.uint8, np.uint16)
        and page.bitspersample in (8, 16)
        and page.samplesperpixel in (1, 3)
        and page.photometric != PHOTOMETRIC.PALETTE
        and page.planarconfig == 1
        # Otherwise, one JPEG continues from tile to tile, and only tifffile can split it.
        and page.jpegheader is None
    )


def _row_bytes(page: TiffPage) -> int:
    return page.imagewidth * page.samplesperpixel * page.bitspersample // 8


def _is_raw(page: TiffPage) -> bool:
    """Return whether the rows lie in the file one after the other, uncompressed."""
    return not page.is_tiled and page.is_contiguous and page.predictor == 1 and page.fillorder == 1


def _segment_side(page: TiffPage) -> tuple[int, int]:
    """Return the height and width of tiles or strips; groups of raw rows can have any height."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    if _is_raw(page):
        return max(1, _RUN_BYTES // _row_bytes(page)), page.imagewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth
