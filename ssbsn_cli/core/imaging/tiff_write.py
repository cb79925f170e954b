"""Writing TIFF: compressed strips, and a directory that also holds the metadata."""

from __future__ import annotations

from typing import BinaryIO

import tifffile

from ssbsn_cli.core.imaging.exif import DESCRIPTIVE, parse_exif
from ssbsn_cli.core.imaging.ifd import (
    BROKEN,
    Directory,
    Entry,
    Layout,
    pack,
    read_directory,
    read_header,
    swap_bytes,
)
from ssbsn_cli.core.imaging.photo import Alpha, Metadata, Pixels

_ICC, _XMP = 34675, 700
_RESOLUTION = {282, 283, 296}
_BYTE, _UNDEFINED = 1, 7
_ALPHA_CODES: dict[Alpha, str] = {
    "unspecified": "unspecified",
    "associated": "assocalpha",
    "unassociated": "unassalpha",
}
_STRIP_BYTES = 1 << 20
_BATCH_BYTES = 16 << 20


def write_tiff(stream: BinaryIO, pixels: Pixels, alpha: Alpha, metadata: Metadata) -> None:
    """Write a TIFF of one page, in deflate-compressed strips.

    Parameters
    ----------
    stream : binary file
        Empty, open for writing and reading.
    pixels : numpy.ndarray
        (H, W, C) as in `Photo`.
    alpha : {"unassociated", "associated", "unspecified"}
        What an alpha channel means.
    metadata : Metadata
        To be written; of EXIF, what describes the photograph.
    """
    height, width, channels = pixels.shape
    tifffile.imwrite(
        stream,
        pixels[..., 0] if channels == 1 else pixels,
        byteorder="<",
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=[_ALPHA_CODES[alpha]] if channels in (2, 4) else None,
        compression="adobe_deflate",
        # The predictor for floats needs imagecodecs.
        predictor=pixels.dtype.kind == "u",
        rowsperstrip=min(height, max(1, _STRIP_BYTES // (width * channels * pixels.itemsize))),
        software=False,
        metadata=None,
        buffersize=_BATCH_BYTES,
    )
    _add_metadata(stream, _as_directory(metadata))


def _as_directory(metadata: Metadata) -> Directory:
    found: Directory = {}
    try:
        if metadata.exif:
            layout, exif = parse_exif(metadata.exif)
            exif = {tag: item for tag, item in exif.items() if tag in DESCRIPTIVE}
            found = exif if layout.order == "<" else swap_bytes(exif)
    except BROKEN:
        pass
    if metadata.icc:
        found[_ICC] = Entry(_UNDEFINED, len(metadata.icc), metadata.icc)
    if metadata.xmp:
        found[_XMP] = Entry(_BYTE, len(metadata.xmp), metadata.xmp)
    return found


def _add_metadata(stream: BinaryIO, extra: Directory) -> None:
    """Append a second directory with more tags, and point the file's header to it."""
    if not extra:
        return
    layout, position = read_header(stream)
    directory = read_directory(stream, layout, position)
    if not _RESOLUTION.isdisjoint(extra):
        directory = {tag: item for tag, item in directory.items() if tag not in _RESOLUTION}
    end = stream.seek(0, 2)
    end += stream.write(bytes(end % 2))
    stream.write(pack(directory | extra, Layout("<", layout.big), end))
    stream.seek(8 if layout.big else 4)
    stream.write(layout.offset.pack(end))
