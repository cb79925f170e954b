"""WebP and BMP by Pillow, and PPM, PGM and PBM, the plain formats of Netpbm."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ssbsn_cli.core.imaging.photo import (
    Metadata,
    Photo,
    Pixels,
    Refusal,
    cut_short,
    damaged,
    pixel_rows,
)
from ssbsn_cli.core.types import white_of


def to_array(image: Image.Image) -> Pixels:
    """Copy a Pillow image.

    Parameters
    ----------
    image : PIL.Image.Image
        Of mode 1, L, LA, P, RGB or RGBA.

    Returns
    -------
    numpy.ndarray
        (H, W, C) uint8; a palette becomes RGB, or RGB and alpha.
    """
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    # Whole, the copy would pass through two more of its size.
    for rows in pixel_rows(pixels):
        part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
        pixels[rows] = part.reshape(pixels[rows].shape)
    return pixels


def from_array(pixels: Pixels) -> Image.Image:
    """Make a Pillow image of a copy of the pixels.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, C) uint8.

    Returns
    -------
    PIL.Image.Image
        Of mode L, LA, RGB or RGBA.
    """
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def decode_webp(data: bytes) -> Photo:
    """Read a WebP.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    Photo
        As stored; RGB, or RGB and alpha where that is not opaque everywhere.

    Raises
    ------
    Refusal
        It is animated, damaged or cut short.
    """
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise cut_short()
    image = WebPImageFile(io.BytesIO(data))
    if image.n_frames > 1:
        raise Refusal("is an animation, not a photograph", "Export one frame of it first.")
    image.load()
    info = image.info
    exif = info.get("exif", b"").removeprefix(b"Exif\0\0")
    metadata = Metadata(exif, info.get("xmp", b""), info.get("icc_profile", b""))
    return Photo(to_array(image), metadata, "webp")


def encode_webp(pixels: Pixels, metadata: Metadata, quality: int) -> bytes:
    """Write a WebP.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, C) uint8.
    metadata : Metadata
        To be written, all of it.
    quality : int
        1 to 100; lossy even at 100, except for alpha.

    Returns
    -------
    bytes
        The file.
    """
    buffer = io.BytesIO()
    from_array(pixels).save(
        buffer,
        "WEBP",
        quality=quality,
        exif=metadata.exif,
        xmp=metadata.xmp,
        icc_profile=metadata.icc,
    )
    return buffer.getvalue()


def decode_bmp(data: bytes) -> Photo:
    """Read a BMP.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    Photo
        As stored.

    Raises
    ------
    Refusal
        It is damaged.
    """
    image = BmpImageFile(io.BytesIO(data))
    try:
        image.load()
    except OSError as error:
        raise cut_short() if "truncated" in str(error) else damaged("BMP") from error
    return Photo(to_array(image), format="bmp")


def encode_bmp(pixels: Pixels) -> bytes:
    """Write a BMP.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, C) uint8, without alpha.

    Returns
    -------
    bytes
        The file.
    """
    buffer = io.BytesIO()
    from_array(pixels).save(buffer, "BMP")
    return buffer.getvalue()


_NUMBER = re.compile(rb"(?:\s+|#[^\n\r]*[\n\r])+(\d{1,9})")
_BITMAPS = b"14"
_TEXT = b"123"
_COLOR = b"36"


def decode_pnm(data: bytes) -> Photo:
    """Read a PPM, PGM or PBM, binary or as text.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    Photo
        uint8 if the file's white is at most 255, else uint16; stretched to the whole range.

    Raises
    ------
    Refusal
        It is damaged, cut short, or holds several pictures.
    """
    kind = data[1:2]
    width, at = _number(data, 2)
    height, at = _number(data, at)
    white, at = (1, at) if kind in _BITMAPS else _number(data, at)
    if not (width and height and 0 < white < 1 << 16):
        raise damaged("PNM")
    shape = height, width, 3 if kind in _COLOR else 1
    samples = _text(data, at, shape, kind) if kind in _TEXT else _binary(data, at, shape, white)
    if kind in _BITMAPS:
        samples = 1 - samples
    return Photo(_stretch(samples, white), format="pnm")


def _number(data: bytes, at: int) -> tuple[int, int]:
    found = _NUMBER.match(data, at)
    if found is None:
        raise damaged("PNM")
    return int(found[1]), found.end()


def _binary(data: bytes, at: int, shape: tuple[int, int, int], white: int) -> Pixels:
    at += 1
    height, width, channels = shape
    packed = data[1:2] in _BITMAPS
    row = (width + 7) // 8 if packed else width * channels * (2 if white > 255 else 1)
    end = at + height * row
    if len(data) < end:
        raise cut_short()
    if data[end : end + 2] == data[:2]:
        raise Refusal("holds several pictures", "Split it into one file for each.")
    samples = np.frombuffer(memoryview(data)[at:end], ">u2" if white > 255 else np.uint8)
    if packed:
        bits = np.unpackbits(samples.reshape(height, row), axis=1, count=width)
        return bits.reshape(shape)
    return samples.reshape(shape)


def _text(data: bytes, at: int, shape: tuple[int, int, int], kind: bytes) -> Pixels:
    number = shape[0] * shape[1] * shape[2]
    body = re.sub(rb"#[^\n\r]*", b"", data[at:])
    # The digits of a bitmap need no space between them.
    words = re.findall(rb"[01]", body) if kind in _BITMAPS else body.split()
    if len(words) < number:
        raise cut_short()
    return np.array([int(word) for word in words[:number]], np.uint16).reshape(shape)


def _stretch(samples: Pixels, white: int) -> Pixels:
    dtype = np.dtype(np.uint8 if white < 256 else np.uint16)
    full = 255 if white < 256 else 65535
    result = np.empty(samples.shape, dtype)
    for rows in pixel_rows(samples):
        part = samples[rows]
        if white != full:
            wide = np.minimum(part, white).astype(np.uint64)
            part = (wide * full + white // 2) // white
        result[rows] = part
    return result


def encode_pnm(pixels: Pixels) -> bytes:
    """Write a binary PGM or PPM.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, 1) or (H, W, 3), uint8 or uint16.

    Returns
    -------
    bytes
        The file.
    """
    height, width, channels = pixels.shape
    kind = 5 if channels == 1 else 6
    header = b"P%d\n%d %d\n%d\n" % (kind, width, height, white_of(pixels.dtype))
    samples = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return b"".join([header, samples.data])
