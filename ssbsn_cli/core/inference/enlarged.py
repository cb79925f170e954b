"""Find photos that were enlarged, and denoise them at their own size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.photo import Image, Pixels
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.types import spread, to_unit

# At most `_PARTS` x `_PARTS` parts of a photo are searched, each at most `_SIDE` pixels wide and
# high, in `_STRIPS` strips of `_STRIP` columns. Photos with a side below `_LEAST_SIDE` have too few
# pixels.
_PARTS, _SIDE, _LEAST_SIDE = 3, 512, 256
_STRIPS, _STRIP = 4, 64
# The next constants are deviations in grey levels of 255, or natural logarithms of their ratios.
# Rounding to 8 bits, once or twice, leaves between these.
_ROUNDED = 0.12, 0.46
# The least height of a step down to rounding, and of any other step, which must end below `_QUIET`.
_LOW_HEIGHT, _HEIGHT, _QUIET = 0.05, 0.9, 2.0
# Pictures without noise, even that of rounding to 16 bits, are no enlarged photos.
_LEAST_NOISE = 2e-4
# Both axes agree to this many of the 64 columns.
_TOLERANCE = 3
# Photos that were enlarged less than this stay as they are.
_LEAST_FACTOR = 1.15
# JPEG of low quality leaves out the finest detail, so photos seem to be enlarged, by less than
# `_MOST_OF_JPEG`. But across the borders of its blocks, neighbours differ more than
# `_BETWEEN_BLOCKS` times as much as within them.
_MOST_OF_JPEG, _BLOCK, _BETWEEN_BLOCKS = 5 / 3, 8, 1.3
# The sizes that are compared are whole numbers of 120ths. Most factors that people choose are among
# them.
_UNIT = 120
# At the true size, the logarithm of what is lost is lower than at the sizes next to it, by this
# much in total.
_DIP = 0.5
# Tiles start at multiples of the factor's numerator, so a simple fraction is better.
_MOST_DENOMINATOR = 12
# The finest detail, and the windows over which its energy is averaged, in pixels.
_FINE, _WINDOW = 1.0, 3.0


def find_enlargement(image: Image) -> Fraction:
    """Find out how many times a photo was enlarged.

    Enlarging makes each column a mix of few columns of the smaller photo, with the same weights in
    all rows. So a strip of 64 columns of a photo that was enlarged 1.5 times holds about 43
    independent columns, and nothing else but rounding. Its covariance shows that as a step in its
    eigenvalues, whatever method mixed them. Noise and smoothing make no such step, and blur rarely
    does. JPEG after enlarging hides it.

    Parameters
    ----------
    image : Image
        (H, W, C); integers, or floats with white at 1. Only some parts are read.

    Returns
    -------
    Fraction
        The factor, up to a few per cent if the photo was cropped afterwards. 1 if it does not seem
        to be enlarged, if its pixels were only repeated, or if it was enlarged in floats.

    References
    ----------
    .. [1] A. C. Gallagher, "Detection of Linear and Cubic Interpolation in JPEG Compressed Images",
       CRV 2005, and A. C. Popescu & H. Farid, "Exposing Digital Forgeries by Detecting Traces of
       Re-sampling", IEEE Transactions on Signal Processing 53 (2), 2005, for the dependence of
       neighbours on each other in enlarged photos.
    """
    if min(image.shape[:2]) < _LEAST_SIDE:
        return Fraction(1)
    tops, lefts = (_starts(length, _SIDE, _PARTS) for length in image.shape[:2])
    parts = [image[top : top + _SIDE, left : left + _SIDE] for top in tops for left in lefts]
    ranks: list[int] = []
    for axis in (0, 1):
        variances = sum(_eigenvalues(part.swapaxes(0, axis)) for part in parts) / len(parts)
        ranks.append(_find_rank(np.sqrt(variances)))
        if ranks[-1] == 0:
            return Fraction(1)
    if abs(ranks[0] - ranks[1]) > _TOLERANCE:
        return Fraction(1)
    # The strip also overlaps 1 to 5 columns of the smaller photo with their edges alone.
    most, least = (_UNIT * (max(ranks) - edges) / _STRIP for edges in (1, 5))
    factor = _exact_factor(parts[0], range(math.ceil(least), math.floor(most) + 1))
    if factor < _LEAST_FACTOR or (factor < _MOST_OF_JPEG and _has_blocks(parts)):
        return Fraction(1)
    return factor


def _has_blocks(parts: Sequence[Pixels]) -> bool:
    """Return whether neighbours differ more between blocks, in both directions."""
    return all(
        np.mean([_excess(part.swapaxes(0, axis)) for part in parts]) > _BETWEEN_BLOCKS
        for axis in (0, 1)
    )


def _excess(part: Pixels) -> float:
    """Return how many times as much neighbours differ across the borders of blocks."""
    steps = np.abs(np.diff(to_unit(part), axis=1))
    # So that single edges do not count more than everything else, and plain parts not at all.
    steps = np.minimum(steps, 4 * np.median(steps[steps > 0])) if steps.any() else steps
    by_column = steps.mean(axis=(0, 2))
    by_place = by_column[: len(by_column) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).mean(axis=0)
    usual = np.median(by_place)
    # Parts without noise tell nothing.
    return float(by_place.max() / usual) if usual else _BETWEEN_BLOCKS


def _exact_factor(corner: Pixels, sizes: range) -> Fraction:
    """Choose the size, in 120ths, that loses least; the largest if none stands out.

    `corner` is the upper left part of the photo. At the true size, the pixels of the smaller photo
    lie where it is sampled, unless the photo was cropped afterwards.
    """
    pixels = to_unit(corner[: 2 * _UNIT, : len(corner[0]) // _UNIT * _UNIT])

    def lost(size: int) -> float:
        factor = Fraction(_UNIT, size)
        difference = pixels - _resize(_resize(pixels, 1 / factor), factor)
        return math.log(np.square(difference).mean() + np.finfo(np.float32).tiny)

    losses = [lost(size) for size in range(sizes[0] - 1, sizes[-1] + 2)]
    # Compared with the sizes next to it.
    dips = np.subtract(losses[:-2], losses[1:-1]) + np.subtract(losses[2:], losses[1:-1])
    best = int(np.argmax(dips))
    factor = Fraction(_UNIT, sizes[best] if dips[best] > _DIP else sizes[-1])
    return factor.limit_denominator(_MOST_DENOMINATOR)


def _starts(length: int, side: int, most: int) -> list[int]:
    return spread(range(max(length - side, 0) + 1), min(most, math.ceil(length / side)))


def _eigenvalues(part: Pixels) -> NDArray[np.float64]:
    """Return the eigenvalues of the covariance of 64 neighbouring columns, largest first."""
    total = np.zeros(_STRIP)
    lefts = _starts(part.shape[1], _STRIP, _STRIPS)
    for left in lefts:
        strip = 255 * to_unit(part[:, left : left + _STRIP]).astype(np.float64)
        strip = strip.swapaxes(1, 2).reshape(-1, _STRIP)
        strip -= strip.mean(axis=0)
        total += np.linalg.eigvalsh(strip.T @ strip / len(strip))[::-1]
    return np.maximum(total, 0) / len(lefts)


def _find_rank(deviations: NDArray[np.float64]) -> int:
    """Return how many independent columns there are, before a sudden step; 0 without a step."""
    if deviations[-1] < _LEAST_NOISE:
        return 0
    logs = np.log(deviations)

    def fall(start: int, stop: int) -> float:
        return float(logs[start] - logs[stop])

    found, low_found, highest, low_highest = 0, 0, _HEIGHT, _LOW_HEIGHT
    for at in range(10, _STRIP - 8):
        step = fall(at - 5, at) - max(fall(at - 10, at - 5), fall(at, at + 5))
        if deviations[at] <= _QUIET and step > highest:
            found, highest = at, step
        step = fall(at - 2, at) - max(fall(at - 4, at - 2), fall(at, at + 2), fall(at, at + 4) / 2)
        if deviations[at] <= _ROUNDED[1] and deviations[-1] >= _ROUNDED[0] and step > low_highest:
            low_found, low_highest = at, step
    return found or low_found


def denoise_at_own_size(
    noisy: Floats, factor: Fraction, denoise: Callable[[Floats], Floats]
) -> Floats:
    """Denoise an enlarged photo at the size that it had before.

    The noise of an enlarged photo reaches `factor` times as far as networks expect. At its own
    size, it is as usual, and there are fewer pixels to compute. Reducing and enlarging change only
    the finest detail and noise. The share of this that is given back is that of detail in the
    local energy of the finest frequencies that the network saw.

    Parameters
    ----------
    noisy : array
        (h, w, C) with white at 1. Parts of a photo that begin at multiples of the factor's
        numerator are reduced to the same pixels as the whole photo.
    factor : Fraction
        From `find_enlargement`, above 1.
    denoise : callable
        Takes and returns such arrays.

    Returns
    -------
    array
        Same shape.
    """
    height, width = noisy.shape[:2]
    pads = [(0, -length % factor.numerator) for length in (height, width)]
    padded = np.pad(noisy, [*pads, (0, 0)], mode="symmetric")
    small = _resize(padded, 1 / factor)
    denoised = denoise(small)
    detail, removed = (_energy(part) for part in (denoised, small - denoised))
    # The sum is zero where the photo is of one colour.
    share = detail / np.maximum(detail + removed, np.finfo(np.float32).tiny)
    size = padded.shape[1], padded.shape[0]
    share = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)[..., None]
    result = _resize(denoised, factor) + share * (padded - _resize(small, factor))
    return np.asarray(result[:height, :width])


def _resize(pixels: Floats, factor: Fraction) -> Floats:
    """Resize (h, w, C), whose sides are multiples of the factor's denominator."""
    height, width = (int(length * factor) for length in pixels.shape[:2])
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LANCZOS4)
    # OpenCV drops the channel of grey images.
    return np.asarray(resized, np.float32).reshape(height, width, pixels.shape[2])


def _energy(pixels: Floats) -> Floats:
    """Return the local energy of the finest detail of (h, w, C), as (h, w)."""
    fine = pixels - cv2.GaussianBlur(pixels, (0, 0), _FINE).reshape(pixels.shape)
    return np.asarray(cv2.GaussianBlur((fine**2).sum(axis=2), (0, 0), _WINDOW), np.float32)
