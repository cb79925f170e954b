"""The one sink of everything the commands print: results to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.streams import stdout

if TYPE_CHECKING:
    from rich.progress import Progress


def is_leader() -> bool:
    """Tell whether this process speaks, of those that ``torchrun`` may have started."""
    return os.environ.get("RANK", "0") == "0"


class Output:
    """Print for a person, for a script (``--json``) or only errors (``--quiet``).

    Parameters
    ----------
    json_lines : bool
        Print each result as one JSON object a line.
    quiet : bool
        Print nothing but errors, and JSON if asked for.
    """

    def __init__(self, *, json_lines: bool = False, quiet: bool = False) -> None:
        self.json_lines = json_lines
        self.quiet = quiet
        self._out = Console(highlight=False, soft_wrap=True, emoji=False)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    def record(self, values: Mapping[str, Any]) -> None:
        """Print one result as a line of JSON, if a script asked for it."""
        if self.json_lines:
            stdout().write(json.dumps(values).encode() + b"\n")
            stdout().flush()

    def show(self, result: RenderableType) -> None:
        """Print a result for a person to stdout."""
        if not self.json_lines:
            self._out.print(result, markup=False)

    def say(self, text: str) -> None:
        """Tell a person what happens, on stderr."""
        if not self.quiet:
            self._talk(text)

    def warn(self, text: str) -> None:
        """Tell a person what they should know, on stderr."""
        if not self.quiet:
            self._talk(f"Warning: {text}", "yellow")

    def error(self, error: SsbsnError) -> None:
        """Say what went wrong and what to do next, on stderr, always."""
        self._talk(f"Error: {error}", "bold red")
        if error.hint:
            self._talk(error.hint)

    def _talk(self, text: str, style: str | None = None) -> None:
        # File names can hold anything, terminal control sequences included.
        shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
        # Work goes on even if nobody can be told.
        with contextlib.suppress(OSError):
            self._err.print(shown, style=style, markup=False)

    @contextlib.contextmanager
    def progress(self, *, counted: bool = True) -> Iterator[Progress]:
        """Show progress bars on stderr while inside, if a person watches.

        Parameters
        ----------
        counted : bool
            Show numbers done and in total instead of a percentage.
        """
        # Here, so that --help need not wait for it.
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
            # It would send --json to the terminal, too.
            redirect_stdout=False,
            disable=self.quiet or not self._err.is_terminal,
        )
        with progress:
            yield progress
