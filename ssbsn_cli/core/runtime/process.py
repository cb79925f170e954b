"""The process: standard input and output, the memory it keeps, signals to stop."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import BinaryIO

from ssbsn_cli.core.errors import OptionError


def stdin() -> BinaryIO:
    """Return standard input; raise OptionError if it is closed."""
    if sys.stdin is None:
        raise OptionError("Standard input is closed.", "Send a photo through a pipe.")
    return sys.stdin.buffer


def stdout() -> BinaryIO:
    """Return standard output; raise OptionError if it is closed."""
    if sys.stdout is None:
        raise OptionError("Standard output is closed.", "Write to a file with -o FILE.")
    return sys.stdout.buffer


# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc.

    By default it returns large arrays to the system at once, and the system clears each page before
    the next use. That takes a third of the time of SS-BSN with 128 channels in bf16.

    References
    ----------
    .. [1] "mallopt(3)", the Linux manual.
    """
    if libc := _glibc():
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _MOST)


def give_back_freed_memory() -> None:
    """Let the C library return what it kept to the system."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


class Interrupt:
    """Whether a signal has asked to stop.

    Attributes
    ----------
    number : int
        The signal; 0 is none.
    """

    def __init__(self) -> None:
        self.number = 0

    def leave(self) -> None:
        """Raise KeyboardInterrupt after SIGINT, or SystemExit after another signal."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number:
            raise SystemExit(128 + self.number)


@contextmanager
def deferred_interrupts() -> Iterator[Interrupt]:
    """Only note a signal that asks to stop while inside; a second one takes effect at once."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread receives signals.
        yield interrupt
        return
    numbers = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _frame: FrameType | None) -> None:
        interrupt.number = number
        for each in numbers:
            signal.signal(each, before[each])

    for number in numbers:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number in numbers:
            signal.signal(number, before[number])
