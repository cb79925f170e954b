"""Work on several cores at once, and batches that a thread draws ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Protocol, TypeVar

import torch

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_thread = threading.local()


@contextmanager
def background_thread() -> Iterator[ThreadPoolExecutor]:
    """Give a thread that does one job after the other, and wait for the last one at the end.

    After an exception, such as an interrupt, nobody waits: its job may take for ever.
    """
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class UnwantedError(Exception):
    """Ends a job whose result nobody waits for."""


def stop_if_unwanted(*_: object) -> None:
    """Raise `UnwantedError` on a thread of a `map_in_order` that has ended early.

    Long jobs call this now and then, so that an interrupt need not wait for them to end.
    """
    unwanted: threading.Event | None = getattr(_thread, "unwanted", None)
    if unwanted is not None and unwanted.is_set():
        raise UnwantedError


def map_in_order(
    work: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int
) -> Generator[_Result]:
    """Do jobs on several threads of one core each, and yield the results in order.

    Parameters
    ----------
    work : callable
        Does one job.
    jobs : iterable
        Each is taken shortly before a thread needs it.
    workers : int
        Number of threads. With 1, the calling thread does the jobs, on all cores that PyTorch has.

    Yields
    ------
    object
        Each job's result. What a job raises is raised here.
    """
    if workers < 2:
        yield from map(work, jobs)
        return
    unwanted = threading.Event()

    def begin() -> None:
        torch.set_num_threads(1)
        _thread.unwanted = unwanted

    pool = ThreadPoolExecutor(workers, initializer=begin)
    running: deque[Future[_Result]] = deque()
    try:
        for job in jobs:
            running.append(pool.submit(work, job))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        unwanted.set()
        pool.shutdown(cancel_futures=True)


_AHEAD = 2

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)


class Batches(Protocol[Batch_co]):
    """What `prefetch` draws from, such as a `CropSampler`."""

    def batch(self, step: int) -> Batch_co:
        """Draw the batch of one step."""


def prefetch(sampler: Batches[Batch], start: int, stop: int) -> Generator[Batch, None, None]:
    """Yield the batches of the steps from `start` to before `stop`, with two more drawn ahead.

    A thread draws them, which ends with the generator: at the end, when it is closed, or by an
    exception. What ``sampler.batch`` raises is raised when it is that step's turn.
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
