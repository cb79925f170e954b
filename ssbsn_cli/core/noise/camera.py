"""The noise of a whole camera: sensor, demosaicing, colours, processing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.kinds import Floats, Range, blurred, log_uniform, photons
from ssbsn_cli.core.noise.sensor import PATTERNS, Sensor, demosaic_noise, sample
from ssbsn_cli.core.noise.tone import Tone, beyond_range

# Filters reach into this margin, which is cropped at the end.
_MARGIN = 8
# The fraction of the variance that demosaicing leaves.
_KEPT = 0.7


@dataclass(frozen=True)
class Camera:
    """A camera that is drawn at random for each photo.

    It has everything that makes the noise of cameras differ: clipping of dark signals at black,
    colour matrices that mix and amplify, demosaicing that smears, rows that share an offset, hot
    pixels, tone curves, smoothing of colours or of everything, sharpening, digital zoom, blotches.
    Only the noise goes through all this; the photo itself stays sharp.

    Parameters
    ----------
    deviation : (float, float)
        Standard deviation of the noise in grey levels of 0 to 255; log-uniform.
    mosaic, clipped, rows, toned, power, hot, smoothed, sharpened, zoomed, blotched : float
        Fraction of the photos that go through a mosaic, that are clipped, and so on.
    differences : float
        Fraction of the photos with a mosaic whose colour differences are smoothed, which
        correlates the noise of their channels.
    beyond : float
        Fraction of the photos whose black and white stand for darker and brighter light.
    contrast, gamma : (float, float)
        Of `Tone`: the S of those that are toned, and the power of those that have one; uniform.

    References
    ----------
    .. [1] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019.
    .. [2] S. Guo et al., "Toward Convolutional Blind Denoising of Real Photographs", CVPR 2019,
       for noise through a mosaic.
    .. [3] K. Zhang et al., "Practical Blind Image Denoising via Swin-Conv-UNet", Machine
       Intelligence Research 2023, for degradations drawn at random.
    .. [4] K. Wei et al., "A Physics-Based Noise Formation Model for Extreme Low-Light Raw
       Denoising" (ELD), CVPR 2020, for read noise with heavy tails and for rows.
    .. [5] B. Gunturk et al., "Demosaicking: Color Filter Array Interpolation", IEEE Signal
       Processing Magazine 22, 2005, for the colour differences, which most methods smooth.
    """

    deviation: Range = (1.2, 60.0)
    mosaic: float = 0.65
    differences: float = 0.0
    clipped: float = 0.15
    rows: float = 0.08
    toned: float = 0.5
    power: float = 0.5
    hot: float = 0.05
    smoothed: float = 0.55
    sharpened: float = 0.3
    zoomed: float = 0.2
    blotched: float = 0.2
    beyond: float = 0.0
    contrast: Range = (-0.6, 0.8)
    gamma: Range = (2.0, 2.4)

    def add(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return an sRGB photo (H, W, 3) with noise, neither clipped nor rounded."""
        edge = [(_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)]
        wide = np.pad(photo, edge, mode="symmetric")
        noise = self._process(self._expose(wide, rng), rng)
        return np.asarray(photo + noise[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], np.float32)

    def _expose(self, photo: Floats, rng: np.random.Generator) -> Floats:
        """Return the sensor's noise in an sRGB photo (H, W, 3)."""
        deviation = log_uniform(self.deviation, rng) / 255
        contrast = rng.uniform(*self.contrast) if rng.random() < self.toned else 0.0
        tone = Tone(contrast, rng.uniform(*self.gamma) if rng.random() < self.power else None)
        light = tone.undo(photo)
        gain = tone.slope(light) ** 2
        if self.beyond and rng.random() < self.beyond:
            light = beyond_range(light, photo, rng)
        balance, matrix = _colors(rng)
        develop = matrix * balance
        raw = np.clip(light @ np.linalg.inv(develop).T, 0, 1).astype(np.float32)
        mosaic = rng.random() < self.mosaic
        # Demosaicing averages.
        kept = _KEPT if mosaic else 1
        of_shot = kept * float((gain * (raw @ (develop**2).T)).mean())
        of_read = kept * float((gain * (develop**2).sum(axis=1)).mean())
        shot, read = Sensor.draw(rng).for_variance(deviation**2, of_shot, of_read)
        pattern = int(rng.integers(PATTERNS))
        signal = sample(raw, pattern) if mosaic else raw
        noisy = photons(signal, np.float32(shot), rng)
        noisy += np.float32(read) * _readout(signal.shape, rng)
        if rng.random() < self.rows:
            rows = rng.standard_normal((len(signal), *[1] * (signal.ndim - 1)), np.float32)
            noisy += np.float32(read * rng.uniform(0.05, 0.5)) * rows
        if rng.random() < self.hot:
            hot = rng.random(signal.shape, np.float32) < log_uniform((5e-5, 2e-3), rng)
            noisy[hot] += rng.random(np.count_nonzero(hot), np.float32)
        if rng.random() < self.clipped:
            noisy = np.clip(noisy, 0, 1)
        if mosaic:
            noise = demosaic_noise(noisy, signal, pattern, int(rng.integers(3)))
            if self.differences and rng.random() < self.differences:
                noise = _smooth_differences(noise, balance, log_uniform((0.5, 2.5), rng))
        else:
            noise = noisy - signal
            if rng.random() < 0.6:
                noise = blurred(noise, rng.uniform(0.3, 1.2), keep=True)
        noise = tone(light + noise @ develop.T.astype(np.float32)) - photo
        return np.asarray(noise, np.float32)

    def _process(self, noise: Floats, rng: np.random.Generator) -> Floats:
        """Process the noise as cameras and programs process photos."""
        strength = noise.std()
        before = noise
        if rng.random() < self.smoothed:
            grey = noise.mean(axis=2, keepdims=True)
            keep = rng.random() < 0.4
            colors = blurred(noise - grey, log_uniform((0.5, 2.5 if keep else 5), rng), keep=keep)
            if rng.random() < 0.6:
                grey = blurred(grey, rng.uniform(0.3, 1.0))
            noise = grey.reshape(*noise.shape[:2], 1) + colors
        if rng.random() < self.sharpened:
            soft = blurred(noise, rng.uniform(0.5, 1.5))
            noise = noise + np.float32(rng.uniform(0.3, 1.5)) * (noise - soft)
        if rng.random() < self.zoomed:
            noise = _zoom(noise, rng.uniform(1.1, 2.0))
        if rng.random() < self.blotched:
            channels = 3 if rng.random() < 0.5 else 1
            blotches = rng.standard_normal((*noise.shape[:2], channels), np.float32)
            blotches = blurred(blotches, rng.uniform(2, 6), keep=True)
            noise = noise + np.float32(rng.uniform(0.05, 0.35)) * strength * blotches.reshape(
                *noise.shape[:2], channels
            )
        if noise is before:
            return noise
        factor = np.clip(strength / max(noise.std(), 1e-6), 0.5, 2)
        return np.asarray(noise * factor, np.float32)


def _smooth_differences(noise: Floats, balance: NDArray[np.float64], sigma: float) -> Floats:
    """Make red and blue follow the fine noise of green, as most demosaicing does [5]_."""
    balanced = np.asarray(noise * balance, np.float32)
    green = balanced[..., 1:2]
    return np.asarray((green + blurred(balanced - green, sigma)) / balance, np.float32)


def _colors(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw a white balance and a colour matrix, whose rows sum to one.

    White balances are spread like those of about 450 cameras in darktable, and matrices like those
    of about 650 in rawspeed.
    """
    warm, other = rng.standard_normal(2)
    red = np.clip(1.95 * math.exp(0.2 * warm), 1.0, 3.2)
    blue = np.clip(1.7 * math.exp(0.28 * (-0.6 * warm + 0.8 * other)), 1.0, 3.2)
    low = np.array([[0, -1.0, -0.4], [-0.35, 0, -0.7], [-0.15, -0.9, 0]])
    high = np.array([[0, -0.2, 0.15], [-0.05, 0, -0.1], [0.1, -0.2, 0]])
    matrix = rng.uniform(low, high) * rng.uniform(0.3, 1)
    matrix += np.diag(1 - matrix.sum(axis=1))
    return np.array([red, 1, blue]), matrix


def _readout(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return read noise of deviation 1; for some sensors it has heavy tails [4]_."""
    if rng.random() < 0.7:
        return rng.standard_normal(shape, np.float32)
    # Tukey's lambda distribution, by its quantiles.
    order = np.float32(rng.uniform(-0.2, -0.02))
    place = rng.random(shape, np.float32).clip(1e-6, 1 - 1e-6)
    noise = (place**order - (1 - place) ** order) / order
    return np.asarray(noise / noise.std(), np.float32)


def _zoom(noise: Floats, factor: float) -> Floats:
    """Enlarge the middle of the noise to the size of the whole."""
    height, width = noise.shape[:2]
    rows, columns = round(height / factor), round(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = np.ascontiguousarray(noise[top : top + rows, left : left + columns])
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
