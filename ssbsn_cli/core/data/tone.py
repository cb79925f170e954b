"""Tone curves: what cameras lay over the sRGB curve to make photographs look stronger or softer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[Any]

_VALUES = np.linspace(0, 1, 1025)


class Tone:
    """An S-shaped curve from [0, 1] to [0, 1], or its opposite.

    Parameters
    ----------
    contrast : float
        Above -2 and below 1. 0 changes nothing; near 1, blacks and whites are as flat as those of
        smoothstep; below 0 they are steeper and the middle is flatter.

    References
    ----------
    .. [1] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section
       3.1.5, for smoothstep in the place of a camera's tone curve.
    """

    def __init__(self, contrast: float) -> None:
        self._contrast = contrast
        self._curve = self(_VALUES)

    def __call__(self, values: _Floats) -> _Floats:
        """Return what the curve makes of values in [0, 1]."""
        smooth = values * values * (3 - 2 * values)
        return np.asarray(values + self._contrast * (smooth - values))

    def slope(self, values: _Floats) -> _Floats:
        """Return the derivative at values in [0, 1]."""
        return np.asarray(1 + self._contrast * (6 * values * (1 - values) - 1))

    def undo(self, values: _Floats) -> _Floats:
        """Return the values in [0, 1] that the curve makes these of, to within 1e-4."""
        return np.interp(values, self._curve, _VALUES).astype(values.dtype)
