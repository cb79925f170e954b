"""What a classical denoiser is, and the noise level that it is told.

All of them are made for white Gaussian noise and need its standard deviation, which
`estimate_sigmas` reads from the photograph alone. The noise of real photographs is correlated from
pixel to pixel, so the estimate is low and much of the noise stays. That is how these methods do on
real photographs, and nothing here makes up for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pywt
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.methods import Method
from ssbsn_cli.core.types import to_unit

Floats = NDArray[np.float64]

_WAVELET = "db2"
# The quartile of the normal distribution: half of white noise is nearer to 0 than this.
_QUARTILE = 0.6744897501960817
# Far below what rounding to 16 bits leaves, and far above what sums of float32 do.
LEAST_DETAIL = 1e-6


class Classical(Method):
    """A denoiser that learned nothing; subclasses set `name`, `title`, `about` and `constants`."""

    kind = "Classical"
    #: What it is, and at which settings.
    about: str
    #: Every constant, and the versions of the libraries, as plain JSON values.
    constants: Mapping[str, Any]

    @abstractmethod
    def remove_noise(self, image: Floats, sigmas: Floats) -> NDArray[Any]:
        """Denoise (H, W, 3) with white at 1, given the noise level in each channel."""

    @property
    def description(self) -> str:
        """What it is, at which settings, and where it has the noise level from."""
        return (
            f"{self.about} The noise level is estimated from the photo's finest wavelet details, "
            "which is too low where noise is correlated from pixel to pixel, as in most photos; "
            "this is not corrected."
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that the results depend on: the constants, and how the noise is estimated."""
        return {
            **self.constants,
            "estimate": f"median of {_WAVELET} details",
            "least_detail": LEAST_DETAIL,
            "pywavelets": version("PyWavelets"),
        }

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Denoise one image after the other."""
        return [self.denoise(image) for image in images]

    def denoise(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Denoise (H, W, 3) of uint8, uint16, or floats with white at 1; return float32 in [0, 1].

        Where no noise is found, because an image is constant or too small, it comes back as it is.
        """
        unit = to_unit(image)
        sigmas = estimate_sigmas(unit)
        result = self.remove_noise(unit.astype(np.float64), sigmas) if sigmas.any() else unit
        return np.clip(result, 0, 1).astype(np.float32)


def estimate_sigmas(image: NDArray[np.floating[Any]]) -> Floats:
    """Estimate the standard deviation of white noise in each channel.

    Parameters
    ----------
    image : array
        (H, W, C) floats with white at 1.

    Returns
    -------
    array
        (C,), in the units of the image: the median of the absolute diagonal details of one level
        of a wavelet transform, over that of a normal distribution. Details of 0, from black or
        blown-out parts, do not count. 0 if there are no others.

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
        details = np.abs(pywt.dwtn(plane, _WAVELET)["dd"])
        details = details[details > LEAST_DETAIL]
        if details.size:
            sigmas[channel] = np.median(details) / _QUARTILE
    return sigmas
