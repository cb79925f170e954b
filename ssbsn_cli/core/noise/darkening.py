"""How much the noise of a photograph darkens it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.flat import neither_black_nor_white
from ssbsn_cli.core.noise.lifted import LiftedNoise

_Floats = NDArray[np.float32]

# Darkening by less than this, as a root mean square, does no harm.
_LITTLE = 0.5 / 255
# The deviation, in pixels, of the Gaussian window over which darkening is averaged.
_AROUND = 8
# If noise does not darken, a denoiser brightens real photographs by this fraction of what it adds
# to denoised ones with such noise, where fine texture is missing.
_TEXTURED = 0.65


def measure_darkening(
    noise: LiftedNoise,
    parts: Iterable[tuple[_Floats, _Floats]],
    denoise: Callable[[_Floats], _Floats],
) -> float:
    """Measure how much the noise of a photograph darkens it.

    Noise that arises in light lowers the mean of sRGB values, whose curve is concave. But cameras'
    tone curves differ, and noise may have been added afterwards. A denoiser cannot see which it is,
    so it brightens all noisy photographs, but darker ones more. So noise of known strength is added
    to the denoised photograph, once as it arises in light and once with a mean of zero, and both
    are denoised again. How much the denoiser brightens these and the real photograph tells how much
    the real noise darkens [1]_.

    Parameters
    ----------
    noise : LiftedNoise
        The noise of the photograph.
    parts : iterable of (array, array)
        Parts of the photograph, (H, W, 3) float32 in [0, 1], noisy and denoised.
    denoise : callable
        Denoises a part.

    Returns
    -------
    float
        0 if the noise does not darken, 1 if it does as in light or if that makes no difference.

    References
    ----------
    .. [1] C. Gourieroux, A. Monfort & E. Renault, "Indirect Inference", Journal of Applied
       Econometrics 8, 1993.
    """
    rng = np.random.default_rng(0)
    brightened = np.zeros(3)
    for noisy, denoised in parts:
        even, darkening = noise.draw(denoised, rng, factor=1)
        expected = -cv2.GaussianBlur(darkening, (0, 0), _AROUND)
        expected[~neither_black_nor_white(denoised.mean(axis=2))] = 0
        if np.sqrt((expected**2).mean()) < _LITTLE:
            continue
        for number, side in enumerate((noisy, denoised + even, denoised + even + darkening)):
            within = np.clip(side, 0, 1)
            brightened[number] += float(((denoise(within) - within) * expected).sum())
    real, of_even, of_light = brightened
    if of_light <= of_even:
        return 1.0
    usual = _TEXTURED * of_even
    return float(np.clip((real - usual) / (of_light - of_even), 0, 1))
