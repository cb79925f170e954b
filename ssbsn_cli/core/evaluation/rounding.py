"""Pictures made ready for scoring: results rounded to 8 bits, clean ones scaled and averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample
from ssbsn_cli.core.types import white_of

WHITE = 255.0
#: The convention behind every score, for tables and reports.
ROUNDING = (
    "Results are rounded to 8 bits before they are scored (0.5 added, floor, clipped to 0..255); "
    "several references are averaged and not rounded; figures are means over images."
)


def quantise(x: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Round to 8 bits as the code of the papers does before it scores.

    Parameters
    ----------
    x : array
        Any shape, floats with white at 255; values beyond black and white are allowed.

    Returns
    -------
    array
        The shape of `x`, uint8: ``floor(x + 0.5)``, clipped to 0..255. Halves go up, unlike with
        `numpy.rint`, and the sum is in the precision of `x`.

    Raises
    ------
    OptionError
        There is a NaN.

    References
    ----------
    ``add_con: 0.5`` and ``floor: True`` of the tests in AP-BSN's and SS-BSN's configurations, and
    ``test_dataloader_process`` of ``src/trainer/base.py`` in https://github.com/wooseoklee4/AP-BSN
    and https://github.com/YoungJooHan/SS-BSN.
    """
    if np.isnan(x).any():
        raise OptionError(
            "The picture to be scored has values that are not numbers.",
            "Denoise it again in float32, and check the weights.",
        )
    rounded: NDArray[np.uint8] = np.clip(np.floor(x + 0.5), 0, WHITE).astype(np.uint8)
    return rounded


def to_picture(result: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round a result with white at 1 to the picture that is scored."""
    return quantise(result * np.float32(WHITE))


def reference_of(sample: Sample) -> NDArray[Any]:
    """Return what the results for a sample are compared with.

    Returns
    -------
    array
        (H, W, 3) with white at 255: the one reference, as uint8 if it is that; the mean of
        several, as float64; or the noisy photograph if there are none. The mean is not rounded:
        its fractions are what averaging gained, and rounding them away would add noise of 1/12 of
        a squared level to every score. Data sets that publish one 8-bit mean have rounded already.
    """
    pictures = sample.references or (sample.noisy,)
    if len(pictures) == 1:
        return _to_255(pictures[0])
    total = np.zeros(sample.noisy.shape)
    for picture in pictures:
        total += _to_255(picture)
    return total / len(pictures)


def _to_255(picture: NDArray[Any]) -> NDArray[Any]:
    if picture.dtype == np.uint8:
        return picture
    return picture.astype(np.float64) * (WHITE / white_of(picture.dtype))
