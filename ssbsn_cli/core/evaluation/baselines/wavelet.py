"""scikit-image's wavelet shrinkage."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from skimage.restoration import denoise_wavelet

from ssbsn_cli.core.evaluation.baselines.classical import LEAST_DETAIL, Classical, Pixels, Sigmas

_OPTIONS = {
    "method": "BayesShrink",
    "mode": "soft",
    "wavelet": "db1",
    "convert2ycbcr": True,
    "rescale_sigma": True,
}


class Wavelet(Classical):
    """scikit-image's wavelet shrinkage, called as in its gallery's "Wavelet denoising".

    References
    ----------
    Chang, Yu, Vetterli: "Adaptive wavelet thresholding for image denoising and compression", IEEE
    Transactions on Image Processing 9, 2000.
    """

    name = "wavelet"
    title = "scikit-image wavelet (BayesShrink)"
    about = (
        "scikit-image's denoise_wavelet: BayesShrink, soft thresholds, Haar wavelets, in YCbCr "
        "with the noise level of each channel."
    )
    constants: Mapping[str, Any] = {**_OPTIONS, "scikit-image": version("scikit-image")}

    def remove_noise(self, image: Pixels, sigmas: Sigmas) -> NDArray[Any]:
        """Denoise an image."""
        # Its own estimates, per channel of YCbCr, are NaN without any details to measure.
        given = None if _has_haar_details(image) else list(sigmas)
        result: NDArray[Any] = denoise_wavelet(image, sigma=given, channel_axis=-1, **_OPTIONS)
        return result


def _has_haar_details(image: Pixels) -> bool:
    height, width = (side // 2 * 2 for side in image.shape[:2])
    ycbcr = rgb2ycbcr(image)[:height, :width]
    rows = ycbcr[::2] - ycbcr[1::2]
    details = np.abs(rows[:, ::2] - rows[:, 1::2])
    return bool((details.max(axis=(0, 1), initial=0) > 255 * LEAST_DETAIL).all())
