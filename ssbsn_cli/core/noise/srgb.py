"""The sRGB curve, and what a JPEG makes of a picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[Any]

# Below this light, the sRGB curve is a straight line.
DARKEST = 0.0031308


def from_srgb(values: _Floats) -> _Floats:
    """Return the light that sRGB values in [0, 1] stand for, in [0, 1] and of the same type."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: _Floats) -> _Floats:
    """Undo `from_srgb`; what is not in [0, 1] is clipped."""
    light = np.clip(light, 0, 1)
    return np.where(light <= DARKEST, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_slope(light: _Floats) -> _Floats:
    """Return the derivative of `to_srgb` at light in [0, 1]."""
    curved = np.maximum(light, DARKEST) ** (1 / 2.4 - 1) * (1.055 / 2.4)
    return np.where(light <= DARKEST, np.float32(12.92), curved)


def rounded(values: _Floats) -> NDArray[np.float32]:
    """Clip to [0, 1] and round to multiples of 1/255; the result is C-contiguous."""
    clipped = np.clip(np.asarray(values, np.float32), 0, 1)
    return np.ascontiguousarray(np.rint(clipped * np.float32(255)) / np.float32(255))


def through_jpeg(
    values: NDArray[np.float32], quality: int, *, subsample: bool = True
) -> NDArray[np.float32]:
    """Save a picture as a JPEG and read it again.

    Parameters
    ----------
    values : array
        (3, H, W) in [0, 1], RGB, sRGB.
    quality : int
        1 to 100.
    subsample : bool
        Whether colours are kept at half the resolution.

    Returns
    -------
    array
        (3, H, W), multiples of 1/255, C-contiguous.
    """
    pixels = np.rint(values * 255).astype(np.uint8)
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if subsample else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    )
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    bgr = np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))
    _, encoded = cv2.imencode(".jpg", bgr, settings)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return rounded(decoded.transpose(2, 0, 1)[::-1] / np.float32(255))
