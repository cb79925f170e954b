"""Replace impulses, single pixels that are all wrong, which networks mistake for strong noise."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.kinds import Floats

_Mask = NDArray[np.bool_]

# An impulse is where more was removed than so many times the local mean, plus this: the first
# limits tell whether there are impulses, the others find them, at first and once most are known.
_SURE, _LIKELY, _KNOWN = (5.0, 20 / 255), (3.0, 12 / 255), (3.0, 6 / 255)
# The local mean is that of a square with this side.
_SIDE = 15
# There are impulses if at least this share of the values are sure ones, and neighbours of impulses
# are no impulses more often than others, up to this correlation. Dots and texture are larger.
_SHARE, _CORRELATION = 5e-4, 0.1
# Impulses raise the local mean, so it is taken anew without those that were found.
_TIMES = 2
# Deviations of the Gaussians that average what is around an impulse, and the least share of good
# values in the first.
_NEAR, _FAR, _ENOUGH = 0.7, 2.0, 0.05
_TINY = 1e-6


def remove_impulses_of_each(
    images: Floats, results: Floats, denoise: Callable[[Floats], Floats]
) -> tuple[Floats, Floats]:
    """Return (N, h, w, C) without impulses, and the results; see `remove_impulses`."""
    both = list(zip(images, results, strict=True))
    found = [remove_impulses(*each, denoise) for each in both]
    if not any(found):
        return images, results
    pairs = [new or old for new, old in zip(found, both, strict=True)]
    images, results = (np.stack(each) for each in zip(*pairs, strict=True))
    return images, results


def remove_impulses(
    noisy: Floats, denoised: Floats, denoise: Callable[[Floats], Floats]
) -> tuple[Floats, Floats] | None:
    """Replace impulses by what is around them, and denoise the image again.

    Defective pixels of sensors and errors of transmission are far from what is around them, while
    other pixels are as they should be. A network takes them for strong noise, and removes detail
    everywhere.

    Parameters
    ----------
    noisy : array
        (h, w, C) with white at 1.
    denoised : array
        A network's result, same shape.
    denoise : callable
        Returns the network's result for an image.

    Returns
    -------
    (array, array) or None
        The image without impulses and its result; None if there are no impulses.

    References
    ----------
    .. [1] H. Hwang & R. A. Haddad, "Adaptive Median Filters: New Algorithms and Results", IEEE
       Transactions on Image Processing 4, 1995, for replacing impulses alone.
    """
    if _find(noisy, denoised, _SURE).mean() < _SHARE:
        return None
    found = np.zeros(noisy.shape, bool)
    for _ in range(_TIMES):
        found = _find(noisy, denoised, _LIKELY, found)
    if max(_correlations(found)) > _CORRELATION:
        return None
    denoised = denoise(_replace(noisy, found))
    # With a better result, the limits are closer to the impulses.
    repaired = _replace(noisy, _find(noisy, denoised, _KNOWN, found))
    return repaired, denoise(repaired)


def _find(
    noisy: Floats, denoised: Floats, limits: tuple[float, float], known: _Mask | None = None
) -> _Mask:
    """Return where the impulses are, (h, w, C); those already known have no part in the means."""
    # Floats far beyond white would make the means infinite.
    removed = np.minimum(np.abs(noisy - denoised), 1)
    if known is None:
        usual = _mean(removed)
    else:
        counts = (~known).astype(np.float32)
        usual = _mean(removed * counts) / (_mean(counts) + _TINY)
    times, more = limits
    return np.asarray(removed > times * usual + more)


def _mean(image: Floats) -> Floats:
    return np.asarray(cv2.blur(image, (_SIDE, _SIDE)), np.float32).reshape(image.shape)


def _correlations(found: _Mask) -> tuple[float, float]:
    """Return how much (h, w, C) correlates with its shift by one row, and by one column."""
    here = found.astype(np.float32) - np.float32(found.mean())
    power = max(float(np.square(here).sum()), _TINY)
    below, right = here[1:] * here[:-1], here[:, 1:] * here[:, :-1]
    return float(below.sum()) / power, float(right.sum()) / power


def _replace(image: Floats, wrong: _Mask) -> Floats:
    """Replace wrong values by averages of good ones, and follow the detail of other channels."""
    good = (~wrong).astype(np.float32)
    near, far = _around(good, _NEAR), _around(good, _FAR)
    kept = image * good
    average = np.where(
        near > _ENOUGH,
        _around(kept, _NEAR) / np.maximum(near, _ENOUGH),
        _around(kept, _FAR) / (far + _TINY),
    )
    filled = np.where(wrong, average, image)
    detail = (image - _around(filled, _NEAR)) * good
    # Where all channels are wrong, there is no detail to follow.
    others = np.maximum(good.sum(axis=2, keepdims=True), 1)
    return np.where(wrong, average + detail.sum(axis=2, keepdims=True) / others, image)


def _around(image: Floats, deviation: float) -> Floats:
    blurred = cv2.GaussianBlur(image, (0, 0), deviation)
    return np.asarray(blurred, np.float32).reshape(image.shape)
