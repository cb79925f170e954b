"""Ending a training between two steps instead of within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
        """End as the signal asks.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            After SIGINT; after another.
        """
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number:
            raise SystemExit(128 + self.number)


@contextmanager
def deferred_interrupts() -> Iterator[Interrupt]:
    """Note signals that ask to stop while inside, not obey; a second one is obeyed at once."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread alone.
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
