"""Temporary files and folders, claims on files, and locks. None outlives its process for long.

The process that makes them holds a lock on each, which the system frees when the process ends for
any reason. The next process that makes one in the same folder removes those that are not locked.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# The beginning of all their names.
HALF_WRITTEN = ".ssbsn-"
_SECONDS_BETWEEN_CLAIMS = 0.2
_OURS = re.compile(rf"{re.escape(HALF_WRITTEN)}[0-9a-f]+\.(part|claim)")
# What this process has made and not yet removed, and the descriptors that hold the locks.
_made: dict[Path, int] = {}
# Folders whose leftovers this process has removed.
_swept: set[Path] = set()


@contextmanager
def temporary_file(folder: Path, mode: int = 0o666) -> Iterator[Path]:
    """Make an empty file in an existing folder, and remove it at the end if it is still there.

    The umask removes some of the permissions in `mode`.
    """
    _sweep(folder)
    while not _create(path := _unused_name(folder), mode):
        pass
    try:
        yield path
    finally:
        _remove(path)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for this user only, in an existing one; remove it with its contents at the end.

    Windows does not lock folders, so there no other process removes it.
    """
    _sweep(parent)
    while not _create_folder(path := _unused_name(parent)):
        pass
    try:
        yield path
    finally:
        _remove(path)


def claim(path: Path) -> bool:
    """Claim the making of a file for this process, unless another live process has claimed it.

    Its folder must exist. Returns whether this process may make the file, and must later call
    `give_up_claim`. If the disk has no locks, there are no claims, and every process may. Raises
    OSError if the folder cannot be written to.
    """
    claimed = _claim_on(path)
    _sweep(path.parent)
    if claimed.is_symlink():
        # It is not one of ours, so nobody will remove it.
        return True
    # Other users must be able to tell whether this process lives.
    while not _create(claimed, 0o666):
        _remove_abandoned(claimed)
        if os.path.lexists(claimed):
            # What cannot be removed may be left from another user, or the disk has no locks.
            return not _is_held(claimed)
    if not _lock(_made[claimed]):
        _remove(claimed)
    return True


def give_up_claim(path: Path) -> None:
    """Let other processes make a file that this one has claimed, if it has."""
    claimed = _claim_on(path)
    # Two threads may do this at once; later, the claim may be another process's.
    if (descriptor := _made.pop(claimed, None)) is not None:
        _delete(claimed, descriptor)


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time make a file or a folder, on which each has a claim meanwhile.

    `waiting` is called if another process has it. OSError is raised as by `claim`.
    """
    if not claim(path):
        waiting()
        while not claim(path):
            time.sleep(_SECONDS_BETWEEN_CLAIMS)
    try:
        yield
    finally:
        give_up_claim(path)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a temporary file its final name; it replaces an existing file."""
    if sys.platform == "win32":
        # Windows cannot move open files.
        os.close(_made.pop(temporary))
    temporary.replace(path)


def remove_all() -> None:
    """Remove everything temporary that this process has made, before it ends."""
    for path in list(_made):
        with contextlib.suppress(OSError):
            _remove(path)


def _claim_on(path: Path) -> Path:
    # Imported here, so that --help need not wait for it.
    import hashlib

    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.parent / f"{HALF_WRITTEN}{name}.claim"


def _unused_name(folder: Path) -> Path:
    return folder / f"{HALF_WRITTEN}{os.urandom(6).hex()}.part"


def _create(path: Path, mode: int) -> bool:
    """Make an empty file and lock it, unless it exists; return whether that worked."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
    except FileExistsError:
        return False
    return _hold(path, descriptor)


def _create_folder(path: Path) -> bool:
    """Make a folder and lock it; return whether that worked."""
    path.mkdir(mode=0o700)
    if sys.platform == "win32":
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        # Another process has found and removed it.
        return False
    return _hold(path, descriptor)


def _hold(path: Path, descriptor: int) -> bool:
    """Lock what was just made, unless another process found it before that, and removed it."""
    _lock(descriptor, wait=True)
    if os.fstat(descriptor).st_nlink:
        _made[path] = descriptor
        return True
    os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    _delete(path, _made.pop(path, None))


def _delete(path: Path, descriptor: int | None) -> None:
    """Remove a file or a folder, and then free its lock."""
    if sys.platform == "win32" and descriptor is not None:
        # Windows cannot remove open files.
        os.close(descriptor)
        descriptor = None
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what dead processes have left in a folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                _remove_abandoned(folder / entry.name)


def _remove_abandoned(path: Path) -> None:
    """Remove a file or a folder unless its process is alive; follow no links."""
    if sys.platform == "win32":
        # Windows cannot remove open files.
        with contextlib.suppress(OSError):
            path.unlink()
        return
    with contextlib.suppress(OSError), _opened(path) as descriptor:
        # By now, another process may have made a new file with that name.
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.lstat()):
            _remove(path)


def _is_held(path: Path) -> bool:
    """Return whether a living process certainly holds a claim."""
    if sys.platform == "win32":
        # What is not open has just been removed.
        return True
    import fcntl

    try:
        with _opened(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a file or a folder, but follow no links."""
    careful = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        # NFS only locks what is open for writing.
        descriptor = os.open(path, os.O_RDWR | careful)
    except OSError:
        # Folders, and files of others, can only be read.
        descriptor = os.open(path, os.O_RDONLY | careful)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed; return whether that worked."""
    if sys.platform == "win32":
        return True
    import fcntl

    # Another process may hold the lock, or the disk may have no locks.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
