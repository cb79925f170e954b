"""Work on several cores at once, one piece each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def map_in_order(
    work: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int
) -> Iterator[_Result]:
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
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    running: deque[Future[_Result]] = deque()
    try:
        for job in jobs:
            running.append(pool.submit(work, job))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
