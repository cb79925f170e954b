"""The scores: of a denoised photograph against a clean one, and without one.

Everything is scored as 8-bit pictures: a fraction of a grey level that no file keeps earns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from skimage.restoration import estimate_sigma

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.rounding import WHITE
from ssbsn_cli.core.weights.registry import suggest

#: What `psnr` returns for equal pictures, and the most it returns for any, in dB.
MAX_PSNR = 100.0


def psnr(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio, with the peak at 255.

    Parameters
    ----------
    clean : array
        (H, W, C), uint8, or floats with white at 255.
    image : array
        (H, W, C) uint8.

    Returns
    -------
    float
        In dB, over all pixels and channels at once. `MAX_PSNR` for equal pictures instead of
        infinity, so that means over pictures stay finite, and never more for others: one level
        in one value of a 256x256 picture would otherwise score above equality.

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
    """Return the structural similarity as the code of AP-BSN and SS-BSN computes it.

    It has a flat window of 7x7 pixels and sample covariances (divided by 48), takes each channel
    alone, and averages over channels and all places where the window is inside.

    Parameters
    ----------
    clean, image : array
        As for `psnr`.

    Returns
    -------
    float
        From -1 to 1; 1 for equal pictures. In float64, where that code works in float32.

    Raises
    ------
    OptionError, TypeError
        As for `psnr`, or the pictures are smaller than the window.

    References
    ----------
    ``ssim`` of ``src/util/util.py`` in https://github.com/wooseoklee4/AP-BSN and
    https://github.com/YoungJooHan/SS-BSN: scikit-image's `structural_similarity` by default.
    """
    return _similarity(clean, image, 7, win_size=7)


def ssim_gaussian(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the structural similarity with the window of the paper that introduced it.

    It has a Gaussian window of 11x11 pixels with sigma 1.5 and weighted covariances, takes each
    channel alone, and averages over channels and all places where the window is inside. The paper
    scores luminance only.

    Parameters
    ----------
    clean, image : array
        As for `psnr`.

    Returns
    -------
    float
        From -1 to 1; 1 for equal pictures.

    Raises
    ------
    OptionError, TypeError
        As for `psnr`, or the pictures are smaller than the window.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error visibility to structural
    similarity", IEEE Transactions on Image Processing 13, 2004.
    """
    return _similarity(
        clean, image, 11, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


def _similarity(
    clean: NDArray[Any], image: NDArray[np.uint8], window: int, **options: Any
) -> float:
    reference, picture = _both(clean, image, window)
    value = structural_similarity(  # type: ignore[no-untyped-call]
        reference, picture, channel_axis=2, data_range=WHITE, **options
    )
    return float(value)


def _both(
    clean: NDArray[Any], image: NDArray[Any], smallest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if clean.dtype != np.uint8 and clean.dtype.kind != "f":
        raise TypeError(f"clean must be uint8 or floats, not {clean.dtype}")
    # Floats might be in [0, 1], or not rounded: the score would show neither.
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8, not {image.dtype}; see quantise")
    if clean.ndim != 3 or image.ndim != 3:
        raise TypeError(f"pictures must be (H, W, C), not {clean.shape} and {image.shape}")
    if clean.shape != image.shape:
        raise OptionError(
            f"The two pictures differ in size: {_size(clean)} and {_size(image)}.",
            "Compare a denoised photo with the clean one of the same size and channels.",
        )
    if min(clean.shape[:2]) < smallest or clean.shape[2] == 0:
        raise OptionError(
            f"The pictures have {_size(clean)}; this score needs at least {smallest}x{smallest} "
            "pixels.",
            "Leave them out, or compare larger parts.",
        )
    # Written so that NaN fails as well.
    if not (clean.min() >= 0 and clean.max() <= WHITE):
        raise OptionError(
            "The clean picture has values outside 0 to 255.", "Scale it to white at 255."
        )
    return clean.astype(np.float64), image.astype(np.float64)


def _size(picture: NDArray[Any]) -> str:
    height, width, channels = picture.shape
    return f"{width}x{height} pixels in {channels} channels"


def noise_level(_noisy: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the noise that an image seems to have, in grey levels.

    It is the mean over the channels of a (H, W, 3) image, from the finest wavelet coefficients, so
    noise that is correlated from pixel to pixel counts for less, and fine texture counts.

    References
    ----------
    .. [1] D. L. Donoho and I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage",
       Biometrika 81, 1994, as scikit-image's `estimate_sigma` does it.
    """
    if (image == image[:1, :1]).all():
        return 0.0
    sigma = estimate_sigma(  # type: ignore[no-untyped-call]
        image.astype(np.float64), average_sigmas=True, channel_axis=-1
    )
    return float(sigma)


def change(noisy: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the root mean square of the difference to the noisy image, in grey levels."""
    difference = image.astype(np.float64) - noisy
    return float(np.sqrt(np.mean(difference**2)))


@dataclass(frozen=True)
class Metric:
    """A score, and what to say about it.

    Parameters
    ----------
    name : str
        In files and on the command line.
    title : str
        For a table's head.
    description : str
        What it is exactly: window, rounding, range.
    compute : callable
        Takes the clean picture (the noisy one if there is none) and the denoised one, both
        (H, W, C); returns the score.
    digits : int
        After the point, as papers print it.
    higher_is_better : bool
        Which of two scores is better.
    """

    name: str
    title: str
    description: str
    compute: Callable[[NDArray[Any], NDArray[np.uint8]], float]
    digits: int
    higher_is_better: bool


_ROUNDED = "The image is rounded to 8 bits first (0.5 added, floor, clipped to 0..255)."
_REFERENCED = (
    Metric(
        "psnr",
        "PSNR (dB)",
        f"Peak signal-to-noise ratio, peak 255, all channels at once, at most {MAX_PSNR:g} dB. "
        + _ROUNDED,
        psnr,
        digits=2,
        higher_is_better=True,
    ),
    Metric(
        "ssim",
        "SSIM",
        "Structural similarity as AP-BSN and SS-BSN report it: flat 7x7 window, sample "
        "covariance, mean over RGB. " + _ROUNDED,
        ssim,
        digits=3,
        higher_is_better=True,
    ),
    Metric(
        "ssim_gaussian",
        "SSIM (Gaussian)",
        "Structural similarity with the window of Wang et al. 2004: Gaussian 11x11, sigma 1.5, "
        "mean over RGB. " + _ROUNDED,
        ssim_gaussian,
        digits=3,
        higher_is_better=True,
    ),
)
_UNREFERENCED = (
    Metric(
        "noise",
        "noise left",
        "Standard deviation of the noise as estimated from the result itself, grey levels "
        "(Donoho's wavelet estimate, mean over RGB): less is not always better, since "
        "texture counts.",
        noise_level,
        digits=2,
        higher_is_better=False,
    ),
    Metric(
        "change",
        "change",
        "Root mean square of the difference between result and noisy photo, grey levels.",
        change,
        digits=2,
        higher_is_better=False,
    ),
)
#: The scores against a clean photograph, by name.
METRICS = {metric.name: metric for metric in _REFERENCED}
#: The scores that need none, by name.
NO_REFERENCE = {metric.name: metric for metric in _UNREFERENCED}


def choose_metrics(names: Sequence[str], referenced: bool) -> list[Metric]:
    """Return the metrics to compute.

    Parameters
    ----------
    names : sequence of str
        As asked for; if empty, PSNR and the SSIM of the papers, or all that need no reference.
    referenced : bool
        Whether the data set has references.

    Raises
    ------
    OptionError
        There is no such metric, or it needs references.
    """
    known = METRICS if referenced else NO_REFERENCE
    chosen = list(dict.fromkeys(names or (("psnr", "ssim") if referenced else NO_REFERENCE)))
    for name in chosen:
        if name in METRICS and not referenced:
            raise OptionError(
                f"{name} needs clean photos, which this data set does not have.",
                f"Ask for {' or '.join(NO_REFERENCE)}, or give another --dataset.",
            )
        if name not in known:
            raise OptionError(f"There is no metric called {name!r}.", suggest(name, known))
    return [known[name] for name in chosen]
