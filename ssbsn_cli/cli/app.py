"""The entry of the command line: it registers the commands."""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ssbsn_cli import __version__
from ssbsn_cli.cli.denoise import denoise
from ssbsn_cli.cli.eval import evaluate
from ssbsn_cli.cli.failures import FAILED, USAGE
from ssbsn_cli.cli.fetch_weights import fetch_weights
from ssbsn_cli.cli.info import info
from ssbsn_cli.cli.output import visible
from ssbsn_cli.cli.registration import register, show_examples
from ssbsn_cli.cli.train import train
from ssbsn_cli.core.runtime.heap import keep_freed_memory
from ssbsn_cli.core.runtime.parsing import whole_number
from ssbsn_cli.core.runtime.process import (
    end_at_once,
    end_on_signals,
    flush_streams,
    give_up,
    prepare_streams,
)
from ssbsn_cli.core.runtime.temporary import remove_all

# The name of an option, without a value: --output=FILE, -oFILE, -qoFILE.
_OPTION = re.compile(r"^(--[^=]*|-[a-np-z0-9]*o|-.*)", re.DOTALL)

app = typer.Typer(
    name="ssbsn",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
register(
    app,
    "denoise",
    denoise,
    "ssbsn denoise photo.png",
    "ssbsn denoise photo.png -o clean.png --device cuda",
    "ssbsn denoise photos/ -o clean/ --recursive",
    "ssbsn denoise *.jpg -o clean/ --skip-existing",
    "ssbsn denoise photo.jpg --compare compare.png",
    "ssbsn denoise photos/ -o clean/ --adapt 10",
    "cat in.png | ssbsn denoise - > out.png",
)
register(
    app,
    "train",
    train,
    "ssbsn train --data ~/SIDD_Medium",
    "ssbsn train --data my_photos/ --config small --max-minutes 60",
    "ssbsn train --data my_photos/ --config adapt --out mine",
    "ssbsn train --out mine --resume",
    "ssbsn train --report mine",
    "ssbsn denoise photo.png --weights mine",
)
register(
    app,
    "eval",
    evaluate,
    "ssbsn eval --dataset demo",
    "ssbsn eval --dataset sidd-val --data SIDD/",
    "ssbsn eval --dataset pairs --data noisy/ --data clean/ --baseline all --report report.html",
    "ssbsn eval --dataset synthetic --data clean/ --noise white:25",
    "ssbsn eval --dataset folder --data photos/ --weights photo --weights runs/mine",
    "ssbsn eval --dataset sidd-benchmark --data SIDD/ --submission SubmitSrgb.csv",
)
register(
    app,
    "fetch-weights",
    fetch_weights,
    "ssbsn fetch-weights --list",
    "ssbsn fetch-weights ssbsn-sidd",
    "ssbsn fetch-weights --all --dest weights/",
    "ssbsn fetch-weights ssbsn-sidd --from-file ~/Downloads/SSBSN_SIDD.pth",
)
register(
    app,
    "info",
    info,
    "ssbsn info",
    "ssbsn info --json",
    "ssbsn info photo.jpg --report noise.html",
)

_NARROWEST = 40
_EXAMPLES = show_examples(
    "ssbsn denoise photo.png",
    "ssbsn denoise photos/ -o clean/ --recursive",
    "ssbsn train --data my_photos/",
    "ssbsn eval --dataset demo",
    "ssbsn fetch-weights --list",
    "ssbsn COMMAND --help",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ssbsn {__version__}")
        raise typer.Exit


@app.callback(help=f"Remove noise from real photos.\n\n{_EXAMPLES}")
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Handle the options that belong to no command."""


def _fill_closed_streams() -> None:
    """Redirect closed standard streams to the null device.

    Otherwise, the next opened files would get their numbers, and with them the output of libraries.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _refuse_missing_folder() -> None:
    """End if the current folder is gone: libraries cannot be loaded there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        error = "The current folder no longer exists.\nChange to another one first."
        typer.echo(f"Error: {error}", err=True)
        sys.exit(FAILED)


def _refuse_file_as_command(words: list[str]) -> None:
    names = [command.name for command in app.registered_commands]
    if words and words[0] not in names and os.path.exists(words[0]):  # noqa: PTH110 - raises nothing
        file, again = visible(words[0]), visible(shlex.quote(words[0]))
        typer.echo(f"Error: {file} is not a command.\nDenoise it: ssbsn denoise {again}", err=True)
        sys.exit(USAGE)


def _spell_out(words: list[str]) -> list[str]:
    """Make names of options printable, since usage errors repeat unknown ones."""
    end = words.index("--") if "--" in words else len(words)
    return [*(_OPTION.sub(_visible, word) for word in words[:end]), *words[end:]]


def _visible(found: re.Match[str]) -> str:
    return visible(found[0])


def main() -> None:
    """Run the command line."""
    # Threads that spin while waiting slow down everything else: two commands at the same time took
    # twice as long. OpenMP reads this when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _fill_closed_streams()
    keep_freed_memory()
    prepare_streams()
    if not sys.warnoptions:
        # Warnings of libraries are for programmers, not for people who denoise photos.
        warnings.simplefilter("ignore")
    if (whole_number(os.environ.get("COLUMNS", "")) or 0) < _NARROWEST:
        # Some programs start others with 0, which leaves no room for text.
        os.environ.pop("COLUMNS", None)
    end_on_signals()
    sys.argv[1:] = _spell_out(sys.argv[1:])
    try:
        _refuse_missing_folder()
        _refuse_file_as_command(sys.argv[1:])
        app()
    except OSError as error:
        # Failed output of commands is explained elsewhere, but not that of help and version.
        give_up(sys.stdout)
        typer.echo(f"Error: standard output: {error.strerror}", err=True)
        sys.exit(FAILED)
    except SystemExit as ended:
        end_at_once(ended.code)
        raise
    finally:
        remove_all()
        flush_streams()
