"""Pictures and files that the tests of imaging share."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]


def noise(height: int, width: int, channels: int, dtype: str = "uint8") -> Array:
    values = np.random.default_rng(height * width).random((height, width, channels))
    if dtype.startswith("float"):
        return values.astype(dtype)
    return (values * np.iinfo(dtype).max).astype(dtype)


def tiff_bytes(pixels: Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def pillow_bytes(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def first_page(data: bytes) -> tifffile.TiffPage:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        return page


def png_chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
