"""Between the numbers that images are stored in and float32 with white at 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging.photo import Pixels


def to_unit(pixels: Pixels) -> NDArray[np.float32]:
    """Convert pixels to float32 with white at 1: integers by their type's range."""
    if np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float32)


def from_unit(values: NDArray[np.float32], dtype: np.dtype[Any]) -> Pixels:
    """Convert back from float32: integers are rounded and clipped, floats kept as they are."""
    if np.issubdtype(dtype, np.integer):
        white = np.iinfo(dtype).max
        values = np.rint(np.clip(values, 0, 1) * np.float32(white))
    out: Pixels = values.astype(dtype)
    return out


def check_image(image: Pixels) -> None:
    """Refuse arrays that are no images.

    Raises
    ------
    ImageError
        If the shape, type or values are not those of an image.
    """
    hint = "Give (H, W) or (H, W, 1 to 4) of uint8, uint16, or floats with white at 1."
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] > 4):
        raise ImageError(f"An array of shape {image.shape} is no image.", hint)
    floating = np.issubdtype(image.dtype, np.floating)
    if image.dtype not in (np.uint8, np.uint16) and not floating:
        raise ImageError(f"An array of {image.dtype} is no image.", hint)
    if floating and not np.isfinite(image).all():
        raise ImageError("The image holds values that are not finite.", hint)
