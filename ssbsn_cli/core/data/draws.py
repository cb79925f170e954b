"""Random numbers that depend only on a seed and on the number of a crop or a step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ssbsn_cli.core.errors import OptionError

# Independent streams of random numbers. Resumed runs rely on these values.
CROP, NOISE, STEP = 0, 2, 3


def philox(seed: int, number: int, stream: int) -> np.random.Philox:
    """Return the random numbers that belong only to one crop or one step.

    Parameters
    ----------
    seed, number : int
        The seed, from 0 to 2**64 - 1, and the number of the crop or the step.
    stream : int
        Their purpose: `CROP` or `NOISE` of a crop, or `STEP`.
    """
    # The raw numbers of Philox are the same in all releases of NumPy, unlike its distributions. Key
    # and counter give every crop its own numbers.
    return np.random.Philox(
        key=np.array([seed, number], np.uint64),
        counter=np.array([0, 0, 0, stream], np.uint64),
    )


@dataclass(frozen=True)
class Batching:
    """The numbers of the crops that a process draws, and the seed that decides their contents.

    A step takes ``batch_size * world`` crops with consecutive numbers, and each process draws its
    part of them. So two processes with a batch of 2 see the same crops as one with a batch of 4.

    Parameters
    ----------
    batch_size : int
        How many crops this process draws per step.
    seed : int
        0 to 2**64 - 1.
    rank, world : int
        The number of this process, from 0, and the number of processes.
    """

    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    def numbers(self, step: int) -> range:
        """Return the numbers of a step's crops; steps count from 0. They decide all randomness."""
        first = (step * self.world + self.rank) * self.batch_size
        return range(first, first + self.batch_size)

    def generators(self, step: int) -> list[np.random.Generator]:
        """Return, for each crop of a step, the random generator of its noise."""
        return [
            np.random.Generator(philox(self.seed, number, NOISE)) for number in self.numbers(step)
        ]


class Shares:
    """How often each of several things is drawn, relative to the others; 0 is never.

    Raises
    ------
    OptionError
        The shares are not numbers from 0, or none is above 0.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        if not all(0 <= share < math.inf for share in shares) or not any(shares):
            raise OptionError(
                f"Shares of {', '.join(map(str, shares))} do not say how often to draw each.",
                "Give numbers from 0, at least one of them above 0.",
            )
        ends = list(accumulate(shares))
        self._ends = [end / ends[-1] for end in ends]

    def pick(self, bits: int) -> int:
        """Return the index of the thing that 64 random `bits` select."""
        return bisect_right(self._ends, (bits >> 11) * 2.0**-53)
