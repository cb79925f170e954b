"""The scores of a denoised photo, and the rounding before scoring.

Everything is scored as 8-bit pictures, so fractions of a grey level do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssbsn_cli.core.errors import OptionError, suggest
from ssbsn_cli.core.noise.white import estimate_sigmas

#: The largest possible PSNR, in dB.
MAX_PSNR = 100.0
#: The convention behind every score, for tables and reports.
ROUNDING = (
    "Results are rounded to 8 bits before they are scored (0.5 added, floor, clipped to 0..255); "
    "several references are averaged and not rounded; figures are means over images."
)
_WHITE = 255.0


def quantise(x: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Round to 8 bits as the code of the papers does before scoring.

    That is ``floor(x + 0.5)``, clipped to 0..255, with white at 255. Unlike with `numpy.rint`,
    halves are rounded up. The sum has the precision of `x`.

    Raises
    ------
    OptionError
        There is a NaN.

    References
    ----------
    .. [1] ``add_con: 0.5`` and ``floor: True`` of the tests in AP-BSN's and SS-BSN's
       configurations, and ``test_dataloader_process`` of ``src/trainer/base.py`` in
       https://github.com/wooseoklee4/AP-BSN and https://github.com/YoungJooHan/SS-BSN.
    """
    if np.isnan(x).any():
        raise OptionError(
            "The picture to be scored has values that are not numbers.",
            "Denoise it again in float32, and check the weights.",
        )
    rounded: NDArray[np.floating[Any]] = np.floor(x + 0.5)
    np.clip(rounded, 0, _WHITE, out=rounded)
    return rounded.astype(np.uint8)


def to_picture(result: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round a result with white at 1 to the picture that is scored."""
    return quantise(result * np.float32(_WHITE))


def _psnr(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    # Without this limit, equal pictures would make means infinite.
    with np.errstate(divide="ignore"):
        value = peak_signal_noise_ratio(  # type: ignore[no-untyped-call]
            *_as_floats(clean, image, 1), data_range=_WHITE
        )
    return min(MAX_PSNR, float(value))


def _ssim(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    # Like `ssim` of src/util/util.py in AP-BSN's and SS-BSN's code, which works in float32.
    return _similarity(clean, image, 7, win_size=7)


def _ssim_gaussian(clean: NDArray[Any], image: NDArray[np.uint8]) -> float:
    # Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error visibility to
    # structural similarity", 2004, which only scores luminance.
    return _similarity(
        clean, image, 11, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


def _similarity(
    clean: NDArray[Any], image: NDArray[np.uint8], window: int, **options: Any
) -> float:
    value = structural_similarity(  # type: ignore[no-untyped-call]
        *_as_floats(clean, image, window), channel_axis=2, data_range=_WHITE, **options
    )
    return float(value)


def _as_floats(
    clean: NDArray[Any], image: NDArray[np.uint8], smallest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    height, width, channels = clean.shape
    if min(height, width) < smallest:
        raise OptionError(
            f"The pictures have {width}x{height} pixels in {channels} channels; this score needs "
            f"at least {smallest}x{smallest} pixels.",
            "Leave them out, or compare larger parts.",
        )
    return clean.astype(np.float64), image.astype(np.float64)


def _noise_left(_noisy: NDArray[Any], image: NDArray[np.uint8]) -> float:
    # Noise that is correlated between pixels counts less; fine texture counts, too.
    return _WHITE * float(estimate_sigmas(image / _WHITE).mean())


def _change(noisy: NDArray[Any], image: NDArray[np.uint8]) -> float:
    if noisy.dtype != np.uint8:
        noisy = quantise(noisy.astype(np.float64))
    difference = np.subtract(image, noisy, dtype=np.int16)
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.int32))))


@dataclass(frozen=True)
class Metric:
    """A score and its description.

    Parameters
    ----------
    name, title : str
        Its names in files and on the command line, and in the header of a table.
    description : str
        The exact definition: window, rounding, range.
    compute : callable
        Takes the clean picture (the noisy one if there is none), uint8 or floats with white at
        255, and the denoised one, uint8, both (H, W, C); returns the score. Raises an
        `OptionError` if they are too small.
    digits : int
        Decimals, as papers print them.
    higher_is_better : bool
        Whether a higher score is better.
    """

    name: str
    title: str
    description: str
    compute: Callable[[NDArray[Any], NDArray[np.uint8]], float]
    digits: int = 2
    higher_is_better: bool = True


_REFERENCED = (
    Metric(
        "psnr",
        "PSNR (dB)",
        f"Peak signal-to-noise ratio, peak 255, all channels at once, at most {MAX_PSNR:g} dB.",
        _psnr,
    ),
    Metric(
        "ssim",
        "SSIM",
        "Structural similarity as AP-BSN and SS-BSN report it: flat 7x7 window, sample "
        "covariance, mean over RGB.",
        _ssim,
        digits=3,
    ),
    Metric(
        "ssim_gaussian",
        "SSIM (Gaussian)",
        "Structural similarity with the window of Wang et al. 2004: Gaussian 11x11, sigma 1.5, "
        "mean over RGB.",
        _ssim_gaussian,
        digits=3,
    ),
)
_UNREFERENCED = (
    Metric(
        "noise",
        "noise left",
        "Standard deviation of the noise as estimated from the result itself, grey levels "
        "(Donoho's wavelet estimate, mean over RGB): less is not always better, since "
        "texture counts.",
        _noise_left,
        higher_is_better=False,
    ),
    Metric(
        "change",
        "change",
        "Root mean square of the difference between result and noisy photo, grey levels.",
        _change,
        higher_is_better=False,
    ),
)
#: The scores against a clean photo, by name.
METRICS = {metric.name: metric for metric in _REFERENCED}
#: The scores that need no clean photo, by name.
NO_REFERENCE = {metric.name: metric for metric in _UNREFERENCED}


def choose_metrics(names: Sequence[str], referenced: bool) -> list[Metric]:
    """Return the metrics to compute for a data set with or without references.

    By default, these are PSNR and the SSIM of the papers, or all that need no reference.

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
        if name in NO_REFERENCE and referenced:
            raise OptionError(
                f"{name} is for data sets without clean photos, and this one has them.",
                f"Ask for {' or '.join(METRICS)}.",
            )
        if name not in known:
            raise OptionError(f"There is no metric called {name!r}.", suggest(name, known))
    return [known[name] for name in chosen]
