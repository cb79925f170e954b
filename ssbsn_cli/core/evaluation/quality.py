"""Which figures a data set allows, and a result scored by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import estimate_sigma

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample
from ssbsn_cli.core.evaluation.metrics import METRICS, Metric
from ssbsn_cli.core.evaluation.rounding import WHITE, mean_reference, quantise
from ssbsn_cli.core.types import white_of
from ssbsn_cli.core.weights.registry import suggest

#: How results are rounded, for every table.
ROUNDING = (
    "Results are rounded to 8 bits before they are scored (0.5 added, floor, clipped to 0..255); "
    "several references are averaged and not rounded; figures are means over images."
)


def noise_level(_noisy: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the noise in an image, as it looks.

    Parameters
    ----------
    image : array
        (H, W, 3) uint8.

    Returns
    -------
    float
        In grey levels, the mean over channels; from the finest wavelet coefficients, so noise
        that is correlated from pixel to pixel counts for less, and fine texture counts.

    References
    ----------
    .. [1] D. L. Donoho and I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage",
       Biometrika 81, 1994, as scikit-image's `estimate_sigma` does it.
    """
    if (image == image[:1, :1]).all():
        return 0.0
    values = image.astype(np.float64)
    sigma = estimate_sigma(  # type: ignore[no-untyped-call]
        values, average_sigmas=True, channel_axis=-1
    )
    return float(sigma)


def change(noisy: NDArray[Any], image: NDArray[np.uint8]) -> float:
    """Return the root of the mean squared difference to the noisy image, in grey levels."""
    difference = image.astype(np.float64) - noisy
    return float(np.sqrt(np.mean(difference**2)))


#: What can be said without a clean photograph; the first argument is the noisy one.
NO_REFERENCE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "noise",
            "noise left",
            "Standard deviation of the noise as estimated from the result itself, grey levels "
            "(Donoho's wavelet estimate, mean over RGB): less is not always better, since "
            "texture counts.",
            noise_level,
            higher_is_better=False,
            digits=2,
            smallest=8,
        ),
        Metric(
            "change",
            "change",
            "Root mean square of the difference between result and noisy photo, grey levels.",
            change,
            higher_is_better=False,
            digits=2,
            smallest=1,
        ),
    )
}


def choose_metrics(names: Sequence[str], referenced: bool) -> list[Metric]:
    """Return the figures to compute.

    Parameters
    ----------
    names : sequence of str
        As asked for; if empty, PSNR and the SSIM of the papers, or all that need no reference.
    referenced : bool
        Whether the data set has references.

    Raises
    ------
    OptionError
        There is no such figure, or it needs references.
    """
    known = METRICS if referenced else NO_REFERENCE
    chosen = list(dict.fromkeys(names or (("psnr", "ssim") if referenced else NO_REFERENCE)))
    for name in chosen:
        if name in METRICS and not referenced:
            raise OptionError(
                f"{name} needs clean photos, which this data set has not.",
                f"Ask for {' or '.join(NO_REFERENCE)}, or give another --dataset.",
            )
        if name not in known:
            raise OptionError(f"There is no metric called {name!r}.", suggest(name, known))
    return [known[name] for name in chosen]


def reference_of(sample: Sample) -> NDArray[Any]:
    """Return what results are compared with: white at 255, the mean if there are several.

    Without references it is the noisy photograph.
    """
    pictures = [_scale(picture) for picture in sample.references or (sample.noisy,)]
    return pictures[0] if len(pictures) == 1 else mean_reference(pictures)


def _scale(picture: NDArray[Any]) -> NDArray[Any]:
    if picture.dtype == np.uint8:
        return picture
    white = white_of(picture.dtype)
    return picture.astype(np.float64) * (WHITE / white)


def to_picture(result: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round a result with white at 1 to the picture that is scored."""
    return quantise(result * np.float32(WHITE))
