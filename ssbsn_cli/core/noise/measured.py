"""The noise of photographs, measured with the help of what a denoiser makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

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
# The largest distance of pixels whose correlation is reported.
_FARTHEST = 6


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
    compared = _compare(noisy, denoised)
    found = list(_levels(compared)) if compared else []
    if not found:
        return None
    removed, noise = _spectra(found)
    kernels, removed_strength = filters(removed)
    whole_kernels, whole_strength = filters(noise)
    at = np.array([level.brightness for level in found])
    strong = np.array([level.strength for level in found])
    plain = lift_from(noisy)
    cautious = strong
    if plain is not None:
        seen = np.interp(at, plain.levels, plain.strengths)
        cautious = np.sqrt(strong * seen) * _CAUTION
    return Measured(
        LiftedNoise(at, cautious, kernels),
        LiftedNoise(at, strong * whole_strength / removed_strength, whole_kernels),
    )


def summarise(noises: Iterable[Measured]) -> str:
    """Say in a few words how strong the noise of photographs is, and how neighbours correlate."""
    whole = [each.whole for each in noises]
    strengths = np.concatenate([noise.strengths for noise in whole]) * 255
    neighbours = [
        (noise.kernels[..., 1:] * noise.kernels[..., :-1]).sum() / (noise.kernels**2).sum()
        for noise in whole
    ]
    return (
        f"standard deviation {strengths.min():.1f} to {strengths.max():.1f} grey levels of 255, "
        f"neighbours correlate by {np.median(neighbours):z.2f}"
    )


@dataclass(frozen=True)
class NoiseFigures:
    """The noise of one photograph, in figures for people.

    Parameters
    ----------
    deviations : tuple of array
        For each channel, (n, 2): brightness of that channel, ascending, and the standard deviation
        of the noise there; white is 1.
    neighbours : array
        (2, 6) correlation of the noise in pixels that are 1 to 6 apart, side by side and one above
        the other; the mean over channels. Zeros if there is no noise.
    channels : array
        (C, C) correlation of the noise between channels. The unit matrix if there is no noise.
    """

    deviations: tuple[_Floats, ...]
    neighbours: _Floats
    channels: _Floats


def describe_noise(noisy: _Floats, denoised: _Floats) -> NoiseFigures | None:
    """Describe the noise of one photograph by what `measure_noise` calls the whole of it.

    Parameters
    ----------
    noisy, denoised : array
        As for `measure_noise`, with one channel or three.

    Returns
    -------
    NoiseFigures or None
        None if too few parts are neither black nor white.
    """
    compared = _compare(noisy, denoised)
    if compared is None:
        return None
    channels = noisy.shape[3]
    found = list(_levels(compared))
    factor, neighbours, correlation = np.ones(channels), np.zeros((2, _FARTHEST)), np.eye(channels)
    if found:
        removed, noise = (fft.ifft2(s, axes=(0, 1)).real for s in _spectra(found))
        variance = np.diag(noise[0, 0])
        factor = np.sqrt(variance / np.diag(removed[0, 0]))
        correlation = noise[0, 0] / np.sqrt(np.outer(variance, variance))
        near = slice(1, _FARTHEST + 1)
        lags = np.stack([noise[0, near], noise[near, 0]])
        neighbours = np.trace(lags, axis1=2, axis2=3) / variance.sum()
    return NoiseFigures(
        tuple(_deviations(compared, channel, factor[channel]) for channel in range(channels)),
        neighbours,
        correlation,
    )


class _Compared(NamedTuple):
    """Parts of a photograph that are neither black nor white, each (n, 32, 32, C).

    What the noisy and the denoised one show is without gradients.
    """

    denoised: _Floats
    shown: _Floats
    left: _Floats


class _Level(NamedTuple):
    """Flat parts of one brightness, and the standard deviation of what was removed there."""

    brightness: float
    strength: float
    shown: _Floats
    removed: _Floats


def _compare(noisy: _Floats, denoised: _Floats) -> _Compared | None:
    _, inside = neither_black_nor_white(denoised)
    if np.count_nonzero(inside) < FEWEST:
        return None
    noisy, denoised = noisy[inside], denoised[inside]
    return _Compared(denoised, without_gradients(noisy), without_gradients(denoised))


def _levels(compared: _Compared) -> Iterator[_Level]:
    """Yield the levels of brightness that show noise."""
    brightness = compared.denoised.mean(axis=(1, 2, 3))
    variance = (compared.left**2).mean(axis=(1, 2, 3))
    for chosen in flattest(brightness, variance, _FLATTEST):
        shown = compared.shown[chosen]
        removed = shown - compared.left[chosen]
        strength = float(np.sqrt((removed**2).mean()))
        if strength > NO_NOISE / 2:
            yield _Level(float(brightness[chosen].mean()), strength, shown, removed)


def _deviations(compared: _Compared, channel: int, factor: float) -> _Floats:
    """Return the brightness and the standard deviation of one channel's noise, (n, 2).

    `factor` says how much stronger the noise is than what was removed.
    """
    denoised, shown, left = (parts[..., channel] for parts in compared)
    brightness, variance = denoised.mean(axis=(1, 2)), (left**2).mean(axis=(1, 2))
    found = []
    for chosen in flattest(brightness, variance, _FLATTEST):
        removed = (shown[chosen] - left[chosen]).std()
        # No noise is stronger than all that is seen.
        found.append((brightness[chosen].mean(), min(factor * removed, shown[chosen].std())))
    return np.array(found)


def _spectra(found: list[_Level]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return the spectra of what was removed and of the noise, if levels count equally."""
    y = np.concatenate([level.shown / level.strength for level in found])
    r = np.concatenate([level.removed / level.strength for level in found])
    removed = spectrum(r, r)
    return removed, _coherent(spectrum(y, r), removed)


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
