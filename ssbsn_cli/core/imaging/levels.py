"""Prepare floats for a network: no values below black, and none that are not finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.types import to_unit


class Levelled:
    """A float image whose darkest value is lifted to 0, and whose holes are filled.

    It is again an `Image`, of float32. Networks learn from photos, which have nothing below black.
    Below black, they darken and invent colours; above white, they keep the level. Holes (NaN and
    infinity) take the nearest value, so that they do not spread.
    """

    def __init__(self, image: Image) -> None:
        self.shape = image.shape
        self.dtype = np.dtype(np.float32)
        self._image = image
        self._lift = np.float32(0)
        self._has_holes = False
        for rows in pixel_rows(image):
            values = image[rows, :]
            finite = np.isfinite(values)
            lowest = np.min(values, where=finite, initial=0)
            self._lift = max(self._lift, np.float32(-lowest))
            self._has_holes = self._has_holes or not finite.all()

        # Whether this differs from the image.
        self.needed = bool(self._lift > 0) or self._has_holes

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Return some rows and columns, (h, w, C)."""
        values = to_unit(self._image[window])
        if self._has_holes:
            _fill_holes(values)
        return values + self._lift

    def restore(self, values: NDArray[np.float32], top: int = 0) -> NDArray[np.float32]:
        """Return rows of a result, (h, W, C), at the level of the image and with its holes.

        `top` is the first of these rows. The image must still hold them.
        """
        values = values - self._lift
        if self._has_holes:
            original = to_unit(self._image[top : top + len(values), :])
            np.copyto(values, original, where=~np.isfinite(original))
        return values


def level_floats(image: Image) -> Levelled | None:
    """Return a `Levelled` image for a network, or None if it needs no change."""
    if image.dtype.kind != "f":
        return None
    levelled = Levelled(image)
    return levelled if levelled.needed else None


def _fill_holes(values: NDArray[np.float32]) -> None:
    """Replace non-finite values of (h, w, C) by the nearest value of their channel, or by 0."""
    for plane in np.moveaxis(values, -1, 0):
        holes = ~np.isfinite(plane)
        if holes.all():
            plane[...] = 0
        elif holes.any():
            nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
            plane[...] = plane[tuple(nearest)]
