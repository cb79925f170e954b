"""Threads: work on several cores at once, and results that are computed ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

import torch

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_thread = threading.local()


@contextmanager
def background_thread() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread that does one job after the other, and wait for the last one at the end.

    After an exception, such as an interrupt, there is no wait: its job may take forever.
    """
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class _UnwantedError(Exception):
    """Ends a job whose result is no longer needed."""


def stop_if_unwanted(*_: object) -> None:
    """Raise `_UnwantedError` on a thread of a `map_in_order` that has ended early.

    Long jobs call this regularly, so that an interrupt need not wait for them to end.
    """
    unwanted: threading.Event | None = getattr(_thread, "unwanted", None)
    if unwanted is not None and unwanted.is_set():
        raise _UnwantedError


def map_in_order(
    work: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int
) -> Generator[_Result]:
    """Do jobs on several single-core threads, and yield the results, or raise errors, in order.

    Each job is taken shortly before a thread needs it. With one worker, the calling thread does the
    jobs, on all of PyTorch's cores.
    """
    if workers < 2:
        yield from map(work, jobs)
        return
    unwanted = threading.Event()

    def begin() -> None:
        torch.set_num_threads(1)
        _thread.unwanted = unwanted

    pool = ThreadPoolExecutor(workers, initializer=begin)
    try:
        yield from in_order(pool, work, jobs, workers)
    finally:
        unwanted.set()
        pool.shutdown(cancel_futures=True)


_AHEAD = 2


def prefetch(draw: Callable[[int], _Result], start: int) -> Generator[_Result]:
    """Yield `draw` of `start`, ``start + 1`` and so on, while two more are drawn ahead.

    A thread draws them. It ends with the generator, when that is closed or fails. Errors of `draw`
    are raised when it is that number's turn.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="ssbsn-prefetch")
    try:
        yield from in_order(thread, draw, count(start), _AHEAD)
    finally:
        thread.shutdown(cancel_futures=True)


def in_order(
    pool: Executor, work: Callable[[_Job], _Result], jobs: Iterable[_Job], ahead: int
) -> Iterator[_Result]:
    """Yield the results of jobs, and do some of the next jobs ahead."""
    running: deque[Future[_Result]] = deque()
    for job in jobs:
        running.append(pool.submit(work, job))
        if len(running) > ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
