"""Comparisons of before and after, side by side: the whole photos, and their centres enlarged."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.photo import Pixels, pixel_rows
from ssbsn_cli.core.types import from_unit, to_unit

_PANEL = 768
_ZOOM = 3
_GAP = 8


class Comparison:
    """Draws a photo and its result side by side.

    Both have the same shape, (H, W, 1 or 3), and are uint8, uint16 or floats with white at 1. Rows
    are added from top to bottom, a few or all at once. Only copies of what the picture shows are
    kept, so the photo can then be changed in place.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._before, self._after = _Column(shape), _Column(shape)

    def add_before(self, rows: Pixels) -> None:
        """Take the next rows of the photo."""
        self._before.add(rows)

    def add_after(self, rows: Pixels) -> None:
        """Take the next rows of the result."""
        self._after.add(rows)

    def picture(self) -> NDArray[np.uint8]:
        """Return the picture, (h, w, 3) uint8 RGB, after all rows of both."""
        before, after = self._before.column("before"), self._after.column("after")
        return np.hstack([before, np.full((len(before), _GAP, 3), 255, np.uint8), after])


class _Column:
    """The contents of a column: a small copy of a photo, and its centre."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._size = _size(shape)
        self._centre = _centre(shape)
        # Blocks of new rows are averaged to about twice the final size; `column` does the rest.
        self._step = max(max(shape[:2]) // (2 * _PANEL), 1)
        self._width = max(shape[1] // self._step, 1)
        self._top = 0
        self._waiting: list[Pixels] = []
        self._small: list[Pixels] = []
        self._middle: list[Pixels] = []

    def add(self, rows: Pixels) -> None:
        # A copy of all the rows could be as large as the photo.
        for part in pixel_rows(rows):
            self._take(rows[part])

    def _take(self, rows: Pixels) -> None:
        lines, columns = self._centre
        start, stop = (min(max(at - self._top, 0), len(rows)) for at in (lines.start, lines.stop))
        self._middle.append(rows[start:stop, columns].copy())
        self._top += len(rows)
        rows = np.concatenate([*self._waiting, rows[:, : self._width * self._step]])
        whole = len(rows) // self._step
        self._waiting = [rows[whole * self._step :].copy()]
        if whole:
            self._small.append(_resize(rows[: whole * self._step], (self._width, whole)))

    def column(self, label: str) -> NDArray[np.uint8]:
        whole = to_rgb8(_resize(np.concatenate(self._small or self._waiting), self._size))
        centre = to_rgb8(np.concatenate(self._middle))
        width = whole.shape[1]
        centre = centre.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)[:, :width]
        column = np.vstack([whole, np.full((_GAP, width, 3), 255, np.uint8), centre])
        for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(
                column, label, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, thickness, cv2.LINE_AA
            )
        return column


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the width and height of the whole photo in the picture."""
    height, width = shape[:2]
    scale = min(_PANEL / max(height, width), 1)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _centre(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns that are shown enlarged."""
    columns, rows = (-(-length // _ZOOM) for length in _size(shape))
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def _resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if pixels.dtype == np.float16:
        # OpenCV does not support them.
        pixels = pixels.astype(np.float32)
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return resized.reshape(size[1], size[0], pixels.shape[2])


def to_rgb8(pixels: Pixels) -> NDArray[np.uint8]:
    """Return pixels, (H, W, 1 or 3), as 8-bit RGB; NaN becomes black."""
    values = from_unit(np.nan_to_num(to_unit(pixels)), np.dtype(np.uint8))
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
