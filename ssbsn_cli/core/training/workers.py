"""Processes that draw batches ahead: making noise for a GPU takes more than one core."""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from itertools import count
from multiprocessing.connection import Connection
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.runtime.device import available_cores
from ssbsn_cli.core.runtime.threads import prefetch
from ssbsn_cli.core.training.batches import Batch, Batches

# Each worker draws one batch while a finished one waits.
_SLOTS = 2
_MOST = 32
# Noisy crops and their targets, in shared memory.
_Slot = NDArray[np.float32]


def choose_workers(asked: int | Literal["auto"], device: torch.device) -> int:
    """Return how many workers each process of a training gets; 0 means a thread.

    For a GPU, "auto" takes all cores but one. A CPU needs its cores for the network.

    Raises
    ------
    OptionError
        This system cannot share memory with workers.
    """
    possible = sys.platform == "linux"
    if asked == "auto":
        # torchrun says how many processes share the machine.
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        cores = min(available_cores() // processes - 1, _MOST)
        return cores if possible and device.type != "cpu" and cores > 1 else 0
    if asked and not possible:
        raise OptionError("training.workers needs Linux.", "Use --set training.workers=0.")
    return asked


def draw_ahead(draw: Batches, first: int, workers: int) -> Generator[Batch]:
    """Yield the batches of step `first` and all later ones, drawn ahead.

    They do not depend on the number of `workers`; without workers, a thread draws them. All have
    the shape of the first one. Each may be used until the next one is requested. Errors of `draw`
    are raised when it is that step's turn.

    Raises
    ------
    SsbsnError
        A worker is gone.
    """
    if not workers:
        with contextlib.closing(prefetch(draw, first)) as batches:
            yield from batches
        return
    batch = draw(first)
    with _started(draw, workers, (2, *batch.noisy.shape)) as pool:
        for step in range(first + 1, first + 1 + _SLOTS * workers):
            pool[step % workers].ask(step)
        yield batch
        for step in count(first + 1):
            worker = pool[step % workers]
            yield worker.batch()
            worker.ask(step + _SLOTS * workers)


class _Worker:
    """A process that draws batches, one after the other, into slots in shared memory.

    It is forked, because all decoded photos would be too much for a pipe.
    """

    def __init__(self, draw: Batches, shape: Sequence[int], earlier: Sequence[_Worker]) -> None:
        size = math.prod(shape) * np.dtype(np.float32).itemsize
        # No files in /dev/shm, which is small in containers.
        self._slots = [
            np.frombuffer(mmap.mmap(-1, size), np.float32).reshape(shape) for _ in range(_SLOTS)
        ]
        self._asked = self._taken = 0
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        # A pipe end that stays open in another process would keep a worker waiting forever.
        unwanted = [self._pipe, *(worker._pipe for worker in earlier)]
        self._process = context.Process(
            target=_serve, args=(draw, theirs, self._slots, unwanted), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, step: int) -> None:
        """Request the batch of a step."""
        # If the worker is gone, `batch` says so.
        with contextlib.suppress(OSError):
            self._pipe.send((step, self._asked % _SLOTS))
        self._asked += 1

    def batch(self) -> Batch:
        """Wait for the next requested batch."""
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise SsbsnError(
                "A process that draws crops is gone; there may be too little memory for all.",
                "Start the same command with --resume and fewer --set training.workers.",
            ) from None
        if isinstance(answer, Exception):
            raise answer
        noisy, target = self._slots[self._taken % _SLOTS]
        self._taken += 1
        stride, alike = answer
        return Batch(noisy, noisy if alike else target, stride)

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


@contextlib.contextmanager
def _started(draw: Batches, workers: int, shape: Sequence[int]) -> Iterator[list[_Worker]]:
    pool: list[_Worker] = []
    # A forked process lacks the threads that OpenCV thinks it has.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with warnings.catch_warnings():
            # Python warns of forking while threads run; the workers need none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            for _ in range(workers):
                pool.append(_Worker(draw, shape, pool))
        cv2.setNumThreads(threads)
        yield pool
    finally:
        for worker in pool:
            worker.stop()


def _serve(
    draw: Batches, pipe: Connection, slots: Sequence[_Slot], unwanted: Sequence[Connection]
) -> None:
    """Draw requested batches until the training is gone."""
    # Ctrl-C reaches all processes of a terminal, but the training stops its workers itself.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in unwanted:
        other.close()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            step, place = pipe.recv()
            try:
                batch = draw(step)
            except Exception as error:
                pipe.send(error)
                continue
            slots[place][0] = batch.noisy
            slots[place][1] = batch.target
            pipe.send((batch.stride, batch.target is batch.noisy))
    # Skip Python's clean-up at exit, which belongs to the training.
    os._exit(0)
