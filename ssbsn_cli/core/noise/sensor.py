"""Image sensors: the strength of their noise, their colour filters, and demosaicing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ssbsn_cli.core.noise.kinds import Floats

# The number of levels between black and white in the measured 14-bit cameras.
_LEVELS = 15583
# The colour of a pixel, by row and column modulo 2, and OpenCV's codes for that pattern.
_PATTERNS = (
    (((0, 1), (1, 2)), cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2RGB_EA),
    (((1, 0), (2, 1)), cv2.COLOR_BayerGB2RGB, cv2.COLOR_BayerGB2RGB_EA),
    (((1, 2), (0, 1)), cv2.COLOR_BayerGR2RGB, cv2.COLOR_BayerGR2RGB_EA),
    (((2, 1), (1, 0)), cv2.COLOR_BayerRG2RGB, cv2.COLOR_BayerRG2RGB_EA),
)
PATTERNS = len(_PATTERNS)
# OpenCV demosaics 16-bit numbers. This leaves room for noise below black and above white.
_BLACK, _WHITE = 16000, 32000

# Gradient-corrected filters, times 8: green at red and blue pixels; red or blue at a green pixel
# that has it to its left and right; red at blue pixels and blue at red ones.
_GREEN = np.zeros((5, 5))
_GREEN[2], _GREEN[[0, 1, 3, 4], 2] = [-1, 2, 4, 2, -1], [-1, 2, 2, -1]
_BESIDE = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1]])
_BESIDE = np.vstack([_BESIDE, _BESIDE[1::-1]])
_ACROSS = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5]])
_ACROSS = np.vstack([_ACROSS, _ACROSS[1::-1]])


@dataclass(frozen=True)
class Sensor:
    """A sensor whose noise has variance ``shot * signal + read**2``, with black at 0, white at 1.

    At a higher ISO, a sensor has more of both kinds; `draw` draws how they are related.

    Parameters
    ----------
    slope, offset : float
        ``log(read) = slope * log(shot) + offset``.

    References
    ----------
    .. [1] A. Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for
       single-image raw-data", IEEE Transactions on Image Processing 17, 2008.
    .. [2] K. Wei et al., "A Physics-Based Noise Formation Model for Extreme Low-Light Raw
       Denoising" (ELD), CVPR 2020: large sensors of five cameras.
    .. [3] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019: a line
       through the noise of the phones and cameras of DND; here, sensors lie four times as far
       from it.
    """

    slope: float
    offset: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sensor:
        """Draw a sensor: half of them large ones as in [2]_, half like those of [3]_."""
        if rng.random() < 0.5:
            slope = rng.uniform(0.5, 0.7)
            levels = rng.normal(1.3, 0.6)
            # Measured in levels: log(read * levels) = slope * log(shot * levels) + `levels`.
            return cls(slope, levels + (slope - 1) * math.log(_LEVELS))
        return cls(1.09, 0.6 + rng.normal(0, 0.5))

    def for_variance(self, variance: float, of_shot: float, of_read: float) -> tuple[float, float]:
        """Return the shot, at most 1, and read noise that give a developed photo a variance.

        Developing multiplies ``shot`` by `of_shot`, and ``read**2`` by `of_read`.
        """
        low, high = -30.0, 0.0
        for _ in range(30):
            middle = (low + high) / 2
            read = math.exp(2 * (self.slope * middle + self.offset))
            if math.exp(middle) * of_shot + read * of_read < variance:
                low = middle
            else:
                high = middle
        return math.exp(low), math.exp(self.slope * low + self.offset)


def sample(colors: Floats, pattern: int) -> Floats:
    """Return the mosaic (H, W) that a colour filter array makes of (H, W, 3)."""
    mosaic = np.empty(colors.shape[:2], np.float32)
    for i in (0, 1):
        for j in (0, 1):
            mosaic[i::2, j::2] = colors[i::2, j::2, _PATTERNS[pattern][0][i][j]]
    return mosaic


def demosaic_noise(noisy: Floats, signal: Floats, pattern: int, way: int) -> Floats:
    """Return the noise, (H, W, 3), that a noisy mosaic has after demosaicing.

    `noisy` and `signal` are (H, W) mosaics with and without noise, with white at 1. `way` is 0 for
    bilinear, 1 for along edges, and 2 for gradient-corrected.

    References
    ----------
    .. [1] Malvar, He & Cutler, "High-Quality Linear Interpolation for Demosaicing of
       Bayer-Patterned Color Images", ICASSP 2004.
    """
    places, *codes = _PATTERNS[pattern]
    if way == 2:
        # This method is linear, so the signal drops out.
        return _gradient_corrected(noisy - signal, places)
    code = codes[way]
    return _interpolated(noisy, code) - _interpolated(signal, code)


def _interpolated(mosaic: Floats, code: int) -> Floats:
    counts = np.clip(mosaic * _WHITE + _BLACK, 0, 65535).astype(np.uint16)
    return np.asarray((cv2.cvtColor(counts, code).astype(np.float32) - _BLACK) / _WHITE, np.float32)


def _gradient_corrected(mosaic: Floats, places: tuple[tuple[int, int], tuple[int, int]]) -> Floats:
    green, row, column, across = (
        cv2.filter2D(mosaic, -1, kernel / 8, borderType=cv2.BORDER_REFLECT_101)
        for kernel in (_GREEN, _BESIDE, _BESIDE.T, _ACROSS)
    )
    colors = np.empty((*mosaic.shape, 3), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            here = np.s_[i::2, j::2]
            if places[i][j] == 1:
                colors[here][..., places[i][1 - j]] = row[here]
                colors[here][..., places[1 - i][j]] = column[here]
                colors[here][..., 1] = mosaic[here]
            else:
                colors[here][..., places[i][j]] = mosaic[here]
                colors[here][..., 2 - places[i][j]] = across[here]
                colors[here][..., 1] = green[here]
    return colors
