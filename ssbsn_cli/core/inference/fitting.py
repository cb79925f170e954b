"""Prepare images for a network: not below black, not far too dark or bright, and without holes."""

from __future__ import annotations

import math

import numpy as np

# SciPy loads its parts when they are first used, and most photos need none.
import scipy
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.types import to_unit

# Networks err by some 1/2000 of white, since they learned from photos of 8 bits. If all but the
# brightest hundredth is darker than half of `_DARK`, it is brightened to between that and `_DARK`.
_DARK = 1 / 2
_BRIGHT = 0.99
_MOST_BRIGHTENED = 2.0**100
# If half of an image is brighter than white, such as floats up to 255, it is darkened below that.
_WHITE = 1
# The network sees nothing darker than black or brighter than `_MOST`. The darkest thousandth does
# not count as black, since a few dead pixels may be far below it.
_BLACK, _MOST = 0.001, 4
# About how many values, and of integers in how many groups of rows, tell how dark an image is.
_SAMPLES, _GROUPS = 1 << 20, 64


class Fitted:
    """An image of 16 bits or floats as a network needs it: raised, scaled and without holes.

    It is again an `Image`, of float32. Networks learn from photos, which have nothing below black.
    Below black, they darken and invent colours; a little above white, they keep the level. What
    single pixels exceed by is cut off for the network, and added to its result. Holes (NaN and
    infinity) take the nearest value, so that they do not spread.
    """

    def __init__(self, image: Image) -> None:
        self.shape = image.shape
        self.dtype = np.dtype(np.float32)
        self._image = image
        self._raised, self._scale = np.float32(0), np.float32(1)
        self._has_holes = False
        groups, lowest, highest = pixel_rows(image), np.float32(0), np.float32(0)
        if image.dtype.kind != "f":
            # Integers have neither holes nor values outside [0, 1].
            groups, highest = groups[:: math.ceil(len(groups) / _GROUPS)], np.float32(1)
        samples, step = [], math.ceil(math.prod(image.shape) / _SAMPLES)
        for rows in groups:
            values = to_unit(image[rows, :])
            finite = np.isfinite(values)
            lowest = min(lowest, np.min(values, where=finite, initial=0))
            highest = max(highest, np.max(values, where=finite, initial=0))
            self._has_holes = self._has_holes or not finite.all()
            samples.append(values[:, ::step][finite[:, ::step]])
        known = np.concatenate(samples)
        black, half, bright = np.quantile(known, (_BLACK, 0.5, _BRIGHT)) if known.size else (0,) * 3
        if black < 0:
            self._raised = np.float32(-black)
        # Powers of two round nothing.
        if half + self._raised > _WHITE:
            self._scale = np.float32(2.0 ** -math.ceil(math.log2(half + self._raised)))
        elif bright + self._raised > 0:
            room = min(_DARK / (bright + self._raised), _MOST_BRIGHTENED)
            self._scale = np.float32(2.0 ** max(0, math.floor(math.log2(room))))
        self._exceeded = lowest + self._raised < 0 or (highest + self._raised) * self._scale > _MOST
        # Whether this differs from the image.
        self.needed = bool(
            self._raised > 0 or self._scale != 1 or self._has_holes or self._exceeded
        )

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Return some rows and columns, (h, w, C)."""
        values = self._scaled(window)
        return np.clip(values, 0, _MOST, out=values) if self._exceeded else values

    def _scaled(self, window: tuple[slice, slice]) -> NDArray[np.float32]:
        values = to_unit(self._image[window])
        if self._has_holes:
            _fill_holes(values)
        scaled: NDArray[np.float32] = (values + self._raised) * self._scale
        return scaled

    def restore(self, values: NDArray[np.float32], top: int = 0) -> NDArray[np.float32]:
        """Return rows of a result, (h, W, C), at the level of the image and with its holes.

        `top` is the first of these rows. The image must still hold them.
        """
        rows = slice(top, top + len(values)), slice(None)
        if self._exceeded:
            original = self._scaled(rows)
            values = values + (original - np.clip(original, 0, _MOST))
        values = values / self._scale - self._raised
        if self._has_holes:
            original = to_unit(self._image[rows])
            np.copyto(values, original, where=~np.isfinite(original))
        return values


def fit_image(image: Image) -> Fitted | None:
    """Return a `Fitted` image for a network, or None if it needs no change."""
    if image.dtype == np.uint8:
        return None
    fitted = Fitted(image)
    return fitted if fitted.needed else None


def _fill_holes(values: NDArray[np.float32]) -> None:
    """Replace non-finite values of (h, w, C) by the nearest value of their channel, or by 0."""
    for plane in np.moveaxis(values, -1, 0):
        holes = ~np.isfinite(plane)
        if holes.all():
            plane[...] = 0
        elif holes.any():
            nearest = scipy.ndimage.distance_transform_edt(
                holes, return_distances=False, return_indices=True
            )
            plane[...] = plane[tuple(nearest)]
