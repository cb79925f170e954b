"""The one sink of everything the commands print: results to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.runtime.process import stdout

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


if TYPE_CHECKING:
    from rich.table import Table


def result_table(found: Mapping[str, Any]) -> Table:
    """Return the table of an evaluation: a section for each group, a row for each method."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metrics, rows = found["metrics"], found["rows"]
    titles = {method["name"]: method["title"] for method in found["methods"]}
    compared = any(row["worse"] is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", overflow="fold")
    headings = [metric["title"] for metric in metrics]
    headings += ["worse", "least gain"] if compared else []
    for heading in (*headings, "s/Mpx", "MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    for group in groups:
        part = [row for row in rows if row["group"] == group]
        if len(groups) > 1:
            table.add_section()
            table.add_row(Text(f"{group or 'all'} ({part[0]['images']} images)", "bold"))
        for row in part:
            cells = [Text(titles[row["method"]])]
            for metric in metrics:
                scores = [other["scores"][metric["name"]] for other in part]
                best = (max if metric["higher_is_better"] else min)(scores)
                score = row["scores"][metric["name"]]
                style = "bold" if compared and score == best else ""
                cells.append(Text(f"{score:.{metric['digits']}f}", style))
            keys = [("worse", "d"), ("least_gain", "+.2f")] if compared else []
            for key, form in (*keys, ("seconds_per_megapixel", ".3g"), ("peak_mib", ".0f")):
                cells.append(Text("" if row[key] is None else format(row[key], form)))
            table.add_row(*cells)
    return table


def footnotes(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the figures of a table mean."""
    yield f"Protocol: {found['dataset']['protocol']}"
    for metric in found["metrics"]:
        yield f"{metric['title']}: {metric['description']}"
    yield found["rounding"]
    if any(row["worse"] is not None for row in found["rows"]):
        name = found["metrics"][0]["title"]
        yield (
            f"worse: images with less than the noisy input by {name}; least gain: of the image "
            "that gains least by it."
        )
    yield "s/Mpx: seconds per million pixels; MiB: peak memory beyond what was held before."
