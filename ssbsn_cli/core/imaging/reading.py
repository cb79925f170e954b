"""Reading photographs of every known format."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import BinaryIO

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging.adjust import upright
from ssbsn_cli.core.imaging.formats import LABELS, sniff
from ssbsn_cli.core.imaging.jpeg import decode_jpeg
from ssbsn_cli.core.imaging.photo import Photo, Refusal, damaged
from ssbsn_cli.core.imaging.png import decode_png
from ssbsn_cli.core.imaging.simple import decode_bmp, decode_pnm, decode_webp
from ssbsn_cli.core.imaging.tiff_read import decode_tiff

_DECODERS: dict[str, Callable[[bytes], Photo]] = {
    "jpeg": decode_jpeg,
    "png": decode_png,
    "webp": decode_webp,
    "bmp": decode_bmp,
    "pnm": decode_pnm,
}
HEAD = 4096


def read_photo(source: Path | bytes, name: str | None = None) -> Photo:
    """Read a photograph and turn it the right way up.

    Parameters
    ----------
    source : Path or bytes
        A file, or its content. Its format is told by the content.
    name : str, optional
        What to call it in messages; the path if there is one.

    Returns
    -------
    Photo
        Pixels in the depth of the file. Its metadata ask for no turning any more.

    Raises
    ------
    ImageError
        It cannot be read; the message names it and says why.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), name or "The input")
    name = name or str(source)
    try:
        with source.open("rb") as stream:
            return _read(stream if stream.seekable() else io.BytesIO(stream.read()), name)
    except OSError as error:
        raise unreadable(error, name) from error


def _read(stream: BinaryIO, name: str) -> Photo:
    try:
        kind = sniff(stream.read(HEAD), PurePath(name).suffix)
        stream.seek(0)
        return upright(_decode(stream, kind))
    except Refusal as refusal:
        raise ImageError(f"{name} {refusal}.", refusal.hint) from refusal.__cause__
    except MemoryError as error:
        raise ImageError(
            f"{name} does not fit into memory.", "Close other programs, or cut it into parts."
        ) from error


def _decode(stream: BinaryIO, kind: str) -> Photo:
    try:
        return decode_tiff(stream) if kind == "tiff" else _DECODERS[kind](stream.read())
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EIO:
            raise
        # What the libraries raise on broken bytes is anything but an agreed set.
        raise damaged(LABELS[kind]) from error


def unreadable(error: OSError, name: str) -> ImageError:
    """Make the error of a file that the system does not give.

    Parameters
    ----------
    error : OSError
        What the system says.
    name : str
        What to call the file.

    Returns
    -------
    ImageError
        To be raised.
    """
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return ImageError(f"{name} does not exist.", "Check the spelling of the path.")
        case errno.EISDIR:
            return ImageError(f"{name} is a folder.", "Name a file in it.")
        case errno.EACCES | errno.EPERM:
            return ImageError(f"You may not read {name}.", "Change its permissions first.")
    reason = error.strerror or str(error)
    return ImageError(f"{name} cannot be read: {reason}.", "Check the disk it is on.")
