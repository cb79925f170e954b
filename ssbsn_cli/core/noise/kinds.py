"""Kinds of noise, one small class each.

Every kind has ``add(photo, rng)``: it takes an sRGB photo (H, W, 3) float32 with white at 1
and returns it with noise, neither clipped nor rounded. Parameters that are ranges are drawn for
each photo; give the same number twice to fix one. Deviations are in grey levels of 0 to 255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Range = tuple[float, float]


class Noise(Protocol):
    """One kind of noise."""

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise; values may leave [0, 1]."""


@dataclass(frozen=True)
class White:
    """Gaussian noise of one strength everywhere, the field's standard test.

    Parameters
    ----------
    deviation : (float, float)
        Weak noise is drawn more often than strong.
    equal : float
        Fraction of the photos whose three channels share one noise.
    coupled : float
        Fraction of the photos with randomly correlated channels. The rest are independent.
    blurred : float
        Fraction of the photos whose noise is correlated between neighbours.

    References
    ----------
    .. [1] K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
       Super-Resolution" (BSRGAN), ICCV 2021, for the three ways that channels correlate.
    """

    deviation: Range = (3.0, 80.0)
    equal: float = 0.15
    coupled: float = 0.2
    blurred: float = 0.2

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise."""
        low, high = self.deviation
        deviation = low + (high - low) * rng.random() ** 1.3
        way = rng.random()
        if way < self.equal:
            noise = np.repeat(rng.standard_normal((*photo.shape[:2], 1), np.float32), 3, axis=2)
        else:
            noise = rng.standard_normal(photo.shape, np.float32)
            if way < self.equal + self.coupled:
                mix = rng.standard_normal((3, 3)).astype(np.float32)
                noise = noise @ (mix * np.float32(math.sqrt(3) / np.linalg.norm(mix)))
        if rng.random() < self.blurred:
            noise = blurred(noise, rng.uniform(0.3, 1.5), keep=True)
        return photo + np.float32(deviation / 255) * noise


@dataclass(frozen=True)
class Poisson:
    """Counted photons: the variance is proportional to the value.

    Parameters
    ----------
    peak : (float, float)
        Photons that white stands for; log-uniform.
    """

    peak: Range = (6.0, 600.0)

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise."""
        peak = log_uniform(self.peak, rng)
        return (rng.poisson(np.clip(photo, 0, 1) * peak) / peak).astype(np.float32)


@dataclass(frozen=True)
class Speckle:
    """Multiplicative noise, as of ultrasound, radar and lasers.

    Parameters
    ----------
    deviation : (float, float)
        Of the factor, whose mean is 1; log-uniform. Not in grey levels.

    References
    ----------
    .. [1] J. W. Goodman, "Some fundamental properties of speckle", JOSA 66, 1976: intensities of
       several looks have a gamma distribution.
    """

    deviation: Range = (0.05, 0.5)

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise."""
        looks = 1 / log_uniform(self.deviation, rng) ** 2
        shape = photo.shape if rng.random() < 0.5 else (*photo.shape[:2], 1)
        factor = rng.standard_gamma(looks, shape, np.float32) / np.float32(looks)
        return np.asarray(photo * factor, np.float32)


@dataclass(frozen=True)
class Grain:
    """Film grain: smooth clumps, strongest where the film is neither clear nor dense.

    Parameters
    ----------
    deviation : (float, float)
        Where it is strongest; log-uniform.
    size : (float, float)
        Standard deviation of the Gaussian that clumps the grain, in pixels; uniform.
    equal : float
        Fraction of the photos with one grain for all channels, as on black-and-white film.

    References
    ----------
    .. [1] A. Newson et al., "A Stochastic Film Grain Model for Resolution-Independent Rendering",
       Computer Graphics Forum 36, 2017, for the dependence on brightness.
    .. [2] A. Norkin & N. Birkbeck, "Film Grain Synthesis for AV1 Video Codec", DCC 2018, for noise
       that is filtered first and scaled by the local brightness.
    """

    deviation: Range = (6.0, 40.0)
    size: Range = (0.4, 2.0)
    equal: float = 0.5

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise."""
        shape = (*photo.shape[:2], 1 if rng.random() < self.equal else 3)
        size = rng.uniform(*self.size)
        grain = blurred(rng.standard_normal(shape, np.float32), size, keep=True)
        if rng.random() < 0.4:
            fine = rng.standard_normal(shape, np.float32)
            grain = np.float32(0.8) * grain + np.float32(0.6) * fine
        value = photo if shape[2] == 3 else photo.mean(axis=2, keepdims=True)
        value = np.clip(value, 0, 1)
        floor = np.float32(rng.uniform(0.1, 1))
        strength = floor + (1 - floor) * 2 * np.sqrt(value * (1 - value))
        return np.asarray(
            photo + np.float32(log_uniform(self.deviation, rng) / 255) * strength * grain,
            np.float32,
        )


@dataclass(frozen=True)
class Impulses:
    """Salt and pepper, or pixels of any value.

    Parameters
    ----------
    density : (float, float)
        Fraction of the pixels that are lost; log-uniform.
    extreme : float
        Fraction of the photos whose lost pixels are black or white.
    equal : float
        Fraction of the photos that lose all channels of a pixel at once.
    """

    density: Range = (5e-4, 0.1)
    extreme: float = 0.7
    equal: float = 0.5

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise."""
        shape = (*photo.shape[:2], 1 if rng.random() < self.equal else 3)
        where = rng.random(shape, np.float32)
        density = np.float32(log_uniform(self.density, rng))
        values = rng.random(photo.shape if rng.random() < 0.3 else shape, np.float32)
        if rng.random() < self.extreme:
            values = np.rint(values)
        return np.where(where < density, values, photo)


@dataclass(frozen=True)
class Banding:
    """Rows or columns that share an offset.

    Parameters
    ----------
    deviation : (float, float)
        Of the offsets; log-uniform.
    """

    deviation: Range = (1.0, 12.0)

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return (H, W, 3) with noise."""
        along = int(rng.random() < 0.4)
        channels = 3 if rng.random() < 0.5 else 1
        bands = rng.standard_normal((photo.shape[along], 1, channels), np.float32)
        if rng.random() < 0.4:
            bands = blurred(bands, rng.uniform(0.5, 3), keep=True)
        bands = bands.swapaxes(0, along)
        return np.asarray(photo + np.float32(log_uniform(self.deviation, rng) / 255) * bands)


def log_uniform(bounds: Range, rng: np.random.Generator) -> float:
    """Draw a number whose logarithm is uniform."""
    low, high = bounds
    return float(low * (high / low) ** rng.random())


def photons(signal: Floats, shot: np.float32, rng: np.random.Generator) -> Floats:
    """Return a signal of at least 0 with shot noise of variance ``shot * signal``."""
    if shot * 20 > signal.mean():
        return (rng.poisson(signal / shot) * shot).astype(np.float32)
    # For many photons, the distribution is almost normal, and normal numbers are faster to draw.
    normal = rng.standard_normal(signal.shape, np.float32)
    return np.asarray(signal + np.sqrt(shot * signal) * normal, np.float32)


def blurred(noise: Floats, sigma: float, *, keep: bool = False) -> Floats:
    """Blur (H, W, C) noise; `keep` preserves its deviation."""
    soft = cv2.GaussianBlur(noise, (0, 0), sigma).reshape(noise.shape)
    return np.asarray(soft * (noise.std() / max(soft.std(), 1e-6)) if keep else soft, np.float32)
