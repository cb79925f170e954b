"""``ssbsn fetch-weights``: download, check and list weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssbsn_cli.cli.failures import explain
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ssbsn_cli.core.weights.fetch import Fetched
    from ssbsn_cli.core.weights.registry import Entry


def fetch_weights(
    out: Output,
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Weights, as --list names them.")
    ] = None,
    all_entries: Annotated[bool, typer.Option("--all", help="Fetch all known weights.")] = False,
    list_entries: Annotated[
        bool, typer.Option("--list", help="List all known weights and their state; fetch nothing.")
    ] = False,
    from_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Use a file that you downloaded by hand."),
    ] = None,
    dest: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to use in place of the cache."),
    ] = None,
) -> None:
    """Download weights once, check them, and keep them for --weights NAME."""
    from ssbsn_cli.core.errors import suggest
    from ssbsn_cli.core.weights.registry import entries

    if names and all_entries:
        raise OptionError("Names and --all contradict each other.", "Use one.")
    if list_entries and (from_file or dest):
        raise OptionError("--list takes no --from-file or --dest.", "Drop them, or --list.")
    if from_file and (all_entries or len(names or []) != 1):
        raise OptionError(
            "--from-file takes exactly one name.", "Name the weights that the file holds."
        )
    known = entries()
    for name in names or []:
        if name not in known:
            raise OptionError(f"There are no weights called {name!r}.", suggest(name, known))
    if not (names or all_entries or list_entries):
        raise OptionError(
            "No weights were named.", f"Name some of {', '.join(known)}, or use --all."
        )
    chosen = [known[name] for name in dict.fromkeys(names or known)]
    if list_entries:
        _list(out, chosen)
        return

    if dest and names and (bundled := [entry.name for entry in chosen if entry.bundled]):
        raise OptionError(
            f"Weights that are inside the package stay there: {', '.join(bundled)}.",
            "Name them with --weights.",
        )

    from ssbsn_cli.core.weights.fetch import fetch

    codes = [0]
    with out.progress() as bars:
        for entry in chosen:
            task = bars.add_task(f"{entry.name} (MB)", total=None, visible=False)
            try:
                show = partial(_show, bars, task)
                fetched = fetch(entry, dest=dest, source=from_file, progress=show)
            except WeightsError as error:
                codes.append(explain(error)[0])
                out.error(error, name=entry.name)
            else:
                for sentence in _sentences(entry, fetched):
                    out.say(sentence)
                out.record(
                    {
                        "name": entry.name,
                        "status": fetched.status,
                        "path": str(fetched.path),
                        "sha256": fetched.digest,
                        "digest_recorded": fetched.recorded,
                    }
                )
            bars.remove_task(task)
    if code := max(codes):
        raise typer.Exit(code)


def _sentences(entry: Entry, fetched: Fetched) -> Iterator[str]:
    how = {
        "bundled": "is inside the package",
        "present": "is already here",
        "downloaded": "downloaded",
        "copied": "copied",
    }[fetched.status]
    yield f"{entry.name}: {how}: {fetched.path}"
    if fetched.recorded:
        yield (
            "Its publisher states no SHA-256, so the file was checked by loading it. Its SHA-256, "
            f"{fetched.digest}, was recorded: from now on, no other file is accepted."
        )


def _list(out: Output, chosen: list[Entry]) -> None:
    from rich.table import Table

    from ssbsn_cli.core.weights.fetch import local_path

    table = Table(box=None, padding=(0, 2, 1, 0))
    for heading in ("name", "state", "size", "network", "training data, licence"):
        # On a narrow terminal, only the last column wraps, because people type the names.
        table.add_column(heading, no_wrap=not heading.endswith("licence"), overflow="fold")
    for entry in chosen:
        path = local_path(entry)
        state = "bundled" if entry.bundled else "present" if path else "not fetched"
        size = path.stat().st_size if path else entry.size
        facts = entry.model_dump(mode="json", exclude={"bundled"})
        out.record({**facts, "state": state, "path": str(path) if path else None, "size": size})
        table.add_row(
            entry.name,
            state,
            f"{size / 1e6:.1f} MB" if size else "?",
            f"{entry.architecture} {entry.parameters / 1e6:.1f} M",
            f"{entry.training_data}\n{entry.licence}",
        )
    out.show(table)


def _show(progress: Progress, task: TaskID, done: int, total: int) -> None:
    """Show how many megabytes of a file have arrived."""
    size = total / 1e6 or None
    progress.update(task, completed=done / 1e6, total=size, visible=True, refresh=done == total)
