"""One builder of caches at a time in a directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = ".lock"


@contextmanager
def locked(directory: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Keep other processes from building caches in a directory; wait for one that does.

    The system frees the lock when a process ends, however it ends.

    Parameters
    ----------
    directory : Path
        It exists.
    waiting : callable
        Called if another process has the lock.

    Yields
    ------
    bool
        Whether this process is the only one for sure: not every system and disk has locks.

    Raises
    ------
    OSError
        The directory cannot be written to.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    with (directory / _NAME).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone
