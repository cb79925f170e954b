"""How much stronger the noise of a photo is in its texture."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.flat import neither_black_nor_white
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.lifted import LiftedNoise, activity

# The number of activities that are told apart, and the fewest pixels for that.
_ACTIVITIES, _FEWEST = 6, 2000
# Noise is at most this many times as strong as where activity is lowest.
_MOST = 4
# Relative to the noise, less than this is nothing.
_NOTHING = 1e-4


def measure_texture(
    noise: LiftedNoise,
    parts: Iterable[tuple[Floats, Floats]],
    denoise: Callable[[Floats], Floats],
) -> NDArray[np.float64]:
    """Measure how much stronger the noise of a photo is in its texture.

    Cameras smooth what looks flat, so noise that is measured in flat patches is too weak for
    texture. There, a denoiser removes only part of the noise, but how much it removes tells the
    strength: noise of known strength is added to the denoised photo, which is denoised again.
    Where the real photo loses more than this one, its noise is stronger by that factor [1]_.

    Parameters
    ----------
    noise : LiftedNoise
        The noise as in flat patches.
    parts : iterable of (array, array)
        Parts of the photo, (H, W, 3) float32 in [0, 1], noisy and denoised.
    denoise : callable
        Denoises a part.

    Returns
    -------
    array
        (2, n) activities, ascending, and the factor at each, 1 to 4. See `LiftedNoise`.

    References
    ----------
    .. [1] C. Gourieroux, A. Monfort & E. Renault, "Indirect Inference", Journal of Applied
       Econometrics 8, 1993.
    """
    rng = np.random.default_rng(0)
    rows = []
    for noisy, denoised in parts:
        brightness = denoised.mean(axis=2)
        again = noise.add(denoised, rng, factor=1)
        strength = np.interp(brightness, noise.levels, noise.strengths)
        removed = [
            ((each - denoise(each)) ** 2).mean(axis=2) / strength**2 for each in (noisy, again)
        ]
        inside = neither_black_nor_white(brightness)
        rows.append(np.stack([activity(denoised), *removed])[:, inside])
    active, real, known = np.concatenate(rows, axis=1)
    if len(active) < _FEWEST:
        return np.ones((2, 1))
    groups = np.array_split(np.argsort(active), _ACTIVITIES)
    at = [np.median(active[each]) for each in groups]
    lost, expected = (
        np.sqrt([side[each].mean() + _NOTHING for each in groups]) for side in (real, known)
    )
    ratio = lost / expected
    return np.stack([at, np.clip(ratio / ratio[0], 1, _MOST)])
