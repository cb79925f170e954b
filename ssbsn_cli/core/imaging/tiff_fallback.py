"""TIFFs whose compression tifffile cannot decode alone, through the libtiff inside OpenCV."""

from __future__ import annotations

from typing import BinaryIO

import cv2
import numpy as np
from cv2.utils import logging as cv2_logging
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from ssbsn_cli.core.imaging.adjust import swap_red_and_blue
from ssbsn_cli.core.imaging.photo import Pixels

_ORIENTATION = 274
_COMPRESSIONS = {COMPRESSION.LZW, COMPRESSION.JPEG, COMPRESSION.PACKBITS, COMPRESSION.ADOBE_DEFLATE}
_COMPRESSIONS.add(COMPRESSION.DEFLATE)


def decode_with_opencv(page: TiffPage, stream: BinaryIO) -> Pixels | None:
    """Decode a page where OpenCV is known to do so faithfully.

    Parameters
    ----------
    page : tifffile.TiffPage
        What is to be decoded.
    stream : binary file
        The file that it is in.

    Returns
    -------
    numpy.ndarray or None
        (H, W, C), grey or RGB; None where OpenCV would change the values, or cannot decode them.
    """
    colors = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3}
    channels = colors.get(PHOTOMETRIC(page.photometric))
    # OpenCV multiplies 8-bit colours by their alpha, and reads the first page.
    if page.compression not in _COMPRESSIONS or page.samplesperpixel != channels or page.index:
        return None
    if page.bitspersample < 8 or page.planarconfig != 1:
        return None
    stream.seek(0)
    data = bytearray(stream.read())
    tag = page.tags.get(_ORIENTATION)
    if tag is not None:
        # OpenCV gives up on pictures that lie on their side.
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
