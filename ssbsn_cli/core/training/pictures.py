"""Small pictures to score a network on and to show what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data import CropCache, Pair
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.training.sources import Draw

Notify = Callable[[str], None]

_PICTURE = 256


def read_centres(
    pairs: Sequence[Pair], warn: Notify
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read the centres of pairs, (H, W, 3) float32 in [0, 1]; say which cannot be used."""
    for pair in pairs:
        try:
            noisy, clean = read_pixels(pair.noisy), read_pixels(pair.clean)
        except ImageError as error:
            warn(str(error))
            continue
        if noisy.shape != clean.shape:
            warn(f"{pair.noisy} and {pair.clean} differ in size and are left out.")
            continue
        yield _centre(noisy), _centre(clean)


def _centre(pixels: NDArray[Any]) -> NDArray[np.float32]:
    top, left = (max(length - _PICTURE, 0) // 2 for length in pixels.shape[:2])
    part = pixels[top : top + _PICTURE, left : left + _PICTURE]
    return part.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def picture_of(
    caches: Sequence[CropCache], draws: Sequence[tuple[float, Draw]]
) -> NDArray[np.float32]:
    """Return what previews show: the middle of the first photo, or a crop where there is none."""
    for cache in caches:
        return _centre(cache.view(cache.windows[0]))
    return np.ascontiguousarray(draws[0][1].noisy[0].transpose(1, 2, 0))
