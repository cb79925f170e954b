"""Exceptions with a message and a hint.

Every error that a user can cause or fix is one of these. ``str(error)`` is a sentence that says
what is wrong with which file or option, and ``hint`` is one that says what to do next. The command
line prints both and chooses the exit code by class; Python callers catch `SsbsnError`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


def how_to_install(extra: str) -> str:
    """Return the sentence that says how to install one of this package's extras."""
    return f'Install it with pip install "ssbsn[{extra}]".'


def suggest(name: str, names: Iterable[str]) -> str:
    """Return a hint for a misspelt one of `names`."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=2)
    question = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{question}The names are: {', '.join(names)}."


def explain_unreadable(name: object, error: OSError) -> tuple[str, str]:
    """Return the message and the hint for a file that the system does not let us read."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"{name} does not exist.", "Check the spelling of the path."
        case errno.EISDIR:
            return f"{name} is a folder.", "Name a file in it."
        case errno.EACCES | errno.EPERM:
            return f"You may not read {name}.", "Change its permissions first."
        case errno.ELOOP:
            return f"{name} is a link that leads nowhere.", "Check its target."
    return f"{name} cannot be read: {error.strerror or error}.", "Check the disk it is on."


class SsbsnError(Exception):
    """Base of the errors that this package raises on purpose.

    Parameters
    ----------
    message : str
        One sentence: what is wrong, with the name of the file, option or value.
    hint : str, optional
        One sentence: what to do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ImageError(SsbsnError):
    """A photo cannot be read, converted or written, or another result cannot be written."""


class OptionError(SsbsnError):
    """An option, or a combination of options, makes no sense."""


class WeightsError(SsbsnError):
    """Weights are missing, damaged, unsafe, or cannot be fetched."""


class DeviceError(SsbsnError):
    """A named device or precision is not available, or its memory is too small."""
