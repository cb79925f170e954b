"""A picture of before and after, side by side, whole and enlarged."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.types import white_of

PANEL = 768
ZOOM = 3
GAP = 8


class Comparison:
    """Remember what a photograph looked like, and draw it beside what became of it.

    Only what the picture shows is kept, so the photograph can be changed in place meanwhile.

    Parameters
    ----------
    before : array
        (H, W, C) with C = 1 or 3; uint8, uint16 or floating with white at 1.
    """

    def __init__(self, before: NDArray[Any]) -> None:
        self._before = _column_of(before, "before")

    def picture(self, after: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the picture, (h, w, 3) uint8 RGB: whole photos above, enlarged centres below.

        Parameters
        ----------
        after : array
            Same shape as `before`.
        """
        return _side_by_side(self._before, _column_of(after, "after"))


class RowComparison:
    """The same picture of a photograph whose rows come one after the other.

    Parameters
    ----------
    shape : tuple of int
        (H, W, C) of the photograph, with C = 1 or 3.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._before, self._after = _Digest(shape), _Digest(shape)

    def add(self, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Take the next rows.

        Parameters
        ----------
        before, after : array
            (h, W, C) of one type: uint8, uint16 or floating with white at 1.
        """
        self._before.add(before)
        self._after.add(after)

    def picture(self) -> NDArray[np.uint8]:
        """Return the picture, as `Comparison.picture` does, once all rows were taken."""
        return _side_by_side(self._before.column("before"), self._after.column("after"))


class _Digest:
    """What a column shows of a photograph: a small copy of it all, and its centre."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._size = _size(shape)
        self._centre = _centre(shape)
        # Averages of whole blocks, with pixels left over for a resize that is as even as it gets.
        self._step = max(max(shape[:2]) // (2 * PANEL), 1)
        self._width = max(shape[1] // self._step, 1)
        self._top = 0
        self._waiting: list[NDArray[Any]] = []
        self._small: list[NDArray[Any]] = []
        self._middle: list[NDArray[Any]] = []

    def add(self, rows: NDArray[Any]) -> None:
        lines, columns = self._centre
        start, stop = (min(max(at - self._top, 0), len(rows)) for at in (lines.start, lines.stop))
        self._middle.append(rows[start:stop, columns].copy())
        self._top += len(rows)
        rows = np.concatenate([*self._waiting, rows[:, : self._width * self._step]])
        whole = len(rows) // self._step
        self._waiting = [rows[whole * self._step :].copy()]
        if whole:
            small = _resize(rows[: whole * self._step], (self._width, whole))
            self._small.append(small)

    def column(self, label: str) -> NDArray[np.uint8]:
        small = _resize(np.concatenate(self._small or self._waiting), self._size)
        return _column(small, np.concatenate(self._middle), label)


def _side_by_side(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.hstack([before, np.full((len(before), GAP, 3), 255, np.uint8), after])


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of a whole photograph in the picture."""
    height, width = shape[:2]
    scale = min(PANEL / max(height, width), 1)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _centre(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns that are shown enlarged."""
    columns, rows = (-(-length // ZOOM) for length in _size(shape))
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def _resize(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return resized.reshape(size[1], size[0], pixels.shape[2])


def _column_of(pixels: NDArray[Any], label: str) -> NDArray[np.uint8]:
    return _column(_resize(pixels, _size(pixels.shape)), pixels[_centre(pixels.shape)], label)


def _column(whole: NDArray[Any], centre: NDArray[Any], label: str) -> NDArray[np.uint8]:
    whole, centre = _to_rgb8(whole), _to_rgb8(centre)
    width = whole.shape[1]
    centre = np.repeat(np.repeat(centre, ZOOM, axis=0), ZOOM, axis=1)[:, :width]
    column = np.vstack([whole, np.full((GAP, width, 3), 255, np.uint8), centre])
    for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(
            column, label, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, thickness, cv2.LINE_AA
        )
    return column


def _to_rgb8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    white = white_of(pixels.dtype)
    values = np.rint(np.clip(pixels.astype(np.float32) / white, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
