"""Random crops of noisy photographs, the same ones however a training is split or resumed."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError

_TRAINING, _VALIDATION = 0, 1


class _Source:
    """All positions of crops in one data set, numbered."""

    def __init__(self, cache: CropCache, crop: int) -> None:
        self.cache = cache
        self.crop = crop
        self.windows = [w for w in cache.windows if min(w.height, w.width) >= crop]
        large = {window.photo for window in self.windows}
        self.too_small = len({window.photo for window in cache.windows} - large)
        self.ends = list(accumulate(self._rows(w) * self._columns(w) for w in self.windows))

    def _rows(self, window: Window) -> int:
        return window.height - self.crop + 1

    def _columns(self, window: Window) -> int:
        return window.width - self.crop + 1

    def at(self, position: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return a view of the crop at a position, (crop, crop, 3)."""
        number = bisect_right(self.ends, position)
        window = self.windows[number]
        within = position - (self.ends[number - 1] if number else 0)
        top, left = divmod(within, self._columns(window))
        return self.cache.view(window)[top : top + self.crop, left : left + self.crop]


class CropSampler:
    """Draws crops by their number: number n is always the same crop, whoever asks, and when.

    A step of training takes ``batch_size * world`` crops, one after another in their numbers, and
    each process its part of them. So two processes with a batch of 2 see what one with 4 sees.

    Parameters
    ----------
    caches : sequence of CropCache
        Data sets. Within one, each position of a crop is equally likely.
    weights : sequence of float
        How often each data set is drawn, relative to the others; 0 is never.
    crop : int
        Height and width of the crops.
    batch_size : int
        Crops per step of this process.
    seed : int
        0 to 2**64 - 1; another seed, other crops.
    rank, world : int
        Which process this is, from 0, of how many.

    Attributes
    ----------
    too_small : int
        Photographs smaller than the crop, which are never drawn.

    Raises
    ------
    OptionError
        A number makes no sense, or a data set has no photograph as large as the crop.
    """

    def __init__(
        self,
        caches: Sequence[CropCache],
        weights: Sequence[float],
        crop: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _check(len(caches), weights, crop, batch_size, seed, rank, world)
        used = [(cache, w) for cache, w in zip(caches, weights, strict=True) if w > 0]
        self._sources = [_Source(cache, crop) for cache, _ in used]
        for source in self._sources:
            if not source.windows:
                raise _nothing_large_enough(source.cache, crop)
        self.too_small = sum(source.too_small for source in self._sources)
        shares = list(accumulate(weight for _, weight in used))
        self._shares = [share / shares[-1] for share in shares]
        self._crop = crop
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world = world

    def batch(self, step: int) -> NDArray[np.float32]:
        """Draw the crops of one step of training, flipped and turned at random.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        numpy.ndarray
            (batch_size, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous.
        """
        first = (step * self._world + self._rank) * self._batch_size
        return self._draw(range(first, first + self._batch_size), self._seed, _TRAINING)

    def validation_batch(self, count: int) -> NDArray[np.float32]:
        """Draw crops to watch a training by: always the same, whatever the seed and the process.

        Parameters
        ----------
        count : int
            How many; fewer are the first of more.

        Returns
        -------
        numpy.ndarray
            (count, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous; neither flipped nor turned.
        """
        # Without the seed, so that trainings with several seeds can be compared.
        return self._draw(range(count), 0, _VALIDATION)

    def _draw(self, numbers: range, seed: int, stream: int) -> NDArray[np.float32]:
        batch = np.empty((len(numbers), 3, self._crop, self._crop), np.float32)
        for target, number in zip(batch, numbers, strict=True):
            # The raw numbers of Philox are the same in all releases of NumPy, those of its
            # distributions are not; and by key and counter, every crop has numbers of its own.
            bits = np.random.Philox(
                key=np.array([seed, number], np.uint64),
                counter=np.array([0, 0, 0, stream], np.uint64),
            )
            which, where, how = (int(value) for value in bits.random_raw(3))
            source = self._sources[bisect_right(self._shares, (which >> 11) * 2.0**-53)]
            pixels = source.at(where * source.ends[-1] >> 64)
            white = np.iinfo(pixels.dtype).max
            if stream == _TRAINING:
                if how & 4:
                    pixels = pixels[:, ::-1]
                pixels = np.rot90(pixels, how & 3)
            np.divide(pixels.transpose(2, 0, 1), white, out=target, dtype=np.float32)
        return batch


def _check(
    caches: int,
    weights: Sequence[float],
    crop: int,
    batch_size: int,
    seed: int,
    rank: int,
    world: int,
) -> None:
    if not caches or caches != len(weights):
        raise OptionError(
            f"There are {caches} data sets and {len(weights)} weights.",
            "Give one weight for each data set.",
        )
    if not all(w >= 0 and math.isfinite(w) for w in weights) or not sum(weights) > 0:
        raise OptionError(
            f"The weights {', '.join(map(str, weights))} do not say how often to draw.",
            "Give numbers from 0, at least one of them above 0.",
        )
    for name, value in (("crop size", crop), ("batch size", batch_size)):
        if value < 1:
            raise OptionError(f"The {name} is {value}.", "Give a number above 0.")
    if not 0 <= seed < 1 << 64:
        raise OptionError(f"The seed is {seed}.", "Give a number from 0 to 2**64 - 1.")
    if not 0 <= rank < world:
        raise OptionError(
            f"There is no process {rank} of {world}.",
            "Count processes from 0 to one below their number.",
        )


def _nothing_large_enough(cache: CropCache, crop: int) -> OptionError:
    largest = max(cache.windows, key=lambda w: (min(w.height, w.width), w.height * w.width))
    return OptionError(
        f"No photo is as large as the crops, {crop}x{crop}: the largest, {largest.photo}, has "
        f"{largest.width}x{largest.height} pixels.",
        "Ask for smaller crops, or add larger photos.",
    )
