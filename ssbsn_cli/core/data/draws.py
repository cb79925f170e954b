"""Random numbers that depend on a seed and on the number of a crop or a step, never on order."""

from __future__ import annotations

import numpy as np

from ssbsn_cli.core.errors import OptionError

# Independent streams of random numbers. Runs that are resumed rely on these values.
CROP, NOISE, STEP = 0, 2, 3


def philox(seed: int, number: int, stream: int) -> np.random.Philox:
    """Return the random numbers that belong to one crop, or one step, and to no other.

    `stream` says what they are for: `CROP` or `NOISE` for the number of a crop, `STEP` for that of
    a step. The seed is from 0 to 2**64 - 1.
    """
    # The raw numbers of Philox are the same in all releases of NumPy; those of its distributions
    # are not. Key and counter give every crop numbers of its own.
    return np.random.Philox(
        key=np.array([seed, number], np.uint64),
        counter=np.array([0, 0, 0, stream], np.uint64),
    )


def check_seed(seed: int) -> None:
    """Raise an OptionError if a seed is not from 0 to 2**64 - 1, as Philox needs."""
    if not 0 <= seed < 1 << 64:
        raise OptionError(f"The seed is {seed}.", "Give a number from 0 to 2**64 - 1.")
