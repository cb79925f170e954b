"""Files: the cache folder, atomic writing, digests, and which places are refused."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ssbsn_cli.core.errors import ImageError, OptionError, SsbsnError
from ssbsn_cli.core.runtime.temporary import move_into_place, temporary_file

CACHE = "SSBSN_CACHE"
# Why a file cannot be written, and what may be done about it.
_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("your disk quota is used up", "Free some space"),
    errno.EFBIG: ("a limit on the size of files stops it", "Raise the limit"),
    errno.EACCES: ("you may not write in its folder", ""),
    errno.EPERM: ("you may not write in its folder", ""),
    errno.EROFS: ("its disk is read-only", ""),
    errno.ENOENT: ("its folder does not exist", "Make the folder first"),
    errno.ENOTDIR: ("its folder is not a folder", ""),
    errno.EEXIST: ("its folder is not a folder", ""),
    errno.ELOOP: ("its path is a circle of links", ""),
    errno.ENAMETOOLONG: ("its name is too long", "Choose a shorter name"),
}
_ACL = "system.posix_acl_access"


def cache_dir() -> Path:
    """Return the folder of fetched weights and of all caches, created for this user only.

    ``SSBSN_CACHE`` names it; otherwise, it is a folder in the system's place for caches. If it
    cannot be created, writing to it fails later.

    Raises
    ------
    SsbsnError
        The user has no home folder, and ``SSBSN_CACHE`` is not set.
    """
    # Importing it takes longer than a command's help may.
    import pooch

    chosen = os.environ.get(CACHE)
    try:
        path = Path(os.path.expanduser(chosen or pooch.os_cache("ssbsn")))
    except RuntimeError:
        path = Path("~")
    if chosen and str(path).startswith("~"):
        raise SsbsnError(f"{CACHE} is {chosen}, and there is no such user.", "Name a folder.")
    if not chosen and not path.is_absolute():
        raise SsbsnError(
            "There is no place for the cache, because this user has no home folder.",
            f"Set {CACHE} to a folder that you may write to.",
        )
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def real_path(path: Path) -> Path:
    """Return the absolute path behind all links. Unlike `Path.resolve`, it allows circular ones."""
    return Path(os.path.realpath(path))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_digest(value: object) -> str:
    """Return 32 hexadecimal digits that identify a value by its `repr`."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:32]


def write_atomically(path: Path, content: bytes) -> None:
    """Write or replace a file so that nobody ever sees only a part of it, whatever happens."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write or replace files that belong together: in their order, once all are written."""
    with ExitStack() as stack:
        # They get their names when the stack unwinds, the last one first.
        for path, content in reversed(list(contents.items())):
            stack.enter_context(_appearing(path)).write_bytes(content)


@contextmanager
def atomic_output(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary file to write to, and move it into place when it is written.

    Parameters
    ----------
    path : Path
        The place of the result. Links are followed.
    overwrite : bool
        Whether an existing file may be replaced. Its owner and permissions are kept, and at no time
        can others read what they could not read before.

    Yields
    ------
    Path
        An empty file in the same folder. It is removed if the block does not reach its end.

    Raises
    ------
    ImageError
        `path` exists and may not be replaced, or the file cannot be written.
    """
    with _explained_as_unwritable(path):
        target = real_path(path)
        old = _check_target(path, target, overwrite)

        def finish(temporary: Path) -> None:
            _check_target(path, target, overwrite)
            if old:
                _take_over(temporary, target, old)

        with _appearing(target, finish, 0o600 if old else 0o666) as temporary:
            yield temporary


def write_output(path: Path, content: bytes, overwrite: bool) -> None:
    """Write the content of a file; the place, `overwrite` and errors are as in `atomic_output`."""
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(content)


def way_out(error: OSError) -> str:
    """Return what to do first, without a full stop, if a file cannot be written."""
    return _REASONS.get(error.errno or 0, ("", ""))[1] or "Check the path and its permissions"


def explain_unwritable(
    place: object, error: OSError, instead: str = "choose another folder"
) -> tuple[str, str]:
    """Return a sentence that says why a file cannot be written, and one that says what to do.

    `instead` is the way out that always works.
    """
    reason, first = _REASONS.get(error.errno or 0, (error.strerror or str(error), way_out(error)))
    hint = f"{first}, or {instead}." if first else f"{instead[0].upper()}{instead[1:]}."
    return f"{place} cannot be written: {reason}.", hint


def is_full(error: BaseException | None) -> bool:
    """Return whether an error means that a disk or its quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_folder_of(path: Path) -> None:
    """Create the folder of a result if it is missing; raise ImageError if that is impossible."""
    with _explained_as_unwritable(path):
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_unwritable(path.parent)
        # This fails if the name is too long.
        with contextlib.suppress(FileNotFoundError):
            path.lstat()


def check_folder_of(path: Path) -> None:
    """Raise ImageError if the folder of a result cannot be made or written to; change nothing."""
    with _explained_as_unwritable(path):
        _refuse_unwritable(next(each for each in path.absolute().parents if each.exists()))


def _refuse_unwritable(folder: Path) -> None:
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "")
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "")


@contextmanager
def _explained_as_unwritable(path: Path) -> Iterator[None]:
    """Turn an OSError inside into an ImageError that says why `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise ImageError(*explain_unwritable(path, error)) from error


def _check_target(path: Path, target: Path, overwrite: bool) -> os.stat_result | None:
    """Return the status of the file that would be replaced, or None if there is none."""
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
            f"{path} already exists.",
            "Choose another name, or allow replacing it with --overwrite.",
        )
    return status


def _take_over(new: Path, replaced: Path, old: os.stat_result) -> None:
    """Give a file the owner, group, permissions and attributes of the file that it replaces."""
    mode = stat.S_IMODE(old.st_mode)
    # The file may keep another group, or not get the old list of who may read it. Then the group
    # gets no more rights than everybody.
    cautious = mode & ~0o070 | (mode & 0o007) << 3
    if sys.platform != "win32":
        try:
            os.chown(new, -1, old.st_gid)
        except OSError:
            mode = cautious
        with contextlib.suppress(OSError):
            os.chown(new, old.st_uid, -1)
    kept, inherited = (_attributes(each) for each in (replaced, new))
    for name in inherited.keys() - kept.keys():
        with contextlib.suppress(OSError):
            os.removexattr(new, name)
    new.chmod(mode)
    for name, value in kept.items():
        try:
            os.setxattr(new, name, value)
        except OSError:
            if name == _ACL:
                new.chmod(cautious)


def _attributes(path: Path) -> dict[str, bytes]:
    """Return a file's extended attributes of users, and its list of who may read it."""
    if sys.platform != "linux":
        return {}
    try:
        names = [name for name in os.listxattr(path) if name == _ACL or name.startswith("user.")]
        return {name: os.getxattr(path, name) for name in names}
    except OSError:
        return {}


@contextmanager
def _appearing(
    path: Path, finish: Callable[[Path], None] = lambda _: None, mode: int = 0o666
) -> Iterator[Path]:
    """Yield an empty file to write to, and move it to `path` at the end unless `finish` raises."""
    # Not in a temporary folder: an interrupt while removing that can appear as an OSError.
    with temporary_file(path.parent, mode) as temporary:
        yield temporary
        # Without this, a power cut could leave an empty file under the new name.
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        finish(temporary)
        move_into_place(temporary, path)


def refuse_output(path: Path, overwrite: bool) -> None:
    """Raise an OptionError if a file cannot be written, before time is spent on its contents."""
    target = real_path(path)
    try:
        with _explained_as_unwritable(path):
            _check_target(path, target, overwrite)
            _refuse_unwritable(target.parent)
    except ImageError as error:
        raise OptionError(str(error), error.hint) from None


def refuse_links(path: Path, count: int) -> None:
    """Raise ImageError if one of the last `count` parts of a path is a link: nobody named them."""
    for part in (path, *path.parents)[:count]:
        if part.is_symlink():
            raise ImageError(
                f"{path} cannot be written: {part} is a link, and might lead anywhere.",
                "Remove it, or name the place that it leads to.",
            )
