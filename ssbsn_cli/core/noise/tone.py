"""Light and values: the tone curves of cameras."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.types import SRGB_BEND, from_srgb, to_srgb

_Array = NDArray[Any]

_VALUES = np.linspace(0, 1, 1025)
# Looking values up in a table of this size is much faster than interpolating each.
_FINEST = 65535
_PLACES = np.linspace(0, 1, _FINEST + 1)


class Tone:
    """The map from light to the values of a photo, both in [0, 1]: a curve, then an S.

    Parameters
    ----------
    contrast : float
        Contrast of the S, above -2 and below 1. 0 changes nothing. Near 1, blacks and whites are as
        flat as those of smoothstep. Below 0, they are steeper and the middle is flatter.
    gamma : float, optional
        Makes the first curve the power ``1 / gamma``. Without it, the first curve is that of sRGB,
        which is a straight line near black. With a power, noise darkens dark parts more.

    References
    ----------
    .. [1] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, for
       smoothstep in place of a camera's tone curve, and for the power.
    """

    def __init__(self, contrast: float = 0.0, gamma: float | None = None) -> None:
        self._contrast = contrast
        self._gamma = gamma
        self._curve = self._bend(_VALUES)

    def __call__(self, light: _Array) -> _Array:
        """Return the values of light, clipped to [0, 1]."""
        if self._gamma is None:
            return self._bend(to_srgb(light))
        return self._bend(np.clip(light, 0, 1) ** (1 / self._gamma))

    def undo(self, values: _Array) -> _Array:
        """Return the light in [0, 1] of values in [0, 1], to within 1e-3."""
        if self._contrast == 0:
            shown = np.clip(values, 0, 1)
        else:
            places = np.rint(np.clip(values, 0, 1) * _FINEST).astype(np.int32)
            shown = np.interp(_PLACES, self._curve, _VALUES).astype(values.dtype)[places]
        return from_srgb(shown) if self._gamma is None else np.asarray(shown**self._gamma)

    def slope(self, light: _Array) -> _Array:
        """Return the derivative at light in [0, 1].

        With a gamma, light below the bend of sRGB's curve gets the derivative at the bend.
        """
        if self._gamma is None:
            shown, slope = to_srgb(light), srgb_slope(light)
        else:
            light = np.maximum(light, SRGB_BEND)
            shown = light ** (1 / self._gamma)
            slope = shown / light / self._gamma
        return np.asarray(slope * (1 + self._contrast * (6 * shown * (1 - shown) - 1)))

    def _bend(self, shown: _Array) -> _Array:
        smooth = shown * shown * (3 - 2 * shown)
        return np.asarray(shown + self._contrast * (smooth - shown))


def srgb_slope(light: _Array) -> _Array:
    """Return the derivative of `to_srgb` at light in [0, 1]."""
    curved = np.maximum(light, SRGB_BEND) ** (1 / 2.4 - 1) * (1.055 / 2.4)
    return np.where(light <= SRGB_BEND, np.float32(12.92), curved)


def beyond_range(light: _Array, photo: _Array, rng: np.random.Generator) -> _Array:
    """Move the light of black and white values beyond what a photo can show.

    Saturated and overexposed colours lie there. Such a channel has hardly any noise, while the
    other channels have all of theirs. `light` and `photo`, the values that stand for it, are
    (H, W, 3) in [0, 1].
    """
    low, high = np.exp(rng.uniform(math.log(0.02), 0, 2)).astype(light.dtype)
    dark, bright = photo < 0.5 / 255, photo > 254.5 / 255
    moved = np.where(dark, -low * light.mean(axis=2, keepdims=True), light + high * bright)
    return np.asarray(moved, light.dtype)
