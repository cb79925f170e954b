"""The noise of photographs, measured with the help of what a denoiser makes of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.flat import (
    FEWEST,
    flattest,
    neither_black_nor_white,
    without_gradients,
)
from ssbsn_cli.core.noise.lifted import NO_NOISE, LiftedNoise, filters, lift_from, spectrum

_Floats = NDArray[np.float64]

# Denoised, parts with texture are told from flat ones, so more of them can be taken for flat.
_FLATTEST = 0.25
# Noise is at most so many times as strong, at any frequency, as what was removed. Where more seems
# to be left, it is texture.
_MOST_LEFT = 2.0
# The cautious estimate was a tenth too weak on the photographs that it was tried on.
_CAUTION = 1.1
# Of the largest value of a spectrum: below that, a quotient of spectra means nothing.
_SMALLEST = 1e-3


class Measured(NamedTuple):
    """Two estimates of a photograph's noise.

    Attributes
    ----------
    cautious : LiftedNoise
        What the denoiser removed, as strong as that and the noisy photograph's flat parts say.
        Too weak where the denoiser leaves noise.
    whole : LiftedNoise
        In addition, what the denoiser left. Takes some texture for noise.
    """

    cautious: LiftedNoise
    whole: LiftedNoise


def measure_noise(noisy: _Floats, denoised: _Floats) -> Measured | None:
    """Measure the noise of one photograph.

    What a denoiser removed, ``r``, has no texture in it, but is weaker than the noise ``n``: where
    it passes a part ``a`` of a frequency on, ``r = (1 - a) n``. The noisy photograph ``y`` shows
    all of ``n``, and texture that has nothing to do with ``r``. So the noise has the spectrum
    ``S_yr S_rr^-1 S_ry``, the part of ``y`` that goes together with ``r``.

    Parameters
    ----------
    noisy, denoised : array
        From `ssbsn_cli.core.noise.flat.cut`: the same parts of the noisy photograph and of the
        denoised one.

    Returns
    -------
    Measured or None
        None if too few parts are neither black nor white, or there is no noise.

    References
    ----------
    .. [1] J. Bendat & A. Piersol, "Random Data", for the output that is coherent with an input.
    """
    brightness, inside = neither_black_nor_white(denoised)
    if np.count_nonzero(inside) < FEWEST:
        return None
    brightness = brightness[inside]
    shown, left = without_gradients(noisy[inside]), without_gradients(denoised[inside])
    variance = (left**2).mean(axis=(1, 2, 3))
    levels, strengths, whole, removed = [], [], [], []
    for chosen in flattest(brightness, variance, _FLATTEST):
        parts = shown[chosen] - left[chosen]
        strength = float(np.sqrt((parts**2).mean()))
        if strength > NO_NOISE / 2:
            levels.append(float(brightness[chosen].mean()))
            strengths.append(strength)
            whole.append(shown[chosen] / strength)
            removed.append(parts / strength)
    if not levels:
        return None
    y, r = np.concatenate(whole), np.concatenate(removed)
    of_removed = spectrum(r, r)
    kernels, removed_strength = filters(of_removed)
    noise, noise_strength = filters(_coherent(spectrum(y, r), of_removed))
    at, strong = np.array(levels), np.array(strengths)
    plain = lift_from(noisy)
    cautious = strong
    if plain is not None:
        seen = np.interp(at, plain.levels, plain.strengths)
        cautious = np.sqrt(strong * seen) * _CAUTION
    return Measured(
        LiftedNoise(at, cautious, kernels),
        LiftedNoise(at, strong * noise_strength / removed_strength, noise),
    )


def _coherent(
    across: NDArray[np.complex128], of_removed: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return the spectrum of what goes together with what was removed."""
    values, vectors = np.linalg.eigh((of_removed + of_removed.conj().swapaxes(-2, -1)) / 2)
    values = np.maximum(values, _SMALLEST * values.max())
    inverse = (vectors / values[..., None, :]) @ vectors.conj().swapaxes(-2, -1)
    found = across @ inverse @ across.conj().swapaxes(-2, -1)
    power, least = (np.trace(s, axis1=-2, axis2=-1).real for s in (found, of_removed))
    limit = np.minimum(1, _MOST_LEFT**2 * least / np.maximum(power, 1e-12))
    return np.asarray(found * np.maximum(limit, 0)[..., None, None])
