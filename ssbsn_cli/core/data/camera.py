"""Noise as a whole camera makes it: sensor, demosaicing, colours, processing, JPEG."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.bayer import PATTERNS, demosaic_noise, sample
from ssbsn_cli.core.data.srgb import rounded, through_jpeg
from ssbsn_cli.core.data.tone import Tone
from ssbsn_cli.core.errors import OptionError

_Range = tuple[float, float]
_Floats = NDArray[np.float32]

# Filters reach into it, and it is cut off at the end.
_MARGIN = 8
# The part of the variance that demosaicing leaves.
_KEPT = 0.7


@dataclass(frozen=True)
class Camera:
    """A camera whose every part is drawn anew for each photograph.

    Where `NoiseModel` has one kind of noise, this has what makes that of cameras differ: dark
    signals that a sensor clips at black, colour matrices that mix and amplify, demosaicing that
    smears, rows that share an offset, tone curves, smoothing of colours or of all, sharpening,
    digital zoom, blotches, JPEG. The photograph itself stays sharp: only its noise goes through
    all this.

    Parameters
    ----------
    deviation : (float, float)
        Standard deviation of the noise in grey levels of 0 to 255; log-uniform.
    clean, mosaic, clipped, rows, toned, power, smoothed, sharpened, zoomed, blotched, jpeg : float
        Part of the photographs that have no noise, that go through a mosaic, and so on.
    jpeg_quality : (int, int)
        Uniform, 1 to 100.

    Raises
    ------
    OptionError
        A range or a part makes no sense.

    References
    ----------
    .. [1] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019.
    .. [2] S. Guo et al., "Toward Convolutional Blind Denoising of Real Photographs", CVPR 2019,
       for noise through a mosaic and JPEG.
    .. [3] K. Zhang et al., "Practical Blind Image Denoising via Swin-Conv-UNet", Machine
       Intelligence Research 2023, for degradations drawn at random.
    """

    deviation: _Range = (1.2, 60.0)
    clean: float = 0.06
    mosaic: float = 0.65
    clipped: float = 0.15
    rows: float = 0.08
    toned: float = 0.5
    power: float = 0.5
    smoothed: float = 0.35
    sharpened: float = 0.3
    zoomed: float = 0.2
    blotched: float = 0.2
    jpeg: float = 0.5
    jpeg_quality: tuple[int, int] = (65, 98)

    def __post_init__(self) -> None:
        limits = {"deviation": (1e-3, 255), "jpeg_quality": (1, 100)}
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = value if isinstance(value, tuple) else (value, value)
            least, most = limits.get(field.name, (0, 1))
            if not least <= low <= high <= most:
                raise OptionError(
                    f"The {field.name} of the camera is {value}.",
                    f"Give numbers from {least} to {most}, the lower one first.",
                )

    def synthesise(self, clean: _Floats, rng: np.random.Generator) -> _Floats:
        """Make a noisy photograph of a clean one.

        Parameters
        ----------
        clean : numpy.ndarray
            (3, H, W) float32 in [0, 1], sRGB.
        rng : numpy.random.Generator
            Decides everything: by the same, the same comes out.

        Returns
        -------
        numpy.ndarray
            (3, H, W) float32 in [0, 1], sRGB, multiples of 1/255, C-contiguous.
        """
        noisy = clean.transpose(1, 2, 0)
        if rng.random() >= self.clean:
            low, high = self.deviation
            deviation = low * (high / low) ** rng.random() / 255
            edge = [(_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)]
            wide = np.pad(noisy, edge, mode="symmetric")
            noise = self._process(self._expose(wide, deviation, rng), rng)
            noisy = noisy + noise[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        noisy = rounded(noisy.transpose(2, 0, 1))
        if rng.random() < self.jpeg:
            low, high = self.jpeg_quality
            quality = int(rng.integers(low, high, endpoint=True))
            noisy = through_jpeg(noisy, quality, subsample=rng.random() < 0.5)
        return noisy

    def _expose(self, photo: _Floats, deviation: float, rng: np.random.Generator) -> _Floats:
        """Return the noise of an sRGB photograph (H, W, 3) that comes from the sensor."""
        contrast = rng.uniform(-0.6, 0.8) if rng.random() < self.toned else 0.0
        tone = Tone(contrast, rng.uniform(2.0, 2.4) if rng.random() < self.power else None)
        light = tone.undo(photo)
        develop = _colors(rng)
        raw = np.clip(light @ np.linalg.inv(develop).T, 0, 1).astype(np.float32)
        # Read noise is as strong as shot noise at this signal.
        knee = np.float32(10 ** rng.uniform(-3, -1))
        expected = tone.slope(light) ** 2 * ((raw + knee) @ (develop**2).T)
        mosaic = rng.random() < self.mosaic
        # Demosaicing averages.
        kept = _KEPT if mosaic else 1
        shot = np.float32(deviation**2 / (kept * expected.mean()))
        pattern = int(rng.integers(PATTERNS))
        signal = sample(raw, pattern) if mosaic else raw
        noisy = _photons(signal, shot, rng)
        read = np.sqrt(shot * knee)
        noisy += read * rng.standard_normal(signal.shape, np.float32)
        if rng.random() < self.rows:
            rows = rng.standard_normal((len(signal), *[1] * (signal.ndim - 1)), np.float32)
            noisy += read * np.float32(rng.uniform(0.1, 0.6)) * rows
        if rng.random() < self.clipped:
            noisy = np.clip(noisy, 0, 1)
        if mosaic:
            noise = demosaic_noise(noisy, signal, pattern, int(rng.integers(3)))
        else:
            noise = noisy - signal
            if rng.random() < 0.6:
                noise = _blur(noise, rng.uniform(0.3, 1.2), keep=True)
        noise = tone(light + noise @ develop.T.astype(np.float32)) - photo
        return np.asarray(noise, np.float32)

    def _process(self, noise: _Floats, rng: np.random.Generator) -> _Floats:
        """Do to the noise what cameras and programs do to photographs."""
        strength = noise.std()
        before = noise
        if rng.random() < self.smoothed:
            grey = noise.mean(axis=2, keepdims=True)
            keep = rng.random() < 0.3
            colors = _blur(noise - grey, rng.uniform(0.5, 2 if keep else 4), keep=keep)
            if rng.random() < 0.6:
                grey = _blur(grey, rng.uniform(0.3, 1.0))
            noise = grey.reshape(*noise.shape[:2], 1) + colors
        if rng.random() < self.sharpened:
            soft = _blur(noise, rng.uniform(0.5, 1.5))
            noise = noise + np.float32(rng.uniform(0.3, 1.5)) * (noise - soft)
        if rng.random() < self.zoomed:
            noise = _zoom(noise, rng.uniform(1.1, 2.0))
        if rng.random() < self.blotched:
            channels = 3 if rng.random() < 0.5 else 1
            blotches = rng.standard_normal((*noise.shape[:2], channels), np.float32)
            blotches = _blur(blotches, rng.uniform(2, 6), keep=True)
            noise = noise + np.float32(rng.uniform(0.05, 0.35)) * strength * blotches.reshape(
                *noise.shape[:2], channels
            )
        if noise is before:
            return noise
        factor = np.clip(strength / max(noise.std(), 1e-6), 0.5, 2)
        return np.asarray(noise * factor, np.float32)


def _colors(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what develops raw colours: white balance, then a matrix whose rows sum to one."""
    red, blue = rng.uniform(1.4, 2.6), rng.uniform(1.3, 2.4)
    low = np.array([[0, -1.0, -0.4], [-0.35, 0, -0.7], [-0.15, -0.9, 0]])
    high = np.array([[0, -0.2, 0.15], [-0.05, 0, -0.1], [0.1, -0.2, 0]])
    matrix = rng.uniform(low, high) * rng.uniform(0.3, 1)
    matrix += np.diag(1 - matrix.sum(axis=1))
    return np.asarray(matrix * np.array([red, 1, blue]), np.float64)


def _photons(signal: _Floats, shot: np.float32, rng: np.random.Generator) -> _Floats:
    """Return the signal with shot noise of variance ``shot * signal``."""
    if shot * 20 > signal.mean():
        return (rng.poisson(signal / shot) * shot).astype(np.float32)
    # Of many photons, Poisson numbers are normal ones.
    normal = rng.standard_normal(signal.shape, np.float32)
    return np.asarray(signal + np.sqrt(shot * signal) * normal, np.float32)


def _blur(noise: _Floats, sigma: float, *, keep: bool = False) -> _Floats:
    """Blur (H, W, C) noise, and let its strength stay if asked to."""
    soft = cv2.GaussianBlur(noise, (0, 0), sigma).reshape(noise.shape)
    return np.asarray(soft * (noise.std() / max(soft.std(), 1e-6)) if keep else soft, np.float32)


def _zoom(noise: _Floats, factor: float) -> _Floats:
    """Enlarge the middle of the noise to the size of the whole."""
    height, width = noise.shape[:2]
    rows, columns = round(height / factor), round(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = np.ascontiguousarray(noise[top : top + rows, left : left + columns])
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
