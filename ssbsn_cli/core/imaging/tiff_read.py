"""Reading TIFF: which page, whether it is a photograph, and its pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from ssbsn_cli.core.imaging.exif import DESCRIPTIVE, ORIENTATION, build_exif
from ssbsn_cli.core.imaging.formats import camera_raw
from ssbsn_cli.core.imaging.ifd import BROKEN, Entry, read_directory, read_header
from ssbsn_cli.core.imaging.photo import (
    Alpha,
    Metadata,
    Photo,
    Pixels,
    Refusal,
    cut_short,
    damaged,
    pixel_rows,
)
from ssbsn_cli.core.imaging.tiff_fallback import decode_with_opencv
from ssbsn_cli.core.types import white_of

_ICC, _XMP, _DNG_VERSION = 34675, 700, 50706
_REDUCED_OR_MASK = 1 | 4
_RAW_PHOTOMETRICS = {PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW}
_GREY = {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK}
_ALPHAS: dict[int, Alpha] = {0: "unspecified", 1: "associated", 2: "unassociated"}
_FLOAT_HEADROOM = 16.0
# What of a file is in memory beside the pixels; by default it would often be the whole file.
_BATCH_BYTES = 4 << 20
_EXPORT = "Export it as an 8-bit or 16-bit RGB TIFF first."


def decode_tiff(stream: BinaryIO) -> Photo:
    """Read a TIFF.

    Parameters
    ----------
    stream : binary file
        The file, seekable.

    Returns
    -------
    Photo
        As stored; palettes become RGB, bilevel becomes grey, and black is 0 whatever it was.

    Raises
    ------
    Refusal
        It is no single photograph of a kind that can be denoised, or damaged, or cut short.
    """
    with quiet_tifffile(), TiffFile(stream) as tiff:
        page = find_page(tiff)
        alpha = check_kind(page)
        check_complete(page, tiff.filehandle.size)
        pixels = normalise(_decode(page, stream), page)
        metadata = read_metadata(stream, page)
    if pixels.dtype.kind == "f":
        _check_floats(pixels)
    return Photo(pixels, metadata, "tiff", alpha)


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


def find_page(tiff: TiffFile) -> TiffPage:
    """Return the one picture in the file, past thumbnails, reduced copies and masks.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        The file.

    Returns
    -------
    tifffile.TiffPage
        The picture.

    Raises
    ------
    Refusal
        There are none or several, or it is a camera raw file.
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
    return (whole or pages)[0]


def check_kind(page: TiffPage) -> Alpha:
    """Refuse what is no photograph; tell what an alpha channel means.

    Parameters
    ----------
    page : tifffile.TiffPage
        A picture.

    Returns
    -------
    {"unassociated", "associated", "unspecified"}
        The meaning of its alpha channel, if it has one.

    Raises
    ------
    Refusal
        It is no photograph of a kind that can be denoised.
    """
    photometric = page.photometric
    if photometric == PHOTOMETRIC.SEPARATED:
        raise Refusal(
            "is a CMYK TIFF, made for printing", "Convert it to sRGB first, in an image editor."
        )
    is_jpeg = page.compression == COMPRESSION.JPEG
    if photometric not in {*_GREY, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE} and not (
        photometric == PHOTOMETRIC.YCBCR and is_jpeg
    ):
        name = getattr(photometric, "name", str(photometric))
        raise Refusal(f"is a TIFF of kind {name}, which cannot be read here", _EXPORT)
    _check_depth(page)
    if page.imagedepth > 1:
        raise Refusal("is a volume, not a photograph", "Export one layer of it first.")
    colors = 3 if photometric in {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR} else 1
    extra = page.samplesperpixel - colors
    if extra < 0 or extra > (photometric != PHOTOMETRIC.PALETTE):
        raise Refusal(
            f"has {page.samplesperpixel} channels, more or fewer than a photograph", _EXPORT
        )
    return _ALPHAS.get(page.extrasamples[0], "unspecified") if page.extrasamples else "unassociated"


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


def check_complete(page: TiffPage, size: int) -> None:
    """Refuse missing strips and tiles, which tifffile would leave black.

    Parameters
    ----------
    page : tifffile.TiffPage
        A picture.
    size : int
        Bytes in its file.

    Raises
    ------
    Refusal
        The file is damaged or cut short.
    """
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < math.prod(page.chunked) or any(0 in segment for segment in segments):
        raise damaged("TIFF")
    if any(offset + count > size for offset, count in segments):
        raise cut_short()


def _decode(page: TiffPage, stream: BinaryIO) -> Pixels:
    """Return (H, W, C), values as in the file."""
    try:
        pixels = page.asarray(buffersize=_BATCH_BYTES)
    except (ImportError, KeyError, ValueError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        found = decode_with_opencv(page, stream)
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


def normalise(pixels: Pixels, page: TiffPage) -> Pixels:
    """Apply the palette, make bilevel 8-bit, put black at 0, in native byte order.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, C), values as in the file; may be changed in place.
    page : tifffile.TiffPage
        The picture that they are from, whole or in part.

    Returns
    -------
    numpy.ndarray
        (H, W, C) as in `Photo`.

    Raises
    ------
    Refusal
        The palette is missing.
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
    """Collect what describes the photograph; EXIF becomes a block of its own.

    Parameters
    ----------
    stream : binary file
        The file, seekable.
    page : tifffile.TiffPage
        The picture in it.

    Returns
    -------
    Metadata
        Empty if broken.
    """
    try:
        layout, _ = read_header(stream)
        wanted = DESCRIPTIVE | {ORIENTATION, _ICC, _XMP}
        found = read_directory(stream, layout, page.offset, wanted)
        blobs = {tag: found.pop(tag, None) for tag in (_ICC, _XMP)}
        exif = build_exif(found, layout.order) if found else b""
    except BROKEN:
        return Metadata()
    icc, xmp = (item.data if isinstance(item, Entry) else b"" for item in blobs.values())
    return Metadata(exif, xmp, icc)
