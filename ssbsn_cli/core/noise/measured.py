"""The noise of photos, measured by comparing them with their denoised versions."""

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
from ssbsn_cli.core.types import count_of

_Doubles = NDArray[np.float64]

# In a denoised photo, texture stands out, so more of the patches can be taken for flat.
_FLATTEST = 0.25
# At any frequency, noise is at most this many times as strong as the residual. The rest is texture.
_MOST_LEFT = 2.0
# The cautious estimate was a tenth too weak on the photos that it was tried on.
_CAUTION = 1.1
# Texture is smoother than noise. If adding what the denoiser left lowers the share of fine
# structure to less than this fraction, it is taken for texture.
_TEXTURED = 0.9
# Below this fraction of the spectrum's largest value, a quotient of spectra is meaningless.
_SMALLEST = 1e-3
# The largest pixel distance whose correlation is reported.
_FARTHEST = 6


class Measured(NamedTuple):
    """Two estimates of a photo's noise.

    Attributes
    ----------
    cautious : LiftedNoise
        What the denoiser removed, at a strength between that of the removed part and that of the
        noisy photo's flat patches. Too weak where the denoiser leaves noise.
    whole : LiftedNoise
        Also includes the noise that the denoiser left. Equals `cautious` if that may be texture.
    """

    cautious: LiftedNoise
    whole: LiftedNoise


def measure_noise(noisy: _Doubles, denoised: _Doubles) -> Measured | None:
    """Measure the noise of one photo.

    The residual ``r``, which the denoiser removed, contains no texture but is weaker than the noise
    ``n``: where the denoiser keeps a fraction ``a`` of a frequency, ``r = (1 - a) n``. The noisy
    photo ``y`` contains all of ``n``, and texture that is uncorrelated with ``r``. So the
    noise has the spectrum ``S_yr S_rr^-1 S_ry``, that of the part of ``y`` coherent with ``r``.

    Parameters
    ----------
    noisy, denoised : array
        From `ssbsn_cli.core.noise.flat.cut`: the same patches of both photos.

    Returns
    -------
    Measured or None
        None if too few patches are neither black nor white, or there is no noise.

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
    at = np.array([level.brightness for level in found])
    strong = np.array([level.strength for level in found])
    plain = lift_from(noisy)
    strengths = strong
    if plain is not None:
        seen = np.interp(at, plain.levels, plain.strengths)
        strengths = np.sqrt(strong * seen) * _CAUTION
    cautious = LiftedNoise(at, strengths, kernels)
    if _has_texture(noise, removed):
        return Measured(cautious, cautious)
    whole_kernels, whole_strength = filters(noise)
    whole = LiftedNoise(at, strong * whole_strength / removed_strength, whole_kernels)
    return Measured(cautious, whole)


def summarise(noises: Iterable[Measured]) -> str:
    """Describe in a sentence the strength of photos' noise, and how it correlates."""
    whole = [each.whole for each in noises]
    strengths = np.concatenate([noise.strengths for noise in whole]) * 255
    neighbours = [
        (noise.kernels[..., 1:] * noise.kernels[..., :-1]).sum() / (noise.kernels**2).sum()
        for noise in whole
    ]
    textured = [noise.texture[1].max() for noise in whole]
    return (
        f"Measured the noise of {count_of(len(whole), 'photo')}: standard deviation "
        f"{strengths.min():.1f} to {strengths.max():.1f} of 255 grey levels, "
        f"{np.median(textured):.1f} times as strong in texture; neighbours correlate by "
        f"{np.median(neighbours):z.2f}."
    )


@dataclass(frozen=True)
class NoiseFigures:
    """The noise of one photo in figures.

    Parameters
    ----------
    deviations : tuple of array
        For each channel, (n, 2): brightness of that channel, ascending, and the standard deviation
        of the noise there; white is 1.
    neighbours : array
        (2, 6) correlation of the noise of pixels 1 to 6 apart, horizontally and vertically; the
        mean over channels. Zeros if there is no noise.
    channels : array
        (C, C) correlation of the noise between channels. The unit matrix if there is no noise.
    """

    deviations: tuple[_Doubles, ...]
    neighbours: _Doubles
    channels: _Doubles


def describe_noise(noisy: _Doubles, denoised: _Doubles) -> NoiseFigures | None:
    """Describe the noise of one photo in figures.

    The deviations include the noise that the denoiser left. So do the correlations, unless it may
    be texture.

    Parameters
    ----------
    noisy, denoised : array
        As for `measure_noise`, with one channel or three.

    Returns
    -------
    NoiseFigures or None
        None if too few patches are neither black nor white.
    """
    compared = _compare(noisy, denoised)
    if compared is None:
        return None
    channels = noisy.shape[3]
    found = list(_levels(compared))
    factor, neighbours, correlation = np.ones(channels), np.zeros((2, _FARTHEST)), np.eye(channels)
    if found:
        spectra = _spectra(found)
        removed, noise = (fft.ifft2(each, axes=(0, 1)).real for each in spectra)
        factor = np.sqrt(_variances(noise) / _variances(removed))
        if _has_texture(spectra[1], spectra[0]):
            noise = removed
        variance = _variances(noise)
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
    """Patches of a photo that are neither black nor white, each (n, 32, 32, C).

    `shown` and `left` are the noisy and the denoised patches without gradients.
    """

    denoised: _Doubles
    shown: _Doubles
    left: _Doubles


class _Level(NamedTuple):
    """Flat patches of one brightness; `strength` is the standard deviation of their residual."""

    brightness: float
    strength: float
    shown: _Doubles
    removed: _Doubles


def _compare(noisy: _Doubles, denoised: _Doubles) -> _Compared | None:
    inside = neither_black_nor_white(denoised.mean(axis=(1, 2, 3)))
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


def _deviations(compared: _Compared, channel: int, factor: float) -> _Doubles:
    """Return the brightness and the standard deviation of one channel's noise, (n, 2).

    `factor` is the ratio of the noise to the residual.
    """
    denoised, shown, left = (patches[..., channel] for patches in compared)
    brightness, variance = denoised.mean(axis=(1, 2)), (left**2).mean(axis=(1, 2))
    found = []
    for chosen in flattest(brightness, variance, _FLATTEST):
        removed = (shown[chosen] - left[chosen]).std()
        # Noise cannot be stronger than all variation of the noisy photo.
        found.append((brightness[chosen].mean(), min(factor * removed, shown[chosen].std())))
    return np.array(found)


def _spectra(found: list[_Level]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return the spectra of the residual and of the noise, with all levels weighted equally."""
    y = np.concatenate([level.shown / level.strength for level in found])
    r = np.concatenate([level.removed / level.strength for level in found])
    removed = spectrum(r, r)
    return removed, _coherent(spectrum(y, r), removed)


def _variances(correlation: _Doubles) -> _Doubles:
    """Return the variance of each channel, and almost 0 if there is none."""
    return np.maximum(np.diag(correlation[0, 0]), 1e-12)


def _has_texture(noise: NDArray[np.complex128], removed: NDArray[np.complex128]) -> bool:
    """Return whether what the denoiser left may be texture: it is smoother than what it removed."""
    return _fineness(noise) < _TEXTURED * _fineness(removed)


def _fineness(power: NDArray[np.complex128]) -> float:
    """Return the share of a spectrum above a quarter cycle per pixel."""
    vertical, horizontal = (fft.fftfreq(size) for size in power.shape[:2])
    fine = np.hypot(vertical[:, None], horizontal) > 0.25
    total = np.trace(power, axis1=-2, axis2=-1).real
    return float(total[fine].sum() / total.sum())


def _coherent(
    across: NDArray[np.complex128], of_removed: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return the spectrum of the part that is coherent with the residual."""
    values, vectors = np.linalg.eigh((of_removed + of_removed.conj().swapaxes(-2, -1)) / 2)
    values = np.maximum(values, _SMALLEST * values.max())
    inverse = (vectors / values[..., None, :]) @ vectors.conj().swapaxes(-2, -1)
    found = across @ inverse @ across.conj().swapaxes(-2, -1)
    power, least = (np.trace(s, axis1=-2, axis2=-1).real for s in (found, of_removed))
    limit = np.minimum(1, _MOST_LEFT**2 * least / np.maximum(power, 1e-12))
    return np.asarray(found * np.maximum(limit, 0)[..., None, None])
