"""The process: its standard streams, and signals to stop."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn, TextIO

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.runtime.temporary import remove_all


def stdin() -> BinaryIO:
    """Return standard input; raise OptionError if it is closed."""
    if sys.stdin is None:
        raise OptionError("Standard input is closed.", "Send a photo through a pipe.")
    _block(sys.stdin)
    return sys.stdin.buffer


def stdout() -> BinaryIO:
    """Return standard output; raise OptionError if it is closed."""
    if sys.stdout is None:
        raise OptionError("Standard output is closed.", "Write to a file with -o FILE.")
    _block(sys.stdout)
    return sys.stdout.buffer


def write_out(data: bytes) -> None:
    """Write all bytes to standard output; raises as `stdout` does."""
    stream, rest = stdout(), memoryview(data)
    with named_stdout():
        # With PYTHONUNBUFFERED, the system may take only a part at a time.
        while rest:
            rest = rest[stream.write(rest) :]
        stream.flush()


@contextmanager
def named_stdout() -> Iterator[None]:
    """Let errors of the system inside this block name standard output as their file."""
    try:
        yield
    except OSError as error:
        error.filename = "standard output"
        raise


def _block(stream: TextIO) -> None:
    """Make reads and writes wait for a pipe, even if a parent process made it non-blocking.

    Otherwise, reading would end whenever it is empty, and writing would fail whenever it is full.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.set_blocking(stream.fileno(), True)


def give_up(stream: TextIO) -> None:
    """Discard further output to a stream whose reader is gone or whose disk is full."""
    # Otherwise, the rest of its buffer would fail again when the process ends.
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def flush_streams() -> None:
    """Flush the standard streams; give up those that fail, or Python would complain at exit."""
    for stream in (sys.stdout, sys.stderr):
        # Either is None if it was closed.
        if stream:
            try:
                stream.flush()
            except (OSError, ValueError):
                give_up(stream)


def prepare_streams() -> None:
    """Let the standard streams take any text, and separate Python's stderr from that of libraries.

    Afterwards, `silenced_libraries` silences only the libraries.
    """
    for stream in (sys.stdout, sys.stderr):
        # Characters that a code page lacks, as on Windows, are written as numbers.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        own, encoding = os.dup(sys.stderr.fileno()), sys.stderr.encoding
        # Like the original, it is never closed.
        sys.stderr = os.fdopen(own, "w", 1, encoding, "backslashreplace", closefd=False)


_STDERR = 2


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Discard what C libraries write to standard error, such as warnings about one photo.

    Only one thread at a time may use this.
    """
    try:
        kept = os.dup(_STDERR)
    except OSError:
        # It is closed.
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


_STOP = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
# Seconds that a process gets to end normally.
_GRACE = 1.5
_SHOW_CURSOR = "\x1b[?25h"
# Whether the next signal to stop is only noted; see `deferred_interrupts`.
_deferring = threading.Event()
# Whether deferring is forbidden; see `undeferred_interrupts`.
_undeferred = threading.Event()


def end_on_signals() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end the process normally, and at the latest in two seconds.

    They raise KeyboardInterrupt or SystemExit in the main thread. But that thread may be inside a
    long call, or wait for another thread that is. So another thread ends the process after some
    time in any case; temporary files are removed even then. Signals that were ignored before, as
    with `nohup`, are still ignored.
    """
    reading, writing = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_after_grace, args=(reading,), daemon=True).start()
    for number in _STOP:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind the main thread, so that half-written files are removed on the way out."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def end_at_once(code: object) -> None:
    """End the process as Python does, but leave its memory to the system, which is faster.

    After a signal, do not wait for threads, nor among the processes of ``torchrun``, where threads
    by which they communicate may crash. Does nothing if the `code` is a text that Python prints.
    """
    if code is not None and not isinstance(code, int):
        return
    grouped = os.environ.get("WORLD_SIZE", "1") != "1"
    if not grouped and (code or 0) - 128 not in _STOP:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    flush_streams()
    _end(code or 0)


def _end(code: int) -> None:
    remove_all()
    os._exit(code)


def _end_after_grace(reading: int) -> None:
    """Wait for a signal to stop, and end the process some time later."""
    while True:
        number = os.read(reading, 1)[0]
        if number in _STOP:
            if not _deferring.is_set():
                break
            _deferring.clear()
    time.sleep(_GRACE)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
    _end(128 + number)


class Interrupt:
    """A signal that asked to stop: its `number`, or 0 if there was none."""

    def __init__(self) -> None:
        self.number = 0

    def raise_again(self) -> None:
        """Raise KeyboardInterrupt after SIGINT, or SystemExit after another signal."""
        if self.number:
            _raise(self.number, None)


@contextmanager
def undeferred_interrupts() -> Iterator[None]:
    """Let signals stop even `deferred_interrupts` inside this block: nothing needs saving."""
    _undeferred.set()
    try:
        yield
    finally:
        _undeferred.clear()


@contextmanager
def deferred_interrupts() -> Iterator[Interrupt]:
    """Only note a signal to stop inside this block; a second one takes effect at once."""
    interrupt = Interrupt()
    if _undeferred.is_set() or threading.current_thread() is not threading.main_thread():
        # Only the main thread receives signals.
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in _STOP}
    before = {number: what for number, what in before.items() if what != signal.SIG_IGN}

    def note(number: int, _frame: FrameType | None) -> None:
        interrupt.number = number
        for each in before:
            signal.signal(each, before[each])

    _deferring.set()
    for number in before:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        _deferring.clear()
        for number in before:
            signal.signal(number, before[number])
