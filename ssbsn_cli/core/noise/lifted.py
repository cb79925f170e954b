"""Noise lifted from the flat patches of real photos, to add to clean ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ssbsn_cli.core.noise.flat import SIDE, find_flat
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.tone import beyond_range, srgb_slope
from ssbsn_cli.core.types import from_srgb, to_srgb

# In patches that vary less than this, in [0, 1], noise was clipped or removed.
NO_NOISE = 0.2 / 255
# Correlations up to the first distance are kept as measured; they fade to zero at the second.
_SURE, _REACH = 6, 12
# The deviation, in pixels, of the Gaussian window that texture is looked for in.
_AROUND = 4
# The number of strengths of noise over which its mean is taken.
_POINTS = 10


@dataclass(frozen=True)
class LiftedNoise:
    """The noise of one photo: its strength by brightness, and how it correlates.

    It holds statistics, not pixels, so it can add fresh noise to crops of any size: random numbers,
    filtered so that neighbours and colours correlate as in the photo.

    Parameters
    ----------
    levels : array
        (n,) brightness in [0, 1], ascending.
    strengths : array
        (n,) standard deviation of the noise at each, over all colours, in [0, 1].
    kernels : array
        (C, C, k, k) filters from white noise to the photo's noise at strength 1; C is 3, or 1
        for grey photos.
    texture : array
        (2, m) activities, ascending, and the factor by which the noise is stronger at each.
    darkens : float
        How much the noise darkens. 1: as much as noise that arises in light. 0: not at all, like
        noise that is added to sRGB values.

    References
    ----------
    .. [1] B. Galerne, Y. Gousseau & J.-M. Morel, "Random Phase Textures", IEEE Transactions on
       Image Processing 20, 2011, for textures from their second-order statistics.
    """

    levels: NDArray[np.float64]
    strengths: NDArray[np.float64]
    kernels: Floats
    texture: NDArray[np.float64] = field(default_factory=lambda: np.ones((2, 1)))
    darkens: float = 1.0

    def add(
        self,
        photo: Floats,
        rng: np.random.Generator,
        factor: float | None = None,
        *,
        beyond: bool = False,
    ) -> Floats:
        """Return an sRGB photo (H, W, 3) with the noise.

        Parameters
        ----------
        photo : numpy.ndarray
            (H, W, 3) float32 in [0, 1].
        rng : numpy.random.Generator
            Makes all random choices.
        factor : float, optional
            The strength relative to the photo it comes from; by default random, 0.5 to 2.
        beyond : bool
            Whether black and white stand for darker and brighter light.

        Returns
        -------
        numpy.ndarray
            (H, W, 3) float32 in [0, 1], not rounded.
        """
        height, width = photo.shape[:2]
        # The filters must fit even if the photo is small.
        size = max(height, self.kernels.shape[2]), max(width, self.kernels.shape[3])
        white = rng.standard_normal((self.kernels.shape[1], *size), np.float32)
        spectra = fft.rfft2(self.kernels, size)
        noise = fft.irfft2(np.einsum("ijhw,jhw->ihw", spectra, fft.rfft2(white)), size)
        noise = noise[:, :height, :width].transpose(1, 2, 0)
        strength = self._strength(photo)
        if factor is None:
            factor = 2 ** rng.uniform(-1, 1)
        light = from_srgb(photo)
        slope = srgb_slope(light)
        if beyond:
            light = beyond_range(light, photo, rng)
        return self._shown(photo, light, slope, factor * strength * noise)

    def mean(self, photo: Floats) -> Floats:
        """Return the mean of what `add` returns with factor 1, over all noise.

        Parameters
        ----------
        photo : numpy.ndarray
            (H, W, 3) float32 in [0, 1].

        Returns
        -------
        numpy.ndarray
            (H, W, 3) float32 in [0, 1]: darker than the photo where its curve is concave, and
            brighter near black.
        """
        deviation = self._strength(photo) * np.sqrt((self.kernels**2).sum(axis=(1, 2, 3)))
        light = from_srgb(photo)
        slope = srgb_slope(light)
        points, weights = np.polynomial.hermite_e.hermegauss(_POINTS)
        mean = sum(
            weight * self._shown(photo, light, slope, deviation * point)
            for point, weight in zip(points, weights / weights.sum(), strict=True)
        )
        return np.asarray(mean, np.float32)

    def _strength(self, photo: Floats) -> Floats:
        """Return the standard deviation of the noise at each pixel, (H, W, 1)."""
        strength = np.interp(photo.mean(axis=2), self.levels, self.strengths)
        if (self.texture[1] != 1).any():
            strength *= np.interp(activity(photo), *self.texture)
        return np.asarray(strength[..., None], np.float32)

    def _shown(self, photo: Floats, light: Floats, slope: Floats, noise: NDArray[Any]) -> Floats:
        """Return a photo, which shows this light, with this noise in sRGB values, clipped."""
        # In linear light, where it arises, noise darkens dark parts as in reality.
        shown = to_srgb(light + noise / slope)
        if self.darkens < 1:
            shown = self.darkens * shown + (1 - self.darkens) * np.clip(photo + noise, 0, 1)
        return np.asarray(shown, np.float32)


def activity(photo: Floats) -> Floats:
    """Return how much the brightness of a photo (H, W, 3) varies around each pixel, (H, W)."""
    grey = photo.mean(axis=2)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), _AROUND)
    return np.asarray(np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _AROUND)), np.float32)


def lift_from(patches: NDArray[np.float64]) -> LiftedNoise | None:
    """Lift noise from patches of one photo.

    Parameters
    ----------
    patches : array
        From `ssbsn_cli.core.noise.flat.cut`.

    Returns
    -------
    LiftedNoise or None
        None if too few of them are flat.
    """
    flat = find_flat(patches)
    if flat is None:
        return None
    strengths = np.sqrt((flat.deviations**2).mean(axis=1))
    noisy = np.flatnonzero(strengths > NO_NOISE)
    if not noisy.size:
        return None
    found = np.concatenate([flat.residuals[n] / strengths[n] for n in noisy])
    kernels, _ = filters(spectrum(found, found))
    return LiftedNoise(flat.levels[noisy], strengths[noisy], kernels)


def spectrum(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the mean cross-spectrum (64, 64, 3, 3) of two sets of patches (n, 32, 32, 3).

    Only neighbours up to 12 pixels apart count, since noise correlates no further.
    """
    size = 2 * SIDE
    # The padding prevents wrap-around: each lag's sum is divided by its number of pixel pairs.
    first, second = (fft.fft2(patches, (size, size), axes=(1, 2)) for patches in (one, other))
    power = np.einsum("nhwi,nhwj->hwij", first, second.conj()) / len(one)
    covariance = fft.ifft2(power, axes=(0, 1))
    lags = np.abs(fft.fftfreq(size, 1 / size))
    fading = np.clip((lags - _SURE) / (_REACH - _SURE), 0, 1)
    weight = (0.5 + 0.5 * np.cos(np.pi * fading)) / np.maximum(SIDE - lags, 1)
    covariance *= np.outer(weight, weight)[:, :, None, None]
    return np.asarray(fft.fft2(covariance, axes=(0, 1)))


def filters(power: NDArray[np.complex128]) -> tuple[Floats, float]:
    """Return filters (C, C, 25, 25) that give white noise this spectrum at strength 1.

    Also return the strength of the spectrum.
    """
    values, vectors = np.linalg.eigh((power + power.conj().swapaxes(-2, -1)) / 2)
    root = (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.conj().swapaxes(
        -2, -1
    )
    kernels = fft.fftshift(fft.ifft2(root, axes=(0, 1)).real, axes=(0, 1))
    middle = slice(SIDE - _REACH, SIDE + _REACH + 1)
    kernels = kernels[middle, middle]
    strength = float(np.sqrt((kernels**2).sum() / kernels.shape[-1]))
    return np.ascontiguousarray((kernels / strength).transpose(2, 3, 0, 1), np.float32), strength
