"""The one table from what went wrong to what a person reads and a script gets.

========  =====================================================
code      meaning
========  =====================================================
0         all done
1         some inputs failed, or the work could not be finished
2         wrong use of the command
3         a device or weights are unavailable
130       interrupted
========  =====================================================
"""

from __future__ import annotations

import contextlib
import errno
import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer

from ssbsn_cli.cli.output import Output, is_leader
from ssbsn_cli.core.errors import DeviceError, OptionError, SsbsnError, WeightsError

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
INTERRUPTED = 130

P = ParamSpec("P")


def exit_code(error: SsbsnError) -> int:
    """Return the exit code that `error` ends a command with."""
    if isinstance(error, OptionError):
        return USAGE
    if isinstance(error, DeviceError | WeightsError):
        return UNAVAILABLE
    return FAILED


def explain(error: Exception) -> SsbsnError:
    """Turn an exception into one that says in a sentence what is wrong and what to do.

    Raises
    ------
    Exception
        `error` itself, if it is a defect of this program.
    """
    if isinstance(error, SsbsnError):
        return error
    if isinstance(error, MemoryError):
        return DeviceError("Out of memory.", "Use a smaller --tile, or close other programs.")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = {
            errno.ENOSPC: "Free some space and run the same command again.",
            errno.EACCES: "Check the permissions, or choose another place.",
            errno.EROFS: "Choose a place that can be written to.",
            errno.EPERM: "Check the permissions, or choose another place.",
            errno.ENAMETOOLONG: "Choose a shorter name.",
        }.get(error.errno or 0, "Check the path and the disk it is on.")
        return SsbsnError(f"{where}{error.strerror or error}", hint)
    raise error


def handled(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command: errors and Ctrl-C become a sentence and an exit code.

    With ``--json`` a JSON object with the keys ``error`` and ``hint`` goes to stdout, too.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        leads = is_leader()
        output = Output(
            json_lines=bool(kwargs.get("json_lines")) and leads,
            quiet=bool(kwargs.get("quiet")) or not leads,
        )
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            output.say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our stdout is gone; there is nobody left to tell.
            sys.stderr.close()
            raise typer.Exit(FAILED) from None
        except (SsbsnError, OSError, MemoryError) as cause:
            error = explain(cause)
            # All processes of a training find the same fault in its options; one says so.
            if leads or not isinstance(error, OptionError):
                output.error(error)
            # Standard output may be what failed.
            with contextlib.suppress(SsbsnError, OSError):
                output.record({"error": str(error), "hint": error.hint})
            raise typer.Exit(exit_code(error)) from None

    return wrapper
