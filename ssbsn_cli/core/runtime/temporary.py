"""Temporary files and folders, and claims on files: none outlives its maker for long.

Their maker holds a lock on each, which the system frees however the process ends. Whoever next
makes one in the same folder removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# How the names of all of them begin.
HALF_WRITTEN = ".ssbsn-"
_OURS = re.compile(rf"{re.escape(HALF_WRITTEN)}[0-9a-f]+\.(part|claim)")
# What this process has made and not removed yet, and the descriptor that holds its lock.
_made: dict[Path, int] = {}
# Folders whose leftovers this process has removed.
_swept: set[Path] = set()


@contextmanager
def temporary_file(folder: Path, mode: int = 0o666) -> Iterator[Path]:
    """Make an empty file in a folder that exists, and remove it at the end if it is still there.

    The umask takes some of the permissions of `mode` away.
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
    """Make a folder, for this user alone, in one that exists; remove it and its content at the end.

    On Windows, which does not lock folders, nobody else removes it.
    """
    _sweep(parent)
    path = _unused_name(parent)
    path.mkdir(mode=0o700)
    if sys.platform != "win32":
        _made[path] = os.open(path, os.O_RDONLY)
        _lock(_made[path], wait=True)
    try:
        yield path
    finally:
        _remove(path)


def claim(path: Path) -> bool:
    """Announce that this process makes a file, unless a process that is alive has done so.

    Where the disk has no locks, nobody announces anything, and everybody may make the file.

    Parameters
    ----------
    path : Path
        In a folder that exists.

    Returns
    -------
    bool
        Whether this process may make it. Call `give_up_claim` later.
    """
    claimed = _claim_on(path)
    _sweep(path.parent)
    _remove_abandoned(claimed)
    if claimed.is_symlink():
        # It is not ours, so nobody will remove it.
        return True
    if not _create(claimed, 0o600):
        return False
    if not _lock(_made[claimed]):
        _remove(claimed)
    return True


def give_up_claim(path: Path) -> None:
    """Let other processes make a file, if this one had announced it."""
    claimed = _claim_on(path)
    # Two threads may do so at once, and by then, the claim may be another process's.
    if (descriptor := _made.pop(claimed, None)) is not None:
        _delete(claimed, descriptor)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a temporary file its final name; it replaces what is there."""
    if sys.platform == "win32":
        # There, what is open cannot be moved.
        os.close(_made.pop(temporary))
    temporary.replace(path)


def remove_all() -> None:
    """Remove everything temporary that this process has made, because it is about to end."""
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
    """Make an empty file and lock it, unless there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
    except FileExistsError:
        return False
    _lock(descriptor, wait=True)
    if os.fstat(descriptor).st_nlink:
        _made[path] = descriptor
        return True
    # Another process found it before it was locked, and removed it.
    os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    _delete(path, _made.pop(path, None))


def _delete(path: Path, descriptor: int | None) -> None:
    """Remove a file or a folder, and free its lock only then."""
    if sys.platform == "win32" and descriptor is not None:
        # There, what is open cannot be removed.
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
    """Remove what processes that are no more have left in a folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                _remove_abandoned(folder / entry.name)


def _remove_abandoned(path: Path) -> None:
    """Remove a file or a folder unless its maker is alive; no link is followed."""
    if sys.platform == "win32":
        # There, what is open cannot be removed.
        with contextlib.suppress(OSError):
            path.unlink()
        return
    for access in (os.O_RDWR, os.O_RDONLY):
        # NFS locks only what is open for writing, which a folder cannot be.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                # By now, another process may have made a new file of that name.
                if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.lstat()):
                    _remove(path)
            finally:
                os.close(descriptor)
            return


def _lock(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed; tell whether that worked."""
    if sys.platform == "win32":
        return True
    import fcntl

    # Others may hold the lock, or the disk may have none.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
