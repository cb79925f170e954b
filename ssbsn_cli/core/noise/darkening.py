"""How much the noise of a photo darkens it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from ssbsn_cli.core.noise.flat import neither_black_nor_white
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.lifted import LiftedNoise

# Darkening by less than this, as a root mean square, does no harm.
_LITTLE = 0.5 / 255
# If noise does not darken, a denoiser brightens real photos by this fraction of what it adds
# to denoised ones with such noise, where fine texture is missing.
_TEXTURED = 0.65


def measure_darkening(
    photos: Iterable[tuple[LiftedNoise, Iterable[tuple[Floats, Floats]]]],
    denoise: Callable[[Floats], Floats],
) -> list[float]:
    """Measure how much the noise of photos darkens them.

    Noise that arises in light lowers the mean of sRGB values, whose curve is concave. But cameras'
    tone curves differ, and noise may have been added afterwards. A denoiser cannot see which it is,
    so it brightens all noisy photos, but darker ones more. So noise of known strength is added
    to the denoised photo, once as it arises in light and once with a mean of zero, and both
    are denoised again. How much the denoiser brightens these and the real photo tells how much
    the real noise darkens [1]_. One photo's scene may mislead, so the mean of all photos
    counts as one more of each.

    Parameters
    ----------
    photos : iterable of (LiftedNoise, iterable of (array, array))
        The noise of each photo, and parts of it, (H, W, 3) float32 in [0, 1], noisy and
        denoised.
    denoise : callable
        Denoises a part.

    Returns
    -------
    list of float
        For each photo, 0 if the noise does not darken, 1 if it does as in light or if that
        makes no difference.

    References
    ----------
    .. [1] C. Gourieroux, A. Monfort & E. Renault, "Indirect Inference", Journal of Applied
       Econometrics 8, 1993.
    """
    found = np.array([_brightened(*photo, denoise) for photo in photos])
    real, of_even, of_light = (found + found.mean(axis=0)).T
    reach = of_light - of_even
    measured = (real - _TEXTURED * of_even) / np.where(reach > 0, reach, 1)
    return [float(each) for each in np.where(reach > 0, np.clip(measured, 0, 1), 1)]


def _brightened(
    noise: LiftedNoise,
    parts: Iterable[tuple[Floats, Floats]],
    denoise: Callable[[Floats], Floats],
) -> list[float]:
    """Return how much real noise, even noise and noise in light are brightened, where they darken.

    The numbers are zero if the noise is too mild to darken.
    """
    rng = np.random.default_rng(0)
    even, in_light = replace(noise, darkens=0.0), replace(noise, darkens=1.0)
    sums = [0.0, 0.0, 0.0]
    for noisy, denoised in parts:
        expected = even.mean(denoised) - in_light.mean(denoised)
        expected[~neither_black_nor_white(denoised.mean(axis=2))] = 0
        if np.sqrt((expected**2).mean()) < _LITTLE:
            continue
        known = (each.add(denoised, rng, factor=1) for each in (even, in_light))
        for number, side in enumerate((noisy, *known)):
            sums[number] += float(((denoise(side) - side) * expected).sum())
    return sums
