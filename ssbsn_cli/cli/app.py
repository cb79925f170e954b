"""The command line's front door: registers the commands and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from ssbsn_cli import __version__
from ssbsn_cli.cli.denoise import denoise
from ssbsn_cli.cli.fetch_weights import fetch_weights
from ssbsn_cli.cli.info import info

app = typer.Typer(
    name="ssbsn",
    help="Remove noise from real photographs.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(denoise)
app.command()(fetch_weights)
app.command()(info)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ssbsn {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Remove noise from real photographs."""


def main() -> None:
    """Run the command line."""
    app()
