"""A picture of before and after, side by side, whole and enlarged."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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
        self._before = _column(before, "before")

    def draw(self, after: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the picture, (h, w, 3) uint8 RGB: whole photos above, enlarged centres below.

        Parameters
        ----------
        after : array
            Same shape as `before`.
        """
        gap = np.full((len(self._before), GAP, 3), 255, np.uint8)
        return np.hstack([self._before, gap, _column(after, "after")])


def _column(pixels: NDArray[Any], label: str) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = min(PANEL / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    whole = _to_rgb8(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    columns, rows = (-(-length // ZOOM) for length in size)
    top, left = (height - rows) // 2, (width - columns) // 2
    centre = _to_rgb8(pixels[top : top + rows, left : left + columns])
    centre = np.repeat(np.repeat(centre, ZOOM, axis=0), ZOOM, axis=1)[:, : size[0]]
    column = np.vstack([whole, np.full((GAP, size[0], 3), 255, np.uint8), centre])
    for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(
            column, label, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, thickness, cv2.LINE_AA
        )
    return column


def _to_rgb8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    white = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    values = np.rint(np.clip(pixels.astype(np.float32) / white, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
