"""Tiles: their size and positions, how many run at once, and how they blend."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.settings import MIN_TILE, Settings
from ssbsn_cli.core.runtime.device import free_memory
from ssbsn_cli.core.types import count_of
from ssbsn_cli.core.weights.locate import LoadedWeights

# The sides that "auto" chooses from.
_SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64)
# The usual overlap.
OVERLAP = 32
# More tiles at once would take much memory, and photos do not have that many.
_MOST_WORKERS = 16
# Where the system does not tell how much is free.
_ASSUMED_MEMORY = 4 << 30


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Parameters
    ----------
    start, stop : int
        The pixels it covers, ``start <= i < stop``.
    window : array
        Its weight at each pixel, float32, in [0, 1].
    """

    start: int
    stop: int
    window: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How images are cut into tiles.

    Parameters
    ----------
    tile : int
        Largest side of a tile, at least `multiple`; 0 takes the whole image as one.
    overlap : int
        The least number of pixels that neighbouring tiles share, at most half of `tile`.
    multiple : int
        Tiles start at multiples of this; `tile` is rounded down to a multiple, and `overlap` up.
    halo : int
        Pixels at a tile's inner edges that get no weight, but at most a quarter of the overlap:
        what two tiles make of noise differs, which would show where they meet abruptly.
    workers : int
        How many tiles to work on at once, if an image has enough of them.
    room : int
        Pixels that fit into memory at once.
    """

    tile: int = 0
    overlap: int = 0
    multiple: int = 1
    halo: int = 0
    workers: int = 1
    room: int = 0

    def along(self, length: int) -> list[Span]:
        """Cover an axis of `length` pixels with tiles of equal size whose weights sum to one.

        Between neighbours, the weights cross-fade linearly over at least the middle half of the
        overlap. Without overlap, they switch at the seam.
        """
        multiple = self.multiple
        tile = self.tile // multiple * multiple
        overlap = -(-self.overlap // multiple) * multiple
        if tile <= 0 or tile >= length:
            return [Span(0, length, np.ones(length, np.float32))]
        overlap = min(overlap, (tile - 1) // multiple * multiple)

        count = math.ceil((length - overlap) / (tile - overlap))
        # The smallest size for `count` tiles, so that no pixel is computed more often than needed.
        size = -(-(length + (count - 1) * overlap) // (count * multiple)) * multiple
        starts = [
            math.ceil(i * (length - size) / ((count - 1) * multiple)) * multiple
            for i in range(count)
        ]
        stops = [min(start + size, length) for start in starts]
        cuts = [(stop + start) / 2 for stop, start in zip(stops[:-1], starts[1:], strict=True)]
        half_ramp = max(overlap / 2 - self.halo, overlap / 4)

        def crossed(cut: float, start: int, stop: int) -> NDArray[np.float64]:
            """Return how far each pixel lies past a cut: 0 before its ramp, 1 after it."""
            centre = np.arange(start, stop) + 0.5
            return np.clip((centre - cut) / max(2 * half_ramp, 1e-9) + 0.5, 0, 1)

        spans = []
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            entered = crossed(cuts[i - 1], start, stop) if i > 0 else np.ones(stop - start)
            left = crossed(cuts[i], start, stop) if i < count - 1 else np.zeros(stop - start)
            spans.append(Span(start, stop, (entered - left).astype(np.float32)))
        return spans

    def smaller(self, tile: int) -> Tiling:
        """Return the same with tiles of this side; a whole image gets the usual overlap."""
        overlap = min(self.overlap if self.tile else OVERLAP, tile // 2)
        return replace(self, tile=tile, overlap=overlap)

    def scaled(self, factor: Fraction) -> Tiling:
        """Return these tiles in pixels of an image that is `factor` times as large.

        They start where tiles of the smaller image may start, so that they are reduced to the same
        pixels as the whole image. Tiles that are smaller than two such steps start at multiples of
        the numerator, or anywhere.
        """
        if factor == 1:
            return self
        tile, overlap, halo = (int(each * factor) for each in (self.tile, self.overlap, self.halo))
        start = factor.numerator
        multiple = start * (self.multiple // math.gcd(factor.denominator, self.multiple))
        if tile < 2 * multiple:
            multiple = start if tile >= 2 * start else 1
        return replace(self, tile=tile, overlap=overlap, halo=halo, multiple=multiple)


def plan_tiles(
    weights: LoadedWeights, settings: Settings, device: torch.device, dtype: torch.dtype
) -> Tiling:
    """Choose how to cut images for a network that computes in `dtype` on `device`.

    Raises
    ------
    OptionError
        If the requested overlap does not fit the tiles.
    """
    fitting = choose_tile(weights, device, dtype)
    tile = fitting if settings.tile is None else settings.tile
    if tile:
        tile = max(tile, weights.network.size_multiple)
    overlap = settings.overlap
    if overlap is None:
        overlap = min(OVERLAP, tile // 2)
    elif tile and overlap > tile // 2:
        raise OptionError(
            f"An overlap of {count_of(overlap, 'pixel')} does not fit tiles of {tile}.",
            f"Use up to {tile // 2}, or larger tiles with --tile.",
        )
    return Tiling(
        tile=tile,
        overlap=overlap,
        multiple=weights.network.size_multiple,
        halo=weights.descriptor.halo,
        workers=1 if settings.compile == "on" else tiles_at_once(weights, device, dtype, tile),
        room=fitting * fitting,
    )


def choose_tile(weights: LoadedWeights, device: torch.device, dtype: torch.dtype) -> int:
    """Return the side of the fastest tile whose features fit into half of the free memory."""
    best = weights.architecture.best_tile
    if device.type == "cuda" and not weights.network.blind:
        # A GPU computes a layer faster than Python starts it. But blind-spot networks average over
        # tiles, so with other tiles their results would depend on the device.
        best *= 2
    bytes_per_pixel = weights.network.live_features * dtype.itemsize
    budget = _budget(device)
    for tile in _SIDES:
        if tile <= best and tile * tile * bytes_per_pixel <= budget:
            return tile
    return MIN_TILE


def tiles_at_once(
    weights: LoadedWeights, device: torch.device, dtype: torch.dtype, tile: int
) -> int:
    """Return how many tiles of this side to work on at once.

    On a CPU with at most 16 cores: one for each core if the architecture is faster that way, since
    no core then waits for others after each layer. On an NVIDIA GPU: two, so that one is computed
    while the next is read and copied. Otherwise one. Half of the free memory may allow fewer.
    """
    cores = torch.get_num_threads()
    workers = 1
    if device.type == "cuda":
        workers = 2
    elif device.type == "cpu" and weights.architecture.tile_per_core and cores <= _MOST_WORKERS:
        workers = cores
    bytes_per_tile = tile * tile * weights.network.live_features * dtype.itemsize
    fitting = _budget(device) // bytes_per_tile if bytes_per_tile else 1
    return max(1, min(workers, fitting))


def _budget(device: torch.device) -> int:
    """Return the bytes that tiles may take: half of the free memory."""
    free = free_memory(device)
    return (_ASSUMED_MEMORY if free is None else free) // 2
