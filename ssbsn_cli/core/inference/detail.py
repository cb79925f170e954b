"""Detail recovery: give back what a blind-spot network took for noise, where it was not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.flat import FlatParts, cut, find_flat
from ssbsn_cli.core.imaging.photo import Image

# Energy is averaged over windows of this size.
_WINDOW = 11
# Flat parts are the calmest ones, and energy in small windows varies: noise is taken for this much
# stronger in power, or what is left of it by chance would be given back.
_SAFETY = 1.4
# As many parts tell how strong noise is, however large the photograph.
_PARTS = 2048


def estimate_noise(image: Image) -> FlatParts | None:
    """Find out how strong the noise of a photograph is at which brightness.

    Parameters
    ----------
    image : Image
        (H, W, C) integers, or floats with white at 1. Of a large one, a sample is read.

    Returns
    -------
    FlatParts or None
        None if there are too few parts that are neither black nor white.
    """
    return find_flat(cut(image, _PARTS))


def recover_detail(
    noisy: NDArray[np.float32], denoised: NDArray[np.float32], noise: FlatParts
) -> NDArray[np.float32]:
    """Give back the part of what was removed that noise does not explain.

    The network's result is the prior, the noisy pixel the observation. Where the difference of
    the two has more energy than the noise, the network was wrong by the rest, and the mean of the
    posterior lies between the two: ``denoised + max(0, 1 - noise / energy) (noisy - denoised)``.

    Parameters
    ----------
    noisy, denoised : array
        (H, W, C) with white at 1.
    noise : FlatParts
        Of the whole photograph.

    Returns
    -------
    array
        (H, W, C) float32.

    References
    ----------
    .. [1] Laine, Karras, Lehtinen & Aila, "High-Quality Self-Supervised Deep Image Denoising",
       NeurIPS 2019, for the posterior mean of a blind-spot network's prediction.
    """
    removed = noisy - denoised
    energy = cv2.blur(removed * removed, (_WINDOW, _WINDOW)).reshape(removed.shape)
    brightness = denoised.mean(axis=2)
    expected = np.stack(
        [np.interp(brightness, noise.levels, each**2) for each in noise.deviations.T], axis=2
    )
    share = 1 - _SAFETY * expected / np.maximum(energy, 1e-12)
    return denoised + np.maximum(share, 0).astype(np.float32) * removed
