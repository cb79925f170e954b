"""Estimate white noise in a single image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pywt
from numpy.typing import NDArray

WAVELET = "db2"
# The quartile of the normal distribution: half of all white noise is closer to 0 than this.
_QUARTILE = 0.6744897501960817
# Far below the errors of rounding to 16 bits, and far above those of float32 sums.
LEAST_DETAIL = 1e-6


def estimate_sigmas(image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Estimate the standard deviation of white noise in each channel.

    Parameters
    ----------
    image : array
        (H, W, C) floats with white at 1.

    Returns
    -------
    array
        (C,), in the units of the image: the median of the absolute diagonal details of one level
        of a wavelet transform, divided by that of a normal distribution. Details of 0, from black
        or blown-out parts, do not count. 0 if there are no other details.

    References
    ----------
    .. [1] Donoho, Johnstone: "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81, 1994,
       section 4.2, with the wavelet of scikit-image's `estimate_sigma`. That function warns of
       images up to 4 pixels wide, returns NaN for black ones, and counts the rounding errors in
       blown-out parts as details.
    """
    sigmas = np.zeros(image.shape[2])
    for channel in range(image.shape[2]):
        plane = image[..., channel].astype(np.float64)
        details = np.abs(pywt.dwtn(plane, WAVELET)["dd"])
        details = details[details > LEAST_DETAIL]
        if details.size:
            sigmas[channel] = np.median(details) / _QUARTILE
    return sigmas
