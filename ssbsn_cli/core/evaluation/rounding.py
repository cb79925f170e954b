"""Pictures made ready for scoring: denoised ones rounded, clean ones averaged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError

WHITE = 255.0


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


def mean_reference(references: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Average several photographs of one scene into the clean one.

    The mean is not rounded, for `psnr` and the two SSIMs alike: its fractions are what averaging
    gained, and rounding them away would add noise of 1/12 of a squared level to every score. Data
    sets that publish one mean of 8 bits have rounded already; ``quantise(mean)`` is theirs.

    Parameters
    ----------
    references : iterable of array
        (H, W, C), all of one size, uint8 or floats with white at 255. Read one at a time.

    Returns
    -------
    array
        (H, W, C) float64 with white at 255.

    Raises
    ------
    OptionError
        There are none, or their sizes differ.
    TypeError
        They are neither uint8 nor floats.
    """
    total: NDArray[np.float64] | None = None
    count = 0
    for reference in references:
        if reference.dtype != np.uint8 and reference.dtype.kind != "f":
            raise TypeError(f"references must be uint8 or floats, not {reference.dtype}")
        if total is None:
            total = np.zeros(reference.shape)
        elif reference.shape != total.shape:
            raise OptionError(
                f"The clean photos of a scene differ in size: {describe_size(total)} and "
                f"{describe_size(reference)}.",
                "Average only photos that show exactly the same.",
            )
        total += reference
        count += 1
    if total is None:
        raise OptionError(
            "There are no clean photos to average.", "Give at least one clean photo of the scene."
        )
    return total / count


def describe_size(picture: NDArray[Any]) -> str:
    """Return the size of (H, W, C) for people to read; the bare shape of anything else."""
    if picture.ndim != 3:
        return "x".join(map(str, picture.shape))
    height, width, channels = picture.shape
    return f"{width}x{height} pixels in {channels} channels"
