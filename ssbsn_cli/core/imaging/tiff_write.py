"""Writing TIFF: compressed strips or tiles, and a directory that also holds the metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import tifffile

from ssbsn_cli.core.imaging.exif import (
    ASCII,
    BROKEN,
    DESCRIPTIVE,
    ICC,
    IPTC,
    RESOLUTION_UNIT,
    SIZES,
    UTF8,
    X_RESOLUTION,
    XMP,
    Y_RESOLUTION,
    Directory,
    Entry,
    pack,
    parse_exif,
    read_directory,
    read_tiff_header,
)
from ssbsn_cli.core.imaging.photo import Alpha, Metadata, Photo, Pixels

_RESOLUTION = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
_BYTE, _LONG, _UNDEFINED = 1, 4, 7
_RATIONALS = (5, 10)
_USER_COMMENT, _UTF16 = 37510, b"UNICODE\0"
_ALPHA_CODES: dict[Alpha, str] = {
    "unspecified": "unspecified",
    "associated": "assocalpha",
    "unassociated": "unassalpha",
}
_STRIP_BYTES = 1 << 20
_BATCH_BYTES = 16 << 20
_TILE = 256
# A classic TIFF holds 4 GiB. Some is reserved for metadata and for pixels that compress badly.
_CLASSIC_BYTES = (1 << 32) - (256 << 20)


def write_tiff(photo: Photo, stream: BinaryIO, _: int) -> None:
    """Write a TIFF with one page, in deflate-compressed strips; the last argument is ignored."""
    pixels, alpha = photo.pixels, photo.alpha
    height, width, channels = pixels.shape
    _write(
        stream,
        pixels[..., 0] if channels == 1 else pixels,
        pixels.shape,
        pixels.dtype,
        extrasamples=[_ALPHA_CODES[alpha]] if photo.has_alpha else None,
        rowsperstrip=min(height, max(1, _STRIP_BYTES // (width * channels * pixels.itemsize))),
    )
    _add_metadata(stream, photo.metadata)


def write_tiff_tiles(
    stream: BinaryIO,
    rows: Iterable[Pixels],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    metadata: Metadata,
) -> None:
    """Write a TIFF with one page, in deflate-compressed tiles, from successive rows.

    Rows are (h, W, C) of uint8 or uint16 with C = 1 or 3, from top to bottom; one row of tiles is
    kept in memory. `shape` is that of the whole. Only descriptive EXIF tags are written.
    """
    _write(stream, _cut_tiles(rows, shape[1]), shape, dtype, tile=(_TILE, _TILE))
    _add_metadata(stream, metadata)


def _write(
    stream: BinaryIO,
    pixels: Pixels | Iterator[Pixels],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    **layout: Any,
) -> None:
    height, width, channels = shape
    tifffile.imwrite(
        stream,
        pixels,
        shape=(height, width) if channels == 1 else shape,
        dtype=dtype,
        # By itself, tifffile chooses BigTIFF only for uncompressed pixels.
        bigtiff=height * width * channels * dtype.itemsize > _CLASSIC_BYTES,
        byteorder="<",
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        compression="adobe_deflate",
        # Few programs support the predictor for floats.
        predictor=dtype.kind == "u",
        software=False,
        metadata=None,
        buffersize=_BATCH_BYTES,
        **layout,
    )


def _cut_tiles(rows: Iterable[Pixels], width: int) -> Iterator[Pixels]:
    """Yield tiles in the order of the file; those at the edges may be smaller."""

    def tiles(row: Pixels) -> Iterator[Pixels]:
        # The row is reused while tiles of the previous row still wait to be compressed.
        return (row[:, left : left + _TILE].copy() for left in range(0, width, _TILE))

    filled = 0
    row: Pixels | None = None
    for part in rows:
        if row is None:
            row = np.empty((_TILE, *part.shape[1:]), part.dtype)
        while len(part):
            taken = part[: _TILE - filled]
            row[filled : filled + len(taken)] = taken
            filled += len(taken)
            part = part[len(taken) :]
            if filled == _TILE:
                yield from tiles(row)
                filled = 0
    if row is not None and filled:
        yield from tiles(row[:filled])


def _as_directory(metadata: Metadata) -> Directory:
    found: Directory = {}
    try:
        if metadata.exif:
            layout, exif = parse_exif(metadata.exif)
            exif = {tag: item for tag, item in exif.items() if tag in DESCRIPTIVE}
            found = _for_tiff(exif, swap=layout.order != "<")
    except BROKEN:
        pass
    if metadata.icc:
        found[ICC] = Entry(_UNDEFINED, len(metadata.icc), metadata.icc)
    if metadata.xmp:
        found[XMP] = Entry(_BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.iptc:
        # Readers expect four-byte numbers with the bytes in their original order.
        padded = metadata.iptc + bytes(-len(metadata.iptc) % 4)
        found[IPTC] = Entry(_LONG, len(padded) // 4, padded)
    return found


def _for_tiff(directory: Directory, swap: bool) -> Directory:
    """Return the same values in types of TIFF, and if `swap`, in the other byte order.

    Maker notes and the like do not change.
    """
    found: Directory = {}
    for tag, item in directory.items():
        if isinstance(item, dict):
            found[tag] = _for_tiff(item, swap)
            continue
        data = _swapped(tag, item) if swap else item.data
        found[tag] = replace(item, kind=ASCII if item.kind == UTF8 else item.kind, data=data)
    return found


def _swapped(tag: int, item: Entry) -> bytes:
    word, head = 4 if item.kind in _RATIONALS else SIZES[item.kind], b""
    if tag == _USER_COMMENT and item.data.startswith(_UTF16) and len(item.data) % 2 == 0:
        word, head = 2, _UTF16
    return head + np.frombuffer(item.data[len(head) :], f"u{word}").byteswap().tobytes()


def _add_metadata(stream: BinaryIO, metadata: Metadata) -> None:
    """Append a second directory with more tags, and point the file's header to it."""
    extra = _as_directory(metadata)
    if not extra:
        return
    layout, position = read_tiff_header(stream)
    directory = read_directory(stream, layout, position)
    if not _RESOLUTION.isdisjoint(extra):
        directory = {tag: item for tag, item in directory.items() if tag not in _RESOLUTION}
    end = stream.seek(0, 2)
    end += stream.write(bytes(end % 2))
    stream.write(pack(directory | extra, layout, end))
    stream.seek(8 if layout.big else 4)
    stream.write(layout.offset.pack(end))
