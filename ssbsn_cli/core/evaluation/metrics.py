"""How this field scores a denoised photograph against a clean one.

Everything is scored as 8-bit pictures: a fraction of a grey level that no file keeps earns nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.rounding import (
    WHITE,
    describe_size,
    mean_reference,
    quantise,
)

__all__ = [
    "MAX_PSNR",
    "METRICS",
    "Metric",
    "mean_reference",
    "psnr",
    "quantise",
    "ssim",
    "ssim_gaussian",
]

#: What `psnr` says of equal pictures, and the most it says of any, in dB.
MAX_PSNR = 100.0
_WINDOW = 7
_GAUSSIAN_WINDOW = 11
_GAUSSIAN_SIGMA = 1.5


def psnr(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio, with the peak at 255.

    Parameters
    ----------
    clean : array
        (H, W, C), uint8, or floats with white at 255 from `mean_reference`.
    image : array
        (H, W, C) uint8.

    Returns
    -------
    float
        In dB, over all pixels and channels at once. `MAX_PSNR` for equal pictures instead of
        infinity, so that means over pictures stay finite, and never more for others: one level
        in one value of a picture of 256x256 would otherwise score above equality.

    Raises
    ------
    OptionError
        The pictures differ in size or are empty, or `clean` goes beyond 0..255.
    TypeError
        They have other types.
    """
    reference, picture = _both(clean, image, 1)
    error = float(np.mean((reference - picture) ** 2))
    if error == 0:
        return MAX_PSNR
    return min(MAX_PSNR, float(10 * np.log10(WHITE**2 / error)))


def ssim(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the structural similarity as the code of AP-BSN and SS-BSN does.

    A flat window of 7x7 pixels, covariances of a sample (divided by 48), each channel alone; the
    mean over channels and all places where the window is inside.

    Parameters
    ----------
    clean : array
        (H, W, C), uint8, or floats with white at 255 from `mean_reference`.
    image : array
        (H, W, C) uint8.

    Returns
    -------
    float
        From -1 to 1; 1 for equal pictures. In float64, where that code works in float32.

    Raises
    ------
    OptionError
        The pictures differ in size or are smaller than the window, or `clean` goes beyond 0..255.
    TypeError
        They have other types.

    References
    ----------
    ``ssim`` of ``src/util/util.py`` in https://github.com/wooseoklee4/AP-BSN and
    https://github.com/YoungJooHan/SS-BSN: scikit-image's `structural_similarity` by default.
    """
    reference, picture = _both(clean, image, _WINDOW)
    value = structural_similarity(  # type: ignore[no-untyped-call]
        reference, picture, win_size=_WINDOW, channel_axis=2, data_range=WHITE
    )
    return float(value)


def ssim_gaussian(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the structural similarity with the window of the paper that introduced it.

    A Gaussian window of 11x11 pixels with sigma 1.5, weighted covariances as they are, each channel
    alone; the mean over channels and all places where the window is inside. The paper scores
    luminance only.

    Parameters
    ----------
    clean : array
        (H, W, C), uint8, or floats with white at 255 from `mean_reference`.
    image : array
        (H, W, C) uint8.

    Returns
    -------
    float
        From -1 to 1; 1 for equal pictures.

    Raises
    ------
    OptionError
        The pictures differ in size or are smaller than the window, or `clean` goes beyond 0..255.
    TypeError
        They have other types.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error visibility to structural
    similarity", IEEE Transactions on Image Processing 13, 2004.
    """
    reference, picture = _both(clean, image, _GAUSSIAN_WINDOW)
    value = structural_similarity(  # type: ignore[no-untyped-call]
        reference,
        picture,
        channel_axis=2,
        data_range=WHITE,
        gaussian_weights=True,
        sigma=_GAUSSIAN_SIGMA,
        use_sample_covariance=False,
    )
    return float(value)


@dataclass(frozen=True)
class Metric:
    """A score, and what to say about it.

    Parameters
    ----------
    name : str
        Of the score in files and on the command line.
    title : str
        For a table's head.
    description : str
        What it is exactly: window, rounding, range.
    compute : callable
        Takes the clean picture and the other, (H, W, C) both; returns the score.
    higher_is_better : bool
        Which of two scores is better.
    digits : int
        After the point, as papers print it.
    smallest : int
        Pixels that a picture must have along both sides.
    """

    name: str
    title: str
    description: str
    compute: Callable[[NDArray[Any], NDArray[np.uint8]], float]
    higher_is_better: bool
    digits: int
    smallest: int


_ROUNDED = "The image is rounded to 8 bits first (0.5 added, floor, clipped to 0..255)."

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "psnr",
            "PSNR (dB)",
            f"Peak signal-to-noise ratio, peak 255, all channels at once, at most {MAX_PSNR:g} dB. "
            + _ROUNDED,
            psnr,
            higher_is_better=True,
            digits=2,
            smallest=1,
        ),
        Metric(
            "ssim",
            "SSIM",
            "Structural similarity as AP-BSN and SS-BSN report it: flat 7x7 window, sample "
            "covariance, mean over RGB. " + _ROUNDED,
            ssim,
            higher_is_better=True,
            digits=3,
            smallest=_WINDOW,
        ),
        Metric(
            "ssim_gaussian",
            "SSIM (Gaussian)",
            "Structural similarity with the window of Wang et al. 2004: Gaussian 11x11, sigma 1.5, "
            "mean over RGB. " + _ROUNDED,
            ssim_gaussian,
            higher_is_better=True,
            digits=3,
            smallest=_GAUSSIAN_WINDOW,
        ),
    )
}


def _both(
    clean: NDArray[Any], image: NDArray[Any], smallest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if clean.dtype != np.uint8 and clean.dtype.kind != "f":
        raise TypeError(f"clean must be uint8 or floats, not {clean.dtype}")
    # Floats might be in [0, 1], or not rounded: neither could be seen from the score.
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8, not {image.dtype}; see quantise")
    if clean.ndim != 3 or image.ndim != 3:
        raise TypeError(f"pictures must be (H, W, C), not {clean.shape} and {image.shape}")
    if clean.shape != image.shape:
        raise OptionError(
            f"The two pictures differ in size: {describe_size(clean)} and {describe_size(image)}.",
            "Compare a denoised photo with the clean one of the same size and channels.",
        )
    if min(clean.shape[:2]) < smallest or clean.shape[2] == 0:
        raise OptionError(
            f"The pictures are of {describe_size(clean)}, and at least {smallest}x{smallest} "
            "pixels are needed for this score.",
            "Leave them out, or compare larger parts.",
        )
    # Written so that it is wrong for NaN as well.
    if not (clean.min() >= 0 and clean.max() <= WHITE):
        raise OptionError(
            "The clean picture has values outside 0 to 255.", "Scale it to white at 255."
        )
    return clean.astype(np.float64), image.astype(np.float64)
