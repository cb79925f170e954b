"""The sRGB curve."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[Any]

# Below this light, the sRGB curve is a straight line.
DARKEST = 0.0031308


def from_srgb(values: _Floats) -> _Floats:
    """Return the light that sRGB values in [0, 1] stand for, in [0, 1] and of the same type."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: _Floats) -> _Floats:
    """Undo `from_srgb`, and clip to [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= DARKEST, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_slope(light: _Floats) -> _Floats:
    """Return the derivative of `to_srgb` at light in [0, 1]."""
    curved = np.maximum(light, DARKEST) ** (1 / 2.4 - 1) * (1.055 / 2.4)
    return np.where(light <= DARKEST, np.float32(12.92), curved)


def beyond_range(light: _Floats, photo: _Floats, rng: np.random.Generator) -> _Floats:
    """Move the light of black and white values beyond what a photograph can show.

    Saturated and overexposed colours lie there. Such a channel has hardly any noise, while the
    other channels have all of theirs.

    Parameters
    ----------
    light, photo : array
        (H, W, 3) in [0, 1]: the light, and the values that stand for it.
    rng : numpy.random.Generator
        Draws how far.
    """
    low, high = np.exp(rng.uniform(math.log(0.02), 0, 2)).astype(light.dtype)
    dark, bright = photo < 0.5 / 255, photo > 254.5 / 255
    moved = np.where(dark, -low * light.mean(axis=2, keepdims=True), light + high * bright)
    return np.asarray(moved, light.dtype)
