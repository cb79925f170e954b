"""Work on several cores at once, one piece each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_thread = threading.local()


class UnwantedError(Exception):
    """Ends a job whose result nobody waits for any more."""


def stop_if_unwanted(*_: object) -> None:
    """Raise `UnwantedError` on a thread of a `map_in_order` that has ended early.

    Long jobs call this now and then: who interrupts a program does not want to wait for them.
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
        Asked for the next job no earlier than a thread is about to need it.
    workers : int
        Number of threads. With 1, all is done in this one, on as many cores as PyTorch is given.

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
