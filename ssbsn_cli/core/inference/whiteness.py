"""Tell white noise from other noise, by what a network removed."""

from __future__ import annotations

import cv2
import numpy as np

from ssbsn_cli.core.noise.kinds import Floats

# Noise is cut off at black and white. Pixels outside this range do not count.
_BLACK, _WHITE = 3 / 255, 252 / 255
# Three figures tell whether what was removed is white noise: the correlation of neighbours, the
# fourth moment relative to the squared variance, and the deviation. It is none at the first of two
# limits. Neighbours in the noise of cameras correlate by more, and impulses have a higher moment.
# Less is removed from clean photos.
_CORRELATION, _MOMENT, _DEVIATION = (0.2, 0.1), (16.0, 8.0), (1.5 / 255, 2.5 / 255)
# Pixels at this distance are independent in white noise and in most other noise.
_FAR = 4
# Of larger images, one of so many rows and columns is enough.
_LARGE, _EVERY = 256 * 256, 3
# Values beyond black and white are counted within squares of this side. From this share on, noise
# is not cut off.
_SIDE, _BEYOND = 31, 0.05


def cut_off(noisy: Floats) -> Floats:
    """Return where values end at black and white, as those of integers do.

    Elsewhere, weights that know no other noise would lose what is beyond.

    Parameters
    ----------
    noisy : array
        (h, w, C) with white at 1.

    Returns
    -------
    array
        (h, w, 1), from 0 to 1.
    """
    beyond = np.asarray(((noisy < 0) | (noisy > 1)).any(axis=2), np.float32)
    near = np.asarray(cv2.blur(beyond, (_SIDE, _SIDE)), np.float32)
    return np.asarray(np.clip(1 - near / _BEYOND, 0, 1)[..., None], np.float32)


def share_of_white(noisy: Floats, denoised: Floats) -> float:
    """Return how certain it is that what was removed from an image is white noise.

    Parameters
    ----------
    noisy, denoised : array
        (h, w, C) with white at 1.

    Returns
    -------
    float
        0 to 1.
    """
    removed, counts = noisy - denoised, (noisy > _BLACK) & (noisy < _WHITE)
    every = _EVERY if removed[..., 0].size > _LARGE else 1

    def differences(distance: int, axis: int) -> float:
        """Return the mean squared difference of pixels at a distance along an axis.

        Slow changes, as of the mean of noise that is cut off, have little part in it.
        """
        values = np.moveaxis(removed, axis, 0)[:, ::every]
        valid = np.moveaxis(counts, axis, 0)[:, ::every]
        both = valid[distance::every] & valid[:-distance:every]
        found = values[distance::every][both] - values[:-distance:every][both]
        # Squares of float32 may overflow.
        return float(np.square(found, dtype=np.float64).mean()) if found.size else 0.0

    some = np.square(removed[::every][counts[::every]], dtype=np.float64)
    far = (differences(_FAR, 0) + differences(_FAR, 1)) / 2
    if not (some.any() and far > 0):
        return 0.0
    correlation = max(abs(1 - differences(1, axis) / far) for axis in (0, 1))
    moment = float(np.square(some).mean() / some.mean() ** 2)
    certain = np.interp(correlation, _CORRELATION[::-1], (1, 0))
    certain *= np.interp(moment, _MOMENT[::-1], (1, 0))
    return float(certain * np.interp(some.mean() ** 0.5, _DEVIATION, (0, 1)))
