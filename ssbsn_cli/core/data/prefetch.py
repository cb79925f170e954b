"""Drawing the next batches while the last one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

_AHEAD = 2

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)


class Batches(Protocol[Batch_co]):
    """What `prefetch` draws from."""

    def batch(self, step: int) -> Batch_co:
        """Draw the batch of one step."""


def prefetch(sampler: Batches[Batch], start: int, stop: int) -> Generator[Batch, None, None]:
    """Yield the batches of some steps, in order, with two more being drawn in a thread.

    The thread ends with the generator: at the end, when it is closed, or by an exception.

    Parameters
    ----------
    sampler : CropSampler, PairSampler or SyntheticPairs
        Anything with ``batch(step)``.
    start, stop : int
        The first step and the one after the last.

    Yields
    ------
    object
        What ``sampler.batch`` returned: an array, or a pair of them.

    Raises
    ------
    Exception
        What ``sampler.batch`` raised, when it is that step's turn.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ssbsn-prefetch") as thread:
        steps = iter(range(start, stop))
        waiting = deque(thread.submit(sampler.batch, step) for step in islice(steps, _AHEAD))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(thread.submit(sampler.batch, step) for step in islice(steps, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
