"""Find parts of pictures that have no noise: patterns that repeat exactly, and drawings."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.kinds import Floats

# The side of a window, and the longest period, which it holds twice.
_SIDE, _LONGEST = 32, 16
# Three figures tell whether a picture was drawn, with limits for no and for yes: the share of the
# pixels that equal one so far away across or down, where those made several times as large do not;
# next to these, the share of those that differ a little from a neighbour; and the deviation of what
# was removed, relative to that of the result.
_AWAY, _LITTLE = 4, 8 / 255
_EVEN, _ROUGH, _REMOVED = (0.4, 0.55), (0.6, 0.3), (0.06, 0.04)
# Weights of the channels in a number that tells colours apart.
_CODE = np.sqrt([2.0, 3.0, 5.0])


def restore_noiseless(noisy: Floats, denoised: Floats) -> None:
    """Give back the parts of a picture that have no noise.

    Parameters
    ----------
    noisy : array
        (h, w, C) with C = 1 or 3, white at 1.
    denoised : array
        A result, same shape. It is changed in place.
    """
    drawn = find_drawn(noisy, denoised)
    if drawn.any():
        denoised += drawn[..., None] * (noisy - denoised)
    repeating = find_repeating(noisy)
    if repeating.any():
        np.copyto(denoised, noisy, where=repeating[..., None])


def find_drawn(noisy: Floats, denoised: Floats) -> NDArray[np.float32]:
    """Find drawings, text and screenshots: strokes and areas on even ground.

    Most of their pixels equal others nearby exactly. In photos, so do those that are cut off at
    black or white. There, noise of the other pixels tells: many of these differ a little, and a
    network removes more, compared with the contrast.

    Parameters
    ----------
    noisy, denoised : array
        (h, w, C) with C = 1 or 3, white at 1.

    Returns
    -------
    array
        (h, w), from 0 to 1, which surely is a drawing.
    """
    codes = _codes(noisy)
    even = _share_of_pairs(codes, _AWAY, 0, 0)
    share = _ramp(even, *_EVEN)
    # In photos, the rest would be in vain.
    if share.any():
        tiny = float(np.finfo(np.float32).tiny)
        rough = _share_of_pairs(codes, 1, tiny, _LITTLE * _CODE[: noisy.shape[2]].sum())
        removed = _local_mean(np.square(noisy - denoised)).mean(axis=2)
        contrast = _local_mean(np.square(denoised)) - np.square(_local_mean(denoised))
        ratio = removed.clip(min=0) / contrast.mean(axis=2).clip(min=tiny)
        share *= _ramp(rough / even.clip(min=tiny), *_ROUGH) * _ramp(np.sqrt(ratio), *_REMOVED)
    return share


def find_repeating(pixels: Floats) -> NDArray[np.bool_]:
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
    codes = _codes(pixels)
    # Each window has two of these rows, which tell at once that photos do not repeat.
    if not _find_repeating(codes[:: _SIDE // 2], 1).any():
        return np.zeros(codes.shape, bool)
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


def _share_of_pairs(
    codes: NDArray[np.float64], apart: int, least: float, most: float
) -> NDArray[np.float32]:
    """Return the local share of pixels that differ so much from one so far across or down."""
    found = np.zeros(codes.shape, np.float32)
    for values, marks in ((codes, found), (codes.T, found.T)):
        difference = np.abs(values[apart:] - values[:-apart])
        pairs = (difference >= least) & (difference <= most)
        marks[apart:][pairs] = 1
        marks[:-apart][pairs] = 1
    return _local_mean(found)


def _codes(pixels: Floats) -> NDArray[np.float64]:
    """Return one number for each pixel of (h, w, C), equal where colours are equal."""
    # One channel at a time, since other sums depend on the position.
    codes = np.zeros(pixels.shape[:2])
    for channel, weight in zip(np.moveaxis(pixels, 2, 0), _CODE, strict=False):
        codes += weight * channel
    return codes


def _local_mean(values: Floats) -> Floats:
    return np.asarray(cv2.blur(values, (_SIDE, _SIDE)), np.float32).reshape(values.shape)


def _ramp(values: Floats, none: float, all_of_it: float) -> Floats:
    return ((values - none) / (all_of_it - none)).clip(0, 1)
