"""All output of the commands: results on stdout, messages on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment

from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.runtime.process import give_up, named_stdout, write_out

if TYPE_CHECKING:
    from rich.progress import Progress


# Characters per line.
_ENDLESS = 10**6


class SafeConsole(Console):
    """A console that spells out control characters, for example in file names."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render like the console, except for control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError."""
        # By default, the console ends the process silently.
        raise BrokenPipeError


def visible(text: str) -> str:
    """Return a text with control characters, except for line feeds, spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class Output:
    """Prints for a person, for a script (``--json``), or only results and errors (``--quiet``).

    Parameters
    ----------
    json_lines : bool
        Print each result as one line of JSON.
    quiet : bool
        Print no messages except errors; results are printed as ever.
    debug : bool
        Also print tracebacks of errors.
    """

    def __init__(self, *, json_lines: bool, quiet: bool, debug: bool = False) -> None:
        self.json_lines = json_lines
        self.quiet = quiet
        self.debug = debug
        self._follows = False
        self._out = SafeConsole(highlight=False, soft_wrap=True, emoji=False)
        self._err = SafeConsole(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        if not self._out.is_terminal:
            # Output for a file or a bug report is not cut or wrapped.
            self._out.width = _ENDLESS

    def leave_to_leader(self) -> None:
        """Print nothing more, unless this is the first process that ``torchrun`` started.

        All processes find the same wrong option, so one reports it. Other errors are still printed.
        """
        if os.environ.get("RANK", "0") != "0":
            self.json_lines, self.quiet, self._follows = False, True, True

    def record(self, values: Mapping[str, Any]) -> None:
        """Print one result as a line of JSON, if requested."""
        if self.json_lines:
            write_out(json.dumps(values).encode() + b"\n")

    def show(self, result: RenderableType) -> None:
        """Print a result for a person on stdout."""
        if not self.json_lines:
            # A terminal wraps what is wider better than words and figures can be cut.
            natural = self._out.options.update(width=_ENDLESS, markup=False)
            least = Measurement.get(self._out, natural, result).minimum
            self._out.width = max(self._out.width, least)
            with named_stdout():
                self._out.print(result, markup=False)

    def say(self, text: str) -> None:
        """Print a message for a person on stderr."""
        if not self.quiet:
            self._talk(text)

    def warn(self, text: str) -> None:
        """Print a warning for a person on stderr."""
        if not self.quiet:
            self._talk(f"Warning: {text}", "yellow")

    def error(self, error: SsbsnError, **about: str) -> None:
        """Print an error and its hint, even if quiet; record it with `about`."""
        if self._follows and isinstance(error, OptionError):
            return
        if self.debug:
            import traceback

            for line in "".join(traceback.format_exception(error)).splitlines():
                self._talk(line)
        self._talk(f"Error: {error}", "bold red")
        if error.hint:
            self._talk(error.hint)
        self.record({**about, "error": str(error), "hint": error.hint})

    def _talk(self, text: str, style: str | None = None) -> None:
        # Work continues even if messages cannot be printed.
        try:
            # Names may contain line feeds, and must not look like messages.
            self._err.print(text.replace("\n", "\\n"), style=style, markup=False)
        except OSError:
            give_up(sys.stderr)

    @contextlib.contextmanager
    def progress(self, *, counted: bool = True) -> Iterator[Progress]:
        """Show progress bars on stderr inside this block, if stderr is a terminal.

        If `counted`, they show "done/total" instead of a percentage.
        """
        # Imported here, so that --help need not wait for it.
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn() if counted else TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._err,
            transient=True,
            # Otherwise, rich would send --json to the terminal, too.
            redirect_stdout=False,
            disable=self.quiet or not self._err.is_terminal,
        )
        with progress:
            yield progress
