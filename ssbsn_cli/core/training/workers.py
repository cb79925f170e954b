"""Processes that draw batches ahead: making noise for a GPU takes more than one core."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.runtime.device import available_cores
from ssbsn_cli.core.runtime.threads import in_order, prefetch
from ssbsn_cli.core.training.batches import Batch, Batches
from ssbsn_cli.core.training.team import told_number

# Each worker draws one batch while a finished one waits.
_AHEAD = 2
_MOST = 32
# From sys/prctl.h.
_PR_SET_PDEATHSIG = 1

# Noisy crops and their targets, in shared memory: copies through a pipe would take milliseconds.
_Slot = NDArray[np.float32]
# What a worker draws, and where it puts that.
_draw: Batches
_slots: Sequence[_Slot]


def choose_workers(asked: int | Literal["auto"], device: torch.device) -> int:
    """Return how many workers each process of a training gets; 0 means a thread.

    For a GPU, "auto" takes all cores but one. A CPU needs its cores for the network.

    Raises
    ------
    OptionError
        This system cannot fork workers that end with the training, or ``torchrun`` did not say
        how many processes there are.
    """
    possible = sys.platform == "linux"
    if asked == "auto":
        # torchrun says how many processes share the machine.
        processes = told_number("LOCAL_WORLD_SIZE", 1)
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
    batch, ahead = draw(first), _AHEAD * workers
    # All that are drawn ahead, and the one in use.
    slots = [_shared((2, *batch.noisy.shape)) for _ in range(ahead + 1)]
    with _started(workers, draw, slots) as pool:
        yield batch
        steps = count(first + 1)
        try:
            for step, stride, alike in in_order(pool, _draw_into_slot, steps, ahead):
                noisy, target = slots[step % len(slots)]
                yield Batch(noisy, noisy if alike else target, stride)
        except BrokenProcessPool:
            raise SsbsnError(
                "A process that draws crops is gone; there may be too little memory for all.",
                "Start the same command with --resume and fewer workers: --set training.workers=1 "
                "(ssbsn denoise: leave out --adapt).",
            ) from None


def _shared(shape: Sequence[int]) -> _Slot:
    """Make an array that forked processes share; files in /dev/shm have no room in containers."""
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    return np.frombuffer(mmap.mmap(-1, size), np.float32).reshape(shape)


@contextlib.contextmanager
def _started(workers: int, draw: Batches, slots: Sequence[_Slot]) -> Iterator[ProcessPoolExecutor]:
    """Fork workers, since all decoded photos would be too much for a pipe."""
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), draw, slots))
    # A forked process lacks the threads that OpenCV thinks it has.
    threads, others = cv2.getNumThreads(), multiprocessing.active_children()
    cv2.setNumThreads(1)
    with warnings.catch_warnings():
        # Python warns of forking while threads run; the workers need none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The first job starts all workers.
        pool.submit(os.getpid)
    cv2.setNumThreads(threads)
    started = set(multiprocessing.active_children()).difference(others)
    try:
        yield pool
    finally:
        # Nobody needs what they are drawing.
        for process in started:
            process.kill()
        pool.shutdown(cancel_futures=True)


def _begin(training: int, draw: Batches, slots: Sequence[_Slot]) -> None:
    """Prepare a worker."""
    global _draw, _slots
    # The worker ends with the training, even if that is killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != training:
        os._exit(0)
    # Ctrl-C reaches all processes of a terminal, but the training stops its workers itself.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    _draw, _slots = draw, slots


def _draw_into_slot(step: int) -> tuple[int, int | None, bool]:
    """Return the step, the stride, and whether the crops are their own targets."""
    batch = _draw(step)
    slot = _slots[step % len(_slots)]
    slot[0], slot[1] = batch.noisy, batch.target
    return step, batch.stride, batch.target is batch.noisy
