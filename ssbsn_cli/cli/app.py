"""The command line's front door: registers the commands and nothing else."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Annotated

import typer

from ssbsn_cli import __version__
from ssbsn_cli.cli.denoise import denoise
from ssbsn_cli.cli.eval import evaluate
from ssbsn_cli.cli.fetch_weights import fetch_weights
from ssbsn_cli.cli.info import info
from ssbsn_cli.cli.train import train
from ssbsn_cli.core.runtime.process import keep_freed_memory

EXAMPLES = """
[bold]Examples[/bold]

    ssbsn denoise photo.png
    ssbsn denoise photos/ -o clean/ --recursive
    ssbsn train --data my_photos/
    ssbsn eval --dataset demo
    ssbsn fetch-weights --list
    ssbsn COMMAND --help
"""

app = typer.Typer(
    name="ssbsn",
    help=f"Remove noise from real photographs.\n{EXAMPLES}",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(denoise)
app.command()(train)
app.command("eval")(evaluate)
app.command()(fetch_weights)
app.command()(info)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ssbsn {__version__}")
        raise typer.Exit


@app.callback(help=app.info.help)
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def main() -> None:
    """Run the command line."""
    # Threads that spin while they wait slow down whatever else runs: two commands side by side
    # took twice as long. OpenMP reads this when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        signal.signal(number, _end_orderly)
    app()


def _end_orderly(number: int, _frame: FrameType | None) -> None:
    """Leave by an exception, so that what is half written is removed."""
    raise SystemExit(128 + number)
