"""Random crops of noisy photographs, the same ones however a training is split or resumed."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import CROP, check_seed, philox
from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import white_of

# Pictures of the same place: one noisy photograph, or a noisy and a clean one.
Views = tuple[NDArray[Any], ...]


class Pictures:
    """The pictures of a data set, and all positions of crops in them.

    Parameters
    ----------
    pictures : iterable of (hashable, Views)
        The photograph that the views are part of, and the views, (H, W, 3), none of them smaller
        than the crop.
    crop : int
        Height and width of the crops.
    """

    def __init__(self, pictures: Iterable[tuple[Hashable, Views]], crop: int) -> None:
        self._crop = crop
        photos: dict[Hashable, list[Views]] = {}
        for photo, views in pictures:
            photos.setdefault(photo, []).append(views)
        self._photos = [
            (parts, list(accumulate(self._rows(part) * self._columns(part) for part in parts)))
            for parts in photos.values()
        ]

    def at(self, word: int) -> Views:
        """Return the crops that 64 random bits lead to.

        Each photograph is equally likely, or large ones would leave little to small ones. Within
        a photograph, each position is.
        """
        photo, word = divmod(word * len(self._photos), 1 << 64)
        parts, ends = self._photos[photo]
        position = word * ends[-1] >> 64
        part = bisect_right(ends, position)
        views = parts[part]
        top, left = divmod(position - (ends[part - 1] if part else 0), self._columns(views))
        return tuple(view[top : top + self._crop, left : left + self._crop] for view in views)

    def _rows(self, views: Views) -> int:
        return len(views[0]) - self._crop + 1

    def _columns(self, views: Views) -> int:
        return len(views[0][0]) - self._crop + 1


class Sampler:
    """Draws crops by their number: number n is always the same crop, whoever asks, and when.

    A step takes ``batch_size * world`` crops, one after another in their numbers, and each process
    its part of them. So two processes with a batch of 2 see what one with a batch of 4 sees.

    Parameters
    ----------
    crop : int
        Height and width of the crops.
    batch_size : int
        Crops per step of this process.
    seed : int
        0 to 2**64 - 1; another seed, other crops.
    rank, world : int
        Which process this is, from 0, of how many.

    Raises
    ------
    OptionError
        A number makes no sense.
    """

    def __init__(self, crop: int, batch_size: int, seed: int, rank: int, world: int) -> None:
        for name, value in (("crop size", crop), ("batch size", batch_size)):
            if value < 1:
                raise OptionError(f"The {name} is {value}.", "Give a number above 0.")
        check_seed(seed)
        if not 0 <= rank < world:
            raise OptionError(
                f"There is no process {rank} of {world}.",
                "Count processes from 0 to one below their number.",
            )
        self._crop, self._batch_size, self._seed = crop, batch_size, seed
        self._rank, self._world = rank, world
        self._sources: list[Pictures] = []
        # Where the shares of the sources end, the last one at 1.
        self._ends: list[float] = []

    def numbers(self, step: int) -> range:
        """Return the numbers of the crops that `batch` draws at a step, from 0.

        They are the same ones however a training is split over processes, so they key everything
        that is random about a crop.
        """
        first = (step * self._world + self._rank) * self._batch_size
        return range(first, first + self._batch_size)

    def _draw(self, step: int, views: int) -> NDArray[np.float32]:
        """Draw the crops of a step, (views, batch_size, 3, crop, crop), turned at random."""
        shape = (views, self._batch_size, 3, self._crop, self._crop)
        crops = np.empty(shape, np.float32)
        for place, number in enumerate(self.numbers(step)):
            words = philox(self._seed, number, CROP).random_raw(3)
            which, where, how = (int(word) for word in words)
            source = self._sources[bisect_right(self._ends, (which >> 11) * 2.0**-53)]
            for pixels, target in zip(source.at(where), crops[:, place], strict=True):
                _put(pixels, how, target)
        return crops


class CropSampler(Sampler):
    """Draws crops of noisy photographs; see `Sampler`.

    Parameters
    ----------
    caches : sequence of CropCache
        Data sets. Within one, each photograph is equally likely, and each position in it.
    weights : sequence of float
        How often each data set is drawn, relative to the others; 0 is never.
    crop, batch_size, seed, rank, world
        See `Sampler`.

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
        super().__init__(crop, batch_size, seed, rank, world)
        check_weights(len(caches), weights)
        self.too_small = 0
        drawn = [(cache, weight) for cache, weight in zip(caches, weights, strict=True) if weight]
        for cache, _ in drawn:
            large = [w for w in cache.windows if min(w.height, w.width) >= crop]
            if not large:
                raise nothing_large_enough(cache.windows, crop)
            self.too_small += len({w.photo for w in cache.windows} - {w.photo for w in large})
            self._sources.append(Pictures(((w.photo, (cache.view(w),)) for w in large), crop))
        ends = list(accumulate(weight for _, weight in drawn))
        self._ends = [end / ends[-1] for end in ends]

    def batch(self, step: int) -> NDArray[np.float32]:
        """Draw the crops of one step, from 0, flipped and turned at random.

        Returns
        -------
        numpy.ndarray
            (batch_size, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous.
        """
        crops: NDArray[np.float32] = self._draw(step, 1)[0]
        return crops


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


def _put(pixels: NDArray[Any], how: int, target: NDArray[np.float32]) -> None:
    """Flip and turn a crop as the last three bits of `how` say, and scale it to [0, 1]."""
    white = white_of(pixels.dtype)
    if how & 4:
        pixels = pixels[:, ::-1]
    pixels = np.rot90(pixels, how & 3)
    np.divide(pixels.transpose(2, 0, 1), white, out=target, dtype=np.float32)
