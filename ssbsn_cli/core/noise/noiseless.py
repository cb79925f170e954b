"""Find parts of pictures that have no noise: text, line art, patterns."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ssbsn_cli.core.noise.kinds import Floats

# Windows of this size, so far apart.
_SIDE, _STEP = 16, 8
# A window without noise has at most so many colours, each so often at least.
_MOST, _LEAST = 16, 4
# Its values span so much of white. In dark or flat parts of 8 bits, noise has few colours, too.
_SPAN = 32 / 255
# Of each window, this part of the pixels is looked at first, in both directions.
_SOME = 4
# Weights of the channels in a number that tells colours apart.
_CODE = np.sqrt([2.0, 3.0, 5.0])


def find_noiseless(pixels: Floats) -> NDArray[np.bool_]:
    """Find the pixels that can have no noise.

    Noise gives almost each pixel a colour of its own. So where each of a few clearly different
    colours occurs several times in a window of 16x16 pixels, there is none.

    Parameters
    ----------
    pixels : array
        (h, w, C) with C = 1 or 3 and white at 1.

    Returns
    -------
    array
        (h, w), true where there is no noise.
    """
    found = np.zeros(pixels.shape[:2], bool)
    if min(found.shape) < _SIDE:
        return found
    codes = pixels.astype(np.float64) @ _CODE[: pixels.shape[2]]
    windows = sliding_window_view(codes, (_SIDE, _SIDE))[::_STEP, ::_STEP]
    some = windows[..., ::_SOME, ::_SOME].reshape(*windows.shape[:2], -1)
    likely = _count(np.sort(some)) <= some.shape[-1] / 2
    # Row by row, since all windows together would take much memory.
    for row in np.flatnonzero(likely.any(axis=1)):
        columns = np.flatnonzero(likely[row])
        colors = np.sort(windows[row, columns].reshape(len(columns), -1))
        for column in columns[(_count(colors) <= _MOST) & _repeats(colors)]:
            top, left = _STEP * row, _STEP * column
            place = slice(top, top + _SIDE), slice(left, left + _SIDE)
            if np.ptp(pixels[place], axis=(0, 1)).max() >= _SPAN:
                found[place] = True
    return found


def _count(ascending: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return how many different numbers there are, along the last axis."""
    return np.asarray((np.diff(ascending) != 0).sum(axis=-1) + 1)


def _repeats(ascending: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each row has all of its numbers several times."""
    first = np.diff(ascending, prepend=-1.0) != 0
    enough = np.zeros_like(first)
    enough[:, : 1 - _LEAST] = ascending[:, : 1 - _LEAST] == ascending[:, _LEAST - 1 :]
    return np.asarray((enough | ~first).all(axis=1))
