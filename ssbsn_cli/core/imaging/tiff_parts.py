"""The strips and tiles of a TIFF: whether all are there, and none is larger than it claims."""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, FileHandle, TiffPage

from ssbsn_cli.core.imaging.codec import Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.jpeg import JPEG
from ssbsn_cli.core.imaging.jpegxl import JXL
from ssbsn_cli.core.imaging.pillow import WEBP
from ssbsn_cli.core.imaging.png import PNG

# The start of a JPEG 2000 picture (ISO/IEC 15444-1): its right, bottom, left and top edge.
_JPEG2000 = re.compile(rb"\xff\x4f\xff\x51.{4}(.{16})", re.DOTALL)


def _measure_jpeg2000(stream: BinaryIO) -> tuple[int, int]:
    edges = [struct.unpack(">4I", found) for found in _JPEG2000.findall(stream.read())]
    if not edges:
        raise damaged("TIFF")
    return max(edge[0] - edge[2] for edge in edges), max(edge[1] - edge[3] for edge in edges)


# How large a strip or tile is whose compression has a header of its own.
_MEASURES: dict[int, Callable[[BinaryIO], tuple[int, int]]] = {
    COMPRESSION.OJPEG: JPEG.measure,
    COMPRESSION.JPEG: JPEG.measure,
    COMPRESSION.ALT_JPEG: JPEG.measure,
    COMPRESSION.JPEG_LOSSY: JPEG.measure,
    COMPRESSION.APERIO_JP2000_YCBC: _measure_jpeg2000,
    COMPRESSION.APERIO_JP2000_RGB: _measure_jpeg2000,
    COMPRESSION.JPEG_2000_LOSSY: _measure_jpeg2000,
    COMPRESSION.JPEG2000: _measure_jpeg2000,
    COMPRESSION.JPEGXL: JXL.measure,
    COMPRESSION.JPEGXL_DNG: JXL.measure,
    COMPRESSION.PNG: PNG.measure,
    COMPRESSION.WEBP: WEBP.measure,
    COMPRESSION.WEBP_DEPRECATED: WEBP.measure,
}


def check_parts(page: TiffPage, file: FileHandle) -> None:
    """Refuse missing strips and tiles, which tifffile would leave black, and too large ones.

    Raises
    ------
    Refusal
        The file is damaged or cut short, or leaves out empty tiles.
    """
    if (0, 0) in zip(page.dataoffsets, page.databytecounts, strict=False):
        raise Refusal(
            "leaves out empty tiles", "Fill them: gdal_translate -co SPARSE_OK=FALSE IN OUT."
        )
    if len(page.dataoffsets) < math.prod(page.chunked):
        raise damaged("TIFF")
    if page.compression == COMPRESSION.NONE and page.photometric != PHOTOMETRIC.YCBCR:
        # Some writers state other sizes than those of the strips that they write.
        page.databytecounts = _plain_sizes(page)
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(parts) < math.prod(page.chunked) or any(0 in part for part in parts):
        raise damaged("TIFF")
    if any(offset + count > file.size for offset, count in parts):
        raise cut_short()
    measure = _MEASURES.get(page.compression)
    # If there is a common header, tifffile states its size itself.
    if measure is None or page.jpegheader is not None:
        return
    for offset, count in parts:
        file.seek(offset)
        width, height = measure(io.BytesIO(file.read(count)))
        if height > page.chunks[0] or width > page.chunks[1]:
            raise damaged("TIFF")


def _plain_sizes(page: TiffPage) -> tuple[int, ...]:
    """Return the bytes of each strip or tile that is not compressed."""
    rows, width, *samples = page.chunks
    row = math.ceil(width * math.prod(samples) * page.bitspersample / 8)
    if page.is_tiled:
        return (rows * row,) * len(page.dataoffsets)
    heights = [min(rows, page.imagelength - top) for top in range(0, page.imagelength, rows)]
    planes = page.samplesperpixel if page.planarconfig == PLANARCONFIG.SEPARATE else 1
    return tuple(height * row for height in heights) * planes
