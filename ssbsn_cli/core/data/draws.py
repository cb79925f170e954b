"""What all samplers share: which process draws which crops, and where the number of one leads."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import white_of

# Streams of random numbers that have nothing to do with each other.
CROP, NOISE, STEP = 0, 2, 3


@dataclass(frozen=True)
class Share:
    """The crops that one process draws, by their numbers.

    A step of training takes ``batch_size * world`` crops, one after another in their numbers, and
    each process its part of them. So two processes with a batch of 2 see what one with 4 sees.

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

    crop: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        for name, value in (("crop size", self.crop), ("batch size", self.batch_size)):
            if value < 1:
                raise OptionError(f"The {name} is {value}.", "Give a number above 0.")
        check_seed(self.seed)
        if not 0 <= self.rank < self.world:
            raise OptionError(
                f"There is no process {self.rank} of {self.world}.",
                "Count processes from 0 to one below their number.",
            )

    def numbers(self, step: int) -> range:
        """Return the numbers of the crops of one step, from 0."""
        first = (step * self.world + self.rank) * self.batch_size
        return range(first, first + self.batch_size)


class Positions:
    """All positions of crops in some photographs.

    Parameters
    ----------
    pictures : iterable of (hashable, int, int)
        The photograph that each picture is part of, its height and its width, none smaller than
        the crop.
    crop : int
        Height and width of the crops.
    """

    def __init__(self, pictures: Iterable[tuple[Hashable, int, int]], crop: int) -> None:
        self._columns: list[int] = []
        photos: dict[Hashable, list[tuple[int, int]]] = {}
        for picture, (photo, height, width) in enumerate(pictures):
            columns = width - crop + 1
            self._columns.append(columns)
            photos.setdefault(photo, []).append((picture, (height - crop + 1) * columns))
        self._photos = [
            ([picture for picture, _ in parts], list(accumulate(count for _, count in parts)))
            for parts in photos.values()
        ]

    def at(self, word: int) -> tuple[int, int, int]:
        """Return the picture, top and left that 64 random bits lead to.

        Each photograph is equally likely, or large ones would leave little to small ones; within
        one, each position is.
        """
        photo, word = divmod(word * len(self._photos), 1 << 64)
        pictures, ends = self._photos[photo]
        position = word * ends[-1] >> 64
        part = bisect_right(ends, position)
        within = position - (ends[part - 1] if part else 0)
        picture = pictures[part]
        return picture, *divmod(within, self._columns[picture])


def philox(seed: int, number: int, stream: int) -> np.random.Philox:
    """Return the random numbers that belong to one crop and to no other.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    number : int
        Of the crop.
    stream : int
        What they are for: `CROP`, `NOISE`, or, with the number of a step, `STEP`.
    """
    # The raw numbers of Philox are the same in all releases of NumPy, those of its
    # distributions are not; and by key and counter, every crop has numbers of its own.
    return np.random.Philox(
        key=np.array([seed, number], np.uint64),
        counter=np.array([0, 0, 0, stream], np.uint64),
    )


def draw(seed: int, number: int) -> tuple[int, int, int]:
    """Return what decides which data set, where in it and how turned a crop is: 64 bits each."""
    which, where, how = (int(value) for value in philox(seed, number, CROP).random_raw(3))
    return which, where, how


def put(pixels: NDArray[Any], how: int, target: NDArray[np.float32]) -> None:
    """Flip and turn a crop, and scale it to [0, 1].

    Parameters
    ----------
    pixels : numpy.ndarray
        (crop, crop, 3) uint8 or uint16.
    how : int
        Its last three bits say how; 0 is upright.
    target : numpy.ndarray
        (3, crop, crop) float32, overwritten.
    """
    white = white_of(pixels.dtype)
    if how & 4:
        pixels = pixels[:, ::-1]
    pixels = np.rot90(pixels, how & 3)
    np.divide(pixels.transpose(2, 0, 1), white, out=target, dtype=np.float32)


def check_seed(seed: int) -> None:
    """Refuse a seed that Philox does not take.

    Raises
    ------
    OptionError
        It is not from 0 to 2**64 - 1.
    """
    if not 0 <= seed < 1 << 64:
        raise OptionError(f"The seed is {seed}.", "Give a number from 0 to 2**64 - 1.")
