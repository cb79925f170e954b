"""Standard input and output as bytes, which a shell may have closed."""

from __future__ import annotations

import sys
from typing import BinaryIO

from ssbsn_cli.core.errors import OptionError


def stdin() -> BinaryIO:
    """Return standard input.

    Raises
    ------
    OptionError
        If it is closed.
    """
    if sys.stdin is None:
        raise OptionError("Standard input is closed.", "Send a photo through a pipe.")
    return sys.stdin.buffer


def stdout() -> BinaryIO:
    """Return standard output.

    Raises
    ------
    OptionError
        If it is closed.
    """
    if sys.stdout is None:
        raise OptionError("Standard output is closed.", "Write to a file with -o FILE.")
    return sys.stdout.buffer
