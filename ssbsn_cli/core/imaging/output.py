"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssbsn_cli.core.errors import ImageError

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
        An empty file in the same folder. Whatever ends the block other than its end removes it.

    Raises
    ------
    ImageError
        There is something at `path` that may not be replaced, or the file cannot be written.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _check_target(path, target, overwrite)
        temporary = target.with_name(f".ssbsn-{secrets.token_hex(6)}.part")
        # Unlike tempfile's, the mode of such a file follows the umask.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            if mode is not None:
                temporary.chmod(mode)
            _sync(temporary)
            _check_target(path, target, overwrite)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason, hint = _REASONS.get(
            error.errno or 0, (error.strerror or str(error), "Check the disk and the folder.")
        )
        raise ImageError(f"{path} cannot be written: {reason}.", hint) from error


def _check_target(path: Path, target: Path, overwrite: bool) -> int | None:
    """Return the permissions of the file that would be replaced, if any."""
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


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
