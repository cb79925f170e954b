"""Find parts of pictures that have no noise: patterns that repeat exactly."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.kinds import Floats

# The side of a window, and the longest period, which it holds twice.
_SIDE, _LONGEST = 32, 16
# Weights of the channels in a number that tells colours apart.
_CODE = np.sqrt([2.0, 3.0, 5.0])


def find_noiseless(pixels: Floats) -> NDArray[np.bool_]:
    """Find the parts of a picture that repeat exactly, across and down, which noise never does.

    Networks take such patterns for noise: checkerboards, for example, or drawn shades of dots.

    Parameters
    ----------
    pixels : array
        (h, w, C) with C = 1 or 3.

    Returns
    -------
    array
        (h, w), true in all windows of 32x32 pixels whose periods are at most 16 pixels.
    """
    # Sums that do not depend on the position: equal colours have equal codes.
    codes = (pixels.astype(np.float64) * _CODE[: pixels.shape[2]]).sum(axis=2)
    corners = np.zeros(codes.shape, np.uint8)
    # Each window has two of these rows, which tell at once that photos do not repeat.
    if _find_repeating(codes[:: _SIDE // 2], 1).any():
        corners = _find_repeating(codes, _SIDE) & _find_repeating(codes.T, _SIDE).T
    # From the upper left corners of windows to all of their pixels.
    window = np.ones((_SIDE, _SIDE), np.uint8)
    return cv2.dilate(corners, window, anchor=(_SIDE - 1, _SIDE - 1)).astype(bool)


def _find_repeating(codes: NDArray[np.float64], rows: int) -> NDArray[np.uint8]:
    """Mark the upper left corners of windows of so many rows that repeat across."""
    corners = np.zeros(codes.shape, np.uint8)
    for period in range(1, min(_LONGEST, codes.shape[1] - 1) + 1):
        same = (codes[:, period:] == codes[:, :-period]).astype(np.uint8)
        window = np.ones((rows, _SIDE - period), np.uint8)
        # Beyond the border, nothing repeats.
        found = cv2.erode(
            same, window, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        corners[:, :-period] |= found.astype(np.uint8)
    return corners
