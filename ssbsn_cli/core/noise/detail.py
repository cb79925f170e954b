"""Detail recovery: give back detail that a blind-spot network took for noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# SciPy loads its parts when they are first used, and most weights need none.
import scipy
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.photo import Image
from ssbsn_cli.core.noise.flat import cut, find_flat
from ssbsn_cli.core.noise.kinds import Floats

# Spectra are taken in windows of this size, this far apart.
_SIDE, _STEP = 16, 8
# Energy is averaged over this many windows and frequencies in each direction.
_MEAN = (3, 3, 1, 3, 3)
# The measured power of the noise is multiplied by this. Otherwise, some noise would be given back,
# because the flattest patches understate noise and energy varies by chance.
_SAFETY = 1.6
# Noise averages out over this many pixels, so the local mean is the photo's.
_CALM = 8
# At most this many patches are measured, however large the photo is.
_PATCHES = 2048
# Brightness, which has most of the detail, and two colour differences.
_COLORS = np.array([[1, 1, 1], [1, 0, -1], [0.5, -1, 0.5]], np.float32)
_COLORS /= np.linalg.norm(_COLORS, axis=1, keepdims=True)
_WINDOW = np.sin(np.pi * (np.arange(_SIDE) + 0.5) / _SIDE).astype(np.float32)
_WINDOW = np.outer(_WINDOW, _WINDOW)


@dataclass(frozen=True)
class NoiseSpectrum:
    """The power of a photo's noise by brightness and frequency.

    Parameters
    ----------
    levels : array
        (n,) brightness in [0, 1], ascending.
    power : array
        (n, C, 16, 16) mean square of the noise's cosine coefficients at each level, for grey or for
        brightness and two colour differences.
    """

    levels: NDArray[np.float64]
    power: Floats

    def at(self, brightness: Floats) -> Floats:
        """Return the power at brightness (...), as (..., C, 16, 16)."""
        place = np.interp(brightness, self.levels, np.arange(len(self.levels)))
        below = np.minimum(place.astype(int), max(len(self.levels) - 2, 0))
        above = np.minimum(below + 1, len(self.levels) - 1)
        part = (place - below)[..., None, None, None].astype(np.float32)
        return np.asarray(self.power[below] * (1 - part) + self.power[above] * part)


def estimate_noise(image: Image) -> NoiseSpectrum | None:
    """Measure the noise of a photo in its flat patches.

    Parameters
    ----------
    image : Image
        (H, W, C) integers, or floats with white at 1. If it is large, only a sample is read.

    Returns
    -------
    NoiseSpectrum or None
        None if there are too few patches that are neither black nor white.
    """
    flat = find_flat(cut(image, _PATCHES))
    if flat is None:
        return None
    power = [
        (_spectra(_split_colors(patches.astype(np.float32)), _SIDE // 4) ** 2).mean(axis=(0, 1, 2))
        for patches in flat.residuals
    ]
    # This makes it as smooth as the energy that it is compared with.
    return NoiseSpectrum(
        flat.levels, scipy.ndimage.uniform_filter(np.stack(power), (1, 1, *_MEAN[-2:]))
    )


def recover_detail(noisy: Floats, denoised: Floats, noise: NoiseSpectrum) -> Floats:
    """Give back the part of the residual that noise does not explain.

    The network's result is the prior, and the noisy pixel is the observation. Where the residual,
    their difference, has more energy than the noise, the excess is the network's error, and the
    posterior mean lies between the two: the fraction ``max(0, 1 - noise / energy)`` of the residual
    is given back. The network errs on edges and textures at few frequencies, so this is done for
    each frequency separately, in overlapping windows.

    At the lowest frequencies, noise has almost no energy. There, the whole residual is given back,
    so that brightness and colours do not change.

    Parameters
    ----------
    noisy, denoised : array
        (H, W, C) with white at 1.
    noise : NoiseSpectrum
        From the whole photo.

    Returns
    -------
    array
        (H, W, C) float32.

    References
    ----------
    .. [1] Laine, Karras, Lehtinen & Aila, "High-Quality Self-Supervised Deep Image Denoising",
       NeurIPS 2019, for the posterior mean of a blind-spot network's prediction.
    .. [2] G. Yu & G. Sapiro, "DCT Image Denoising: A Simple and Effective Image Denoising
       Algorithm", Image Processing On Line 1, 2011, for overlapping DCT windows.
    """
    height, width = denoised.shape[:2]
    # The pads let as many windows cover the pixels at the borders as any others.
    pads = [(_SIDE, _SIDE + -size % _STEP) for size in (height, width)]
    removed = np.pad(_split_colors(noisy - denoised), [*pads, (0, 0)], mode="symmetric")
    brightness = np.pad(denoised.mean(axis=2), pads, mode="symmetric")
    spectra = _spectra(removed, _STEP)
    energy = scipy.ndimage.uniform_filter(spectra * spectra, _MEAN)
    expected = noise.at(_windows(brightness, _STEP).mean(axis=(-2, -1)))
    share = 1 - _SAFETY * expected / np.maximum(energy, 1e-12)
    given = _overlap(spectra * np.maximum(share, 0), removed.shape)
    given = given[_SIDE : _SIDE + height, _SIDE : _SIDE + width]
    recovered = denoised + (given @ _COLORS if given.shape[2] == 3 else given)
    missing = scipy.ndimage.gaussian_filter(noisy - recovered, (_CALM, _CALM, 0), truncate=3)
    return np.asarray(recovered + missing, np.float32)


def _split_colors(values: Floats) -> Floats:
    """Turn (..., 3) colours into brightness and two differences; return (..., 1) unchanged."""
    return np.asarray(values @ _COLORS.T if values.shape[-1] == 3 else values)


def _windows(values: NDArray[np.float32], step: int) -> Floats:
    """Return windows of (..., H, W) `step` pixels apart, as (..., rows, columns, 16, 16)."""
    views = np.lib.stride_tricks.sliding_window_view(values, (_SIDE, _SIDE), axis=(-2, -1))
    return views[..., ::step, ::step, :, :]


def _spectra(values: Floats, step: int) -> Floats:
    """Return cosine coefficients of the windows of (..., H, W, C), with channels before windows."""
    windows = np.moveaxis(_windows(np.moveaxis(values, -1, -3), step), -5, -3)
    return np.asarray(scipy.fft.dctn(windows, axes=(-2, -1), norm="ortho"))


def _overlap(spectra: Floats, shape: tuple[int, ...]) -> Floats:
    """Undo `_spectra` for one image: average the windows where they overlap."""
    windows = scipy.fft.idctn(spectra, axes=(-2, -1), norm="ortho") * _WINDOW
    total = np.zeros(shape, np.float32)
    weight = np.zeros((*shape[:2], 1), np.float32)
    rows, columns = windows.shape[:2]
    for row in range(_SIDE):
        for column in range(_SIDE):
            there = (
                slice(row, row + rows * _STEP, _STEP),
                slice(column, column + columns * _STEP, _STEP),
            )
            total[there] += windows[..., row, column]
            weight[there] += _WINDOW[row, column]
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32)
