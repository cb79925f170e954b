"""Between the numbers that images are stored in and float32 with white at 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
