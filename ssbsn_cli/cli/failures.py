"""Turn exceptions into messages for people and exit codes for scripts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import typer

from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import DeviceError, OptionError, SsbsnError, WeightsError
from ssbsn_cli.core.runtime.process import give_up
from ssbsn_cli.core.runtime.storage import is_full, way_out

FAILED = 1
USAGE = 2
UNAVAILABLE = 3
_INTERRUPTED = 130
EXIT_CODES = (
    "Exit codes: 0 all done, 1 something failed or is unfinished, 2 wrong use, "
    "3 no device, memory or weights, 130, 129 or 143 stopped by a signal."
)


def _of_the_system(error: OSError) -> SsbsnError:
    where = f"{error.filename}: " if error.filename else ""
    hint = f"{way_out(error)}, then run the same command again."
    return SsbsnError(f"{where}{error.strerror or error}.", hint)


def explain(error: Exception) -> tuple[int, SsbsnError]:
    """Return the exit code of a command that ends with an exception, and an error with a hint.

    An exception that is a defect of this program is raised again.
    """
    explained: SsbsnError
    match error:
        case OptionError():
            code, explained = USAGE, error
        case DeviceError() | WeightsError():
            code, explained = UNAVAILABLE, error
        case SsbsnError():
            code, explained = FAILED, error
        case MemoryError():
            code = UNAVAILABLE
            explained = DeviceError(
                "Out of memory.", "Use a smaller --tile, or close other programs."
            )
        case OSError():
            code, explained = FAILED, _of_the_system(error)
        case _:
            raise error
    # Using the command differently would not help.
    if is_full(error.__cause__):
        code = FAILED
    if explained is not error:
        explained.__cause__ = error
    return code, explained


def explain_photo(error: Exception, name: str) -> SsbsnError:
    """Explain the failure of one of several photos, even if it is a defect of this program."""
    try:
        return explain(error)[1]
    except Exception:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        defect = SsbsnError(
            f"{name} cannot be processed because of a bug in ssbsn ({reason}).",
            "Please report it with the photo, the output of ssbsn info, and what this command "
            "says with --debug.",
        )
        defect.__cause__ = error
        return defect


@contextlib.contextmanager
def reported(out: Output) -> Iterator[None]:
    """Print errors and Ctrl-C inside as a sentence, with ``--json`` also as an object, and exit."""
    try:
        yield
    except KeyboardInterrupt:
        out.say("Interrupted.")
        raise typer.Exit(_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of stdout is gone, so there is nobody to inform.
        give_up(sys.stdout)
        raise typer.Exit(FAILED) from None
    except EOFError as error:
        # Click would take this for an interrupt, and say "Aborted." instead of what is wrong.
        raise RuntimeError("Something ended early.") from error
    except (SsbsnError, MemoryError, OSError) as error:
        code, explained = explain(error)
        # Standard output itself may have failed.
        with contextlib.suppress(SsbsnError, OSError):
            out.error(explained)
        raise typer.Exit(code) from None
