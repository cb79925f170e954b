"""Reading TIFF: its pixels and what it says about them."""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import cv2
import numpy as np
from cv2.utils import logging as cv2_logging
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage
from tifffile import TIFF as CODES

from ssbsn_cli.core.imaging.adjust import swap_red_and_blue
from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal, damaged
from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DESCRIPTIVE,
    ICC,
    IPTC,
    ORIENTATION,
    RESOURCES,
    XMP,
    Directory,
    Entry,
    build_exif,
    read_directory,
    read_header,
)
from ssbsn_cli.core.imaging.exif_fields import LOST_NOTES, drop_fixed_note
from ssbsn_cli.core.imaging.photo import Alpha, Metadata, Photo, Pixels, pixel_rows
from ssbsn_cli.core.imaging.photoshop import find_iptc
from ssbsn_cli.core.imaging.tiff_pages import COLORS, find_photo, open_tiff
from ssbsn_cli.core.imaging.tiff_write import write_tiff
from ssbsn_cli.core.types import white_of

_WANTED = DESCRIPTIVE | {ORIENTATION, ICC, XMP, IPTC, RESOURCES}
_LAYERS = 37724
_IPTC_MARK = b"\x1c"
_ALPHAS: dict[int, Alpha] = {0: "unspecified", 1: "associated", 2: "unassociated"}
_FLOAT_HEADROOM = 16.0
# How much of a file tifffile reads at once; by default, often all of it.
_BATCH_BYTES = 4 << 20
# OpenCV does not return such pixels as they are stored.
_ALTERED = {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE}
# What tifffile can decompress without imagecodecs.
_INFLATERS: dict[int, Callable[[], Any]] = {
    COMPRESSION.ADOBE_DEFLATE: zlib.decompressobj,
    COMPRESSION.DEFLATE: zlib.decompressobj,
    COMPRESSION.LZMA: lzma.LZMADecompressor,
}
_OPENCV_DECODES = {
    COMPRESSION.LZW,
    COMPRESSION.JPEG,
    COMPRESSION.PACKBITS,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
}


def _decode(stream: BinaryIO) -> Photo:
    """Read a TIFF: palettes become RGB, bilevel becomes grey, and black is 0 whatever it was."""
    with open_tiff(stream) as tiff:
        page, front = find_photo(tiff)
        pixels = normalise(_decode_page(page, stream), page)
        metadata = read_metadata(stream, page, front)
    if pixels.dtype.kind == "f":
        _check_floats(pixels)
    photo = Photo(pixels, metadata, "tiff")
    if page.extrasamples:
        photo.alpha = _ALPHAS.get(page.extrasamples[0], "unspecified")
    return photo


def _measure(stream: BinaryIO) -> tuple[int, int]:
    with open_tiff(stream) as tiff:
        photo, _ = find_photo(tiff)
        return photo.imagewidth, photo.imagelength


def _decode_page(page: TiffPage, stream: BinaryIO) -> Pixels:
    """Return (H, W, C), values as in the file."""
    file = page.parent.filehandle
    if _inflates_without_limit(page):
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset)
            check_inflation(page, file.read(count))
    try:
        pixels = page.asarray(buffersize=_BATCH_BYTES)
    except (ImportError, KeyError, ValueError, NotImplementedError) as error:
        if "known COMPRESSION" in str(error):
            raise Refusal(
                f"is a TIFF of the unknown compression {page.compression}",
                "Save it with ZIP compression.",
            ) from error
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        found = _decode_with_opencv(page, stream)
        if found is None:
            what = f"compressed as {COMPRESSION(page.compression).name}"
            if page.compression == COMPRESSION.NONE:
                what = f"with {page.bitspersample}-bit pixels"
            raise Refusal(
                f"is a TIFF {what}, which needs more codecs",
                'Install them with pip install "ssbsn[tiff]", or save it with ZIP compression.',
            ) from error
        return found
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.reshape(page.imagelength, page.imagewidth, -1)


def _inflates_without_limit(page: TiffPage) -> bool:
    """Tell whether tifffile decompresses by itself: what it does so, it takes whole."""
    if page.compression not in _INFLATERS:
        return False
    return str(CODES.DECOMPRESSORS[page.compression].__module__).startswith("tifffile")


def check_inflation(page: TiffPage, data: bytes) -> None:
    """Refuse a strip or tile that inflates to more than its share of the pixels."""
    if _inflates_without_limit(page) and page.dtype is not None:
        most = math.prod(page.chunks) * page.dtype.itemsize
        inflater = _INFLATERS[page.compression]()
        if len(inflater.decompress(data, most + 1)) > most:
            raise damaged("TIFF")


def _decode_with_opencv(page: TiffPage, stream: BinaryIO) -> Pixels | None:
    """Decode what tifffile cannot decode alone by OpenCV's libtiff, where that is faithful."""
    channels = page.samplesperpixel
    # OpenCV multiplies 8-bit colours by their alpha, and reads the first page.
    if page.compression not in _OPENCV_DECODES or page.photometric in _ALTERED or page.index:
        return None
    if channels != COLORS[page.photometric] or page.bitspersample < 8 or page.planarconfig != 1:
        return None
    stream.seek(0)
    data = bytearray(stream.read())
    tag = page.tags.get(ORIENTATION)
    if tag is not None:
        # OpenCV refuses pictures that lie on their side.
        one = b"\1\0" if data[:2] == b"II" else b"\0\1"
        data[tag.valueoffset : tag.valueoffset + 2] = one
    level = cv2_logging.setLogLevel(cv2_logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2_logging.setLogLevel(level)
    shape = page.imagelength, page.imagewidth, channels
    if pixels is None or pixels.dtype != page.dtype or pixels.size != np.prod(shape):
        return None
    pixels = pixels.reshape(shape)
    return swap_red_and_blue(pixels) if channels == 3 else pixels


def normalise(pixels: Pixels, page: TiffPage) -> Pixels:
    """Turn values as in the file, (H, W, C) of all or a part of a page, into those of a `Photo`.

    Palettes become RGB, bilevel becomes 8-bit, and black is 0, in native byte order. The array may
    be changed in place.
    """
    if page.photometric == PHOTOMETRIC.PALETTE:
        if page.colormap is None or page.colormap.shape != (3, 1 << page.bitspersample):
            raise damaged("TIFF")
        # Palettes hold 16 bits; old writers filled only the lower 8.
        colors = page.colormap.T
        colors = (colors >> 8 if colors.max() > 255 else colors).astype(np.uint8)
        return np.ascontiguousarray(colors[pixels[..., 0].astype(np.uint8)])
    if pixels.dtype == bool or page.bitspersample == 1:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        grey = pixels[..., 0]
        white = white_of(pixels.dtype)
        np.subtract(pixels.dtype.type(white), grey, out=grey)
    return pixels


def _check_floats(pixels: Pixels) -> None:
    parts = [pixels[rows] for rows in pixel_rows(pixels)]
    top = max(
        np.abs(part, where=np.isfinite(part), out=np.zeros_like(part)).max() for part in parts
    )
    if top > _FLOAT_HEADROOM:
        raise Refusal(
            f"holds floats up to {top:g}, while white is expected at 1",
            "Divide them by the white level, such as 255 or 65535, first.",
        )


def read_metadata(stream: BinaryIO, page: TiffPage, front: TiffPage) -> Metadata:
    """Collect what describes the photo, empty if broken; EXIF becomes its own block.

    What the photo's own page says counts more than what the one in front of it says.
    """
    lost = ["the layers of Photoshop"] if _LAYERS in front.tags else []
    try:
        layout, _ = read_header(stream)
        found: Directory = {}
        for position in dict.fromkeys((front.offset, page.offset)):
            found |= read_directory(stream, layout, position, _WANTED)
        xmp, icc, iptc, resources = (_take(found, tag) for tag in (XMP, ICC, IPTC, RESOURCES))
        if drop_fixed_note(found):
            lost.append(LOST_NOTES)
        exif = build_exif(found, layout.order) if found else b""
    except BROKEN:
        return Metadata(lost=tuple(lost))
    return Metadata(
        exif, xmp, icc, iptc=_order_iptc(iptc) or find_iptc(resources), lost=tuple(lost)
    )


def _take(directory: Directory, tag: int) -> bytes:
    item = directory.pop(tag, None)
    return item.data if isinstance(item, Entry) else b""


def _order_iptc(iptc: bytes) -> bytes:
    """Return IPTC records in their order: some programs write them as long numbers, swapped."""
    if not iptc or iptc[:1] == _IPTC_MARK or len(iptc) % 4:
        return iptc
    swapped = np.frombuffer(iptc, np.uint32).byteswap().tobytes()
    return swapped if swapped[:1] == _IPTC_MARK else iptc


TIFF = Codec(
    name="tiff",
    label="TIFF",
    extensions=(".tif", ".tiff"),
    dtypes=("uint8", "uint16", "float16", "float32", "float64"),
    matches=lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    decode=_decode,
    encode=write_tiff,
    alphas=("unassociated", "associated", "unspecified"),
    keeps=dict.fromkeys(("exif", "xmp", "icc", "iptc"), UNLIMITED),
    moves_exif=True,
    measure=_measure,
)
