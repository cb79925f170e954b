"""What of a photograph is kept when there is no room for all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cut(
    pixels: NDArray[Any],
    room: int,
    among: int,
    side: int,
    alignment: int,
    rng: np.random.Generator,
) -> list[tuple[int, int, NDArray[Any]]]:
    """Cut a photograph to its fair share of the room.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, 3) integers.
    room : int
        Bytes that are left.
    among : int
        How many photographs share them, this one included.
    side : int
        Height and width of windows, but no more than the photograph has.
    alignment : int
        What is kept takes a multiple of so many bytes.
    rng : numpy.random.Generator
        Chooses the windows.

    Returns
    -------
    list of (int, int, numpy.ndarray)
        Top, left and view of the photograph, or of windows of it, maybe none, that take no more
        than `room`. By the same `rng`, fewer windows are the first of more: pairs rely on it.
    """
    share = room / among
    height, width, _ = pixels.shape
    if _aligned(pixels.nbytes, alignment) <= share:
        return [(0, 0, pixels)]
    rows, columns = min(side, height), min(side, width)
    cost = _aligned(rows * columns * 3 * pixels.itemsize, alignment)
    # Rounded at random: where no share has room for a window, some photographs get one.
    count = min(int(share / cost + rng.random()), room // cost)
    windows = []
    for _ in range(count):
        top, left = map(int, rng.integers((height - rows + 1, width - columns + 1)))
        windows.append((top, left, pixels[top : top + rows, left : left + columns]))
    return windows


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
