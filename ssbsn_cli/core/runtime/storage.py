"""Files: the cache directory, files that appear whole or not at all, digests, locks."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssbsn_cli.core.errors import ImageError

CACHE = "SSBSN_CACHE"
# How the name of a file begins that is not written to its end yet.
HALF_WRITTEN = ".ssbsn-"
_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space, or write to another disk."),
    errno.EDQUOT: ("your disk quota is used up", "Free some space, or write to another disk."),
    errno.EACCES: ("you may not write in its folder", "Choose a folder that you may write to."),
    errno.EPERM: ("you may not write in its folder", "Choose a folder that you may write to."),
    errno.EROFS: ("its disk is read-only", "Choose a folder that you may write to."),
    errno.ENOENT: ("its folder does not exist", "Make the folder first, or choose another."),
    errno.ENOTDIR: ("its folder is not a folder", "Choose another folder."),
    errno.ENAMETOOLONG: ("its name is too long", "Choose a shorter name."),
}
_LOCK = ".lock"


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
        Whether this process has the lock: not every disk has locks.

    Raises
    ------
    OSError
        The directory cannot be written to.
    """
    from filelock import FileLock, Timeout

    path = directory / _LOCK
    # Some releases of filelock would empty the file that a link points to.
    if path.is_symlink():
        raise OSError(errno.ELOOP, f"{path} is a link")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
    try:
        yield lock.is_locked
    finally:
        lock.release()


def cache_dir() -> Path:
    """Return the directory of fetched weights: ``SSBSN_CACHE``, or the system's cache."""
    # It takes longer to import than a command's help may.
    import pooch

    chosen = os.environ.get(CACHE)
    return Path(os.path.expanduser(chosen)) if chosen else Path(pooch.os_cache("ssbsn"))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, whatever happens meanwhile.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    content : bytes
        All of the file.
    """
    with _appearing(path) as temporary:
        temporary.write_bytes(content)


def record_path(path: Path) -> Path:
    """Return where the digest of `path` is recorded; ``sha256sum -c`` reads such files."""
    return path.with_name(path.name + ".sha256")


def read_record(path: Path) -> str | None:
    """Return the recorded digest of `path`; None if there is none that makes sense."""
    try:
        text = record_path(path).read_text("ascii")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    match = re.match(r"([0-9a-f]{64})\s", text)
    return match[1] if match else None


def write_record(path: Path, digest: str) -> None:
    """Record the digest of `path`."""
    # One record a file: two processes that fetch different files never write the same one.
    write_atomically(record_path(path), f"{digest}  {path.name}\n".encode("ascii"))


@contextmanager
def atomic_output(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file to write to, and move it into place once it is written.

    Parameters
    ----------
    path : Path
        Where the result is to be. A link is followed.
    overwrite : bool
        Whether a file that is there already may be replaced; its permissions are kept.

    Yields
    ------
    Path
        An empty file in the same folder. It is removed if the block does not reach its end.

    Raises
    ------
    ImageError
        There is something at `path` that may not be replaced, or the file cannot be written.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _check_target(path, target, overwrite)
        with _appearing(target, lambda: _check_target(path, target, overwrite)) as temporary:
            yield temporary
            if mode is not None:
                temporary.chmod(mode)
    except OSError as error:
        reason, hint = _REASONS.get(
            error.errno or 0, (error.strerror or str(error), "Check the disk and the folder.")
        )
        raise ImageError(f"{path} cannot be written: {reason}.", hint) from error


def _check_target(path: Path, target: Path, overwrite: bool) -> int | None:
    """Return the permissions of the file that would be replaced; None if there is none."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path} is a folder.", "Name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is not a regular file.", "Choose another name.")
    if not overwrite:
        raise ImageError(
            f"{path} exists already.",
            "Choose another name, or allow replacing it with --overwrite.",
        )
    return stat.S_IMODE(status.st_mode)


@contextmanager
def _appearing(path: Path, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """Give an empty file to write to, which `path` becomes at the end unless `check` raises."""
    # Not in a temporary folder: an interrupt while that is removed can come out as an OSError.
    temporary = path.with_name(f"{HALF_WRITTEN}{secrets.token_hex(6)}.part")
    # Unlike tempfile's, the mode of such a file follows the umask.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        # Without this, a power cut could leave the new name with nothing behind it.
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        check()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
