"""Random crops of noisy photographs, the same ones however a training is split or resumed."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import Positions, Share, draw, put
from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError


class _Source:
    """One data set, and all positions of crops in it."""

    def __init__(self, cache: CropCache, crop: int) -> None:
        self._cache = cache
        self._windows = [w for w in cache.windows if min(w.height, w.width) >= crop]
        if not self._windows:
            raise nothing_large_enough(cache.windows, crop)
        large = {window.photo for window in self._windows}
        self.too_small = len({window.photo for window in cache.windows} - large)
        self._positions = Positions(((w.photo, w.height, w.width) for w in self._windows), crop)
        self._crop = crop

    def at(self, word: int) -> NDArray[Any]:
        """Return a view of the crop that 64 random bits lead to, (crop, crop, 3)."""
        number, top, left = self._positions.at(word)
        pixels = self._cache.view(self._windows[number])
        return pixels[top : top + self._crop, left : left + self._crop]


class CropSampler:
    """Draws crops by their number: number n is always the same crop, whoever asks, and when.

    Two processes with a batch of 2 see, in turn, what one with a batch of 4 sees.

    Parameters
    ----------
    caches : sequence of CropCache
        Data sets. Within one, each photograph is equally likely, and each position in it.
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
        check_weights(len(caches), weights)
        self._share = Share(crop, batch_size, seed, rank, world)
        used = [(cache, w) for cache, w in zip(caches, weights, strict=True) if w > 0]
        self._sources = [_Source(cache, crop) for cache, _ in used]
        self.too_small = sum(source.too_small for source in self._sources)
        shares = list(accumulate(weight for _, weight in used))
        self._shares = [share / shares[-1] for share in shares]

    def numbers(self, step: int) -> range:
        """Tell which crops `batch` draws at a step: what is random about one is keyed by these.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        range
            Their numbers, the same ones however a training is split over processes.
        """
        return self._share.numbers(step)

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
        crop = self._share.crop
        batch = np.empty((self._share.batch_size, 3, crop, crop), np.float32)
        for target, number in zip(batch, self.numbers(step), strict=True):
            which, where, how = draw(self._share.seed, number)
            source = self._sources[bisect_right(self._shares, (which >> 11) * 2.0**-53)]
            put(source.at(where), how, target)
        return batch


def check_weights(caches: int, weights: Sequence[float]) -> None:
    """Raise an OptionError if weights do not say how often each of some data sets is drawn."""
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


def nothing_large_enough(windows: Iterable[Window], crop: int) -> OptionError:
    """Return the error that says that none of some windows is as large as a crop."""
    largest = max(windows, key=lambda w: (min(w.height, w.width), w.height * w.width))
    return OptionError(
        f"No photo is as large as the crops, {crop}x{crop}: the largest, {largest.photo}, has "
        f"{largest.width}x{largest.height} pixels.",
        "Ask for smaller crops, or add larger photos.",
    )
