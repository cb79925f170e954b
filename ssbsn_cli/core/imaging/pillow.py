"""Passing pixels to and from Pillow, and the two formats that need nothing more."""

from __future__ import annotations

import io

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
