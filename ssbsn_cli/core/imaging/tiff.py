"""Reading TIFF: which page, whether it is a photo, and its pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
import numpy as np
from cv2.utils import logging as cv2_logging
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from ssbsn_cli.core.imaging.adjust import swap_red_and_blue
from ssbsn_cli.core.imaging.codec import Codec, Refusal, camera_raw, cut_short, damaged
from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DESCRIPTIVE,
    ICC,
    ORIENTATION,
    XMP,
    Entry,
    build_exif,
    read_directory,
    read_header,
)
from ssbsn_cli.core.imaging.photo import Alpha, Metadata, Photo, Pixels, pixel_rows
from ssbsn_cli.core.imaging.tiff_write import write_tiff
from ssbsn_cli.core.types import white_of

_DNG_VERSION = 50706
_REDUCED_OR_MASK = 1 | 4
_RAW_PHOTOMETRICS = {PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW}
_COLORS: dict[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
}
_ALPHAS: dict[int, Alpha] = {0: "unspecified", 1: "associated", 2: "unassociated"}
_FLOAT_HEADROOM = 16.0
# How much of a file tifffile holds beside the pixels; by default, often the whole file.
_BATCH_BYTES = 4 << 20
_EXPORT = "Export it as an 8-bit or 16-bit RGB TIFF first."
# OpenCV does not return such pixels as they are stored.
_ALTERED = {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE}
_OPENCV_DECODES = {
    COMPRESSION.LZW,
    COMPRESSION.JPEG,
    COMPRESSION.PACKBITS,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
}


def _decode(stream: BinaryIO) -> Photo:
    """Read a TIFF: palettes become RGB, bilevel becomes grey, and black is 0 whatever it was."""
    with quiet_tifffile(), TiffFile(stream) as tiff:
        page = find_photo(tiff)
        pixels = normalise(_decode_page(page, stream), page)
        metadata = read_metadata(stream, page)
    if pixels.dtype.kind == "f":
        _check_floats(pixels)
    photo = Photo(pixels, metadata, "tiff")
    if page.extrasamples:
        photo.alpha = _ALPHAS.get(page.extrasamples[0], "unspecified")
    return photo


@contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Keep tifffile from logging what it finds odd in a file."""

    def nothing(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def find_photo(tiff: TiffFile) -> TiffPage:
    """Return the one picture in the file, past thumbnails, reduced copies and masks.

    Raises
    ------
    Refusal
        There are none or several, or it is no photo of a kind that can be denoised, or the file
        is damaged or cut short.
    """
    pages = [page for page in tiff.pages if isinstance(page, TiffPage)]
    for page in pages:
        below = [sub for sub in page.pages or () if isinstance(sub, TiffPage)]
        if _DNG_VERSION in page.tags or any(
            candidate.photometric in _RAW_PHOTOMETRICS for candidate in (page, *below)
        ):
            raise camera_raw()
    whole = [page for page in pages if not page.subfiletype & _REDUCED_OR_MASK]
    if len(whole) > 1:
        raise Refusal(
            f"holds {len(whole)} pages, not one photograph", "Split it into one file for each page."
        )
    if not pages:
        raise cut_short()
    page = (whole or pages)[0]
    _check_kind(page)
    _check_complete(page, tiff.filehandle.size)
    return page


def _check_kind(page: TiffPage) -> None:
    photometric = page.photometric
    if photometric == PHOTOMETRIC.SEPARATED:
        raise Refusal(
            "is a CMYK TIFF, made for printing", "Convert it to sRGB first, in an image editor."
        )
    colors = _COLORS.get(photometric)
    is_jpeg = page.compression == COMPRESSION.JPEG
    if colors is None or (photometric == PHOTOMETRIC.YCBCR and not is_jpeg):
        name = getattr(photometric, "name", str(photometric))
        raise Refusal(f"is a TIFF of kind {name}, which cannot be read here", _EXPORT)
    _check_depth(page)
    if page.imagedepth > 1:
        raise Refusal("is a volume, not a photograph", "Export one layer of it first.")
    extra = page.samplesperpixel - colors
    if extra < 0 or extra > (photometric != PHOTOMETRIC.PALETTE):
        raise Refusal(
            f"has {page.samplesperpixel} channels, more or fewer than a photograph", _EXPORT
        )


def _check_depth(page: TiffPage) -> None:
    bits, kind = page.bitspersample, page.dtype.kind if page.dtype else "?"
    if page.photometric == PHOTOMETRIC.PALETTE:
        known = kind == "u" and bits in (1, 2, 4, 8)
    else:
        known = (
            (kind in "bu" and bits == 1)
            or (kind == "u" and bits in (8, 16))
            or (kind == "f" and bits in (16, 32, 64))
        )
    if not known:
        name = {"i": "signed integer", "u": "unsigned integer", "c": "complex", "f": "float"}
        raise Refusal(
            f"has {bits}-bit {name.get(kind, 'unknown')} pixels, which cannot be read here", _EXPORT
        )


def _check_complete(page: TiffPage, size: int) -> None:
    """Refuse missing strips and tiles, which tifffile would leave black."""
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < math.prod(page.chunked) or any(0 in segment for segment in segments):
        raise damaged("TIFF")
    if any(offset + count > size for offset, count in segments):
        raise cut_short()


def _decode_page(page: TiffPage, stream: BinaryIO) -> Pixels:
    """Return (H, W, C), values as in the file."""
    try:
        pixels = page.asarray(buffersize=_BATCH_BYTES)
    except (ImportError, KeyError, ValueError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        found = _decode_with_opencv(page, stream)
        if found is None:
            raise Refusal(
                f"is a TIFF compressed as {COMPRESSION(page.compression).name}, "
                "which needs more codecs",
                'Install them with pip install "ssbsn[tiff]", or save it with ZIP compression.',
            ) from error
        return found
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.reshape(page.imagelength, page.imagewidth, -1)


def _decode_with_opencv(page: TiffPage, stream: BinaryIO) -> Pixels | None:
    """Decode what tifffile cannot decode alone by OpenCV's libtiff, where that is faithful."""
    channels = page.samplesperpixel
    # OpenCV multiplies 8-bit colours by their alpha, and reads the first page.
    if page.compression not in _OPENCV_DECODES or page.photometric in _ALTERED or page.index:
        return None
    if channels != _COLORS[page.photometric] or page.bitspersample < 8 or page.planarconfig != 1:
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
        if page.colormap is None:
            raise damaged("TIFF")
        # Palettes hold 16 bits; old writers filled only the lower 8.
        colors = page.colormap.T
        colors = (colors >> 8 if colors.max() > 255 else colors).astype(np.uint8)
        return np.ascontiguousarray(colors[pixels[..., 0]])
    if pixels.dtype == bool or page.bitspersample == 1:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        grey = pixels[..., 0]
        white = white_of(pixels.dtype)
        np.subtract(pixels.dtype.type(white), grey, out=grey)
    return pixels


def _check_floats(pixels: Pixels) -> None:
    parts = pixel_rows(pixels)
    if not all(np.isfinite(pixels[rows]).all() for rows in parts):
        raise Refusal("holds values that are not numbers (NaN or infinite)", "Export it anew.")
    top = max(float(pixels[rows].max()) for rows in parts)
    if top > _FLOAT_HEADROOM:
        raise Refusal(
            f"holds floats up to {top:g}, while white is expected at 1",
            "Divide them by the white level, such as 255 or 65535, first.",
        )


def read_metadata(stream: BinaryIO, page: TiffPage) -> Metadata:
    """Collect what describes the photo in a page, empty if broken; EXIF becomes its own block."""
    try:
        layout, _ = read_header(stream)
        found = read_directory(stream, layout, page.offset, DESCRIPTIVE | {ORIENTATION, ICC, XMP})
        icc, xmp = found.pop(ICC, None), found.pop(XMP, None)
        exif = build_exif(found, layout.order) if found else b""
    except BROKEN:
        return Metadata()
    return Metadata(exif, *(item.data if isinstance(item, Entry) else b"" for item in (xmp, icc)))


TIFF = Codec(
    name="tiff",
    label="TIFF",
    extensions=(".tif", ".tiff"),
    dtypes=("uint8", "uint16", "float16", "float32", "float64"),
    matches=lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    decode=_decode,
    encode=write_tiff,
    alphas=("unassociated", "associated", "unspecified"),
)
