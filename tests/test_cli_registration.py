"""Registration, output and the table of errors, which all commands share."""

from __future__ import annotations

import errno
import io
import json
import re
import shlex
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from typer.testing import CliRunner

from ssbsn_cli.cli.app import app
from ssbsn_cli.cli.failures import explain
from ssbsn_cli.cli.output import Output, SafeConsole
from ssbsn_cli.cli.registration import register
from ssbsn_cli.core.errors import DeviceError, OptionError, SsbsnError, WeightsError

COMMANDS = [command.name for command in app.registered_commands]


@dataclass
class Size:
    width: int
    height: int


def _make_size(width: int = 4, height: int = 3) -> Size:
    if width < 0:
        raise OptionError("Too narrow.", "Widen it.")
    return Size(width, height)


def run(command, *arguments, **environment):
    application = typer.Typer()
    register(application, "try", command, "ssbsn try --width 8")
    return CliRunner(env=environment).invoke(application, arguments)


def show(out: Output, *, size: Annotated[Size, _make_size], name: str = "a") -> None:
    """Show a size."""
    out.record({"size": [size.width, size.height], "name": name})
    out.say("talk")


def test_options_of_a_group_arrive_as_one_object():
    result = run(show, "--width", "8", "--json", "--name", "b")
    assert json.loads(result.stdout) == {"size": [8, 3], "name": "b"}
    assert result.stderr == "talk\n"
    assert run(show, "--json", "--quiet").stderr == ""


def test_a_group_that_refuses_its_options_ends_like_any_wrong_use():
    result = run(show, "--width", "-1", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {"error": "Too narrow.", "hint": "Widen it."}
    assert result.stderr == "Error: Too narrow.\nWiden it.\n"


def test_home_is_found_where_shells_do_not_replace_it():
    def show(
        out: Output,
        *,
        output: str = "",
        report: Annotated[Path | None, typer.Option()] = None,
        data: Annotated[list[str] | None, typer.Option()] = None,
        suffix: str = "",
    ) -> None:
        out.record({"all": [output, str(report), *(data or []), suffix]})

    words = ["--output=~/a", "--report=~/b", "--data=~/c=2", "--data=d~/e", "--suffix=~", "--json"]
    found = json.loads(run(show, *words, HOME="/home/me").stdout)
    assert found == {"all": ["/home/me/a", "/home/me/b", "/home/me/c=2", "d~/e", "~"]}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_examples_and_exit_codes(command):
    text = CliRunner().invoke(app, [command, "--help"]).stdout
    assert f"ssbsn {command}" in text
    for words in ("Examples", "Exit codes", "--json", "--quiet"):
        assert words in text


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_examples_exist(command):
    commands = typer.main.get_command(app).commands
    examples = re.findall(r"^    .*?\bssbsn ([^|>\n]+)", commands[command].help, re.MULTILINE)
    assert examples
    for example in examples:
        name, *words = shlex.split(example)
        commands[name].make_context(name, words)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OptionError("wrong"), 2, "wrong"),
        (DeviceError("gone"), 3, "gone"),
        (WeightsError("gone"), 3, "gone"),
        (SsbsnError("broken"), 1, "broken"),
        (MemoryError(), 3, "Out of memory."),
        (PermissionError(13, "Permission denied", "a.png"), 1, "a.png: Permission denied"),
    ],
)
def test_errors_become_a_sentence_and_an_exit_code(error, code, message):
    def fail(out: Output) -> None:
        raise error

    result = run(fail)
    assert result.exit_code == code
    assert f"Error: {message}" in result.stderr


def test_a_full_disk_is_no_wrong_use():
    def fail(out: Output) -> None:
        raise OptionError("The cache is full.") from OSError(errno.ENOSPC, "full")

    assert run(fail).exit_code == 1


def test_defects_are_not_explained_away():
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError())


@pytest.mark.parametrize("name", ["\x1b]0;title\x07.png", "\x9b2J.png", "\u202egnp.exe", "a\rb"])
def test_no_text_commands_the_terminal(name):
    sent = io.StringIO()
    console = SafeConsole(file=sent, force_terminal=True, width=200)
    table = Table(name)
    table.add_row(name)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task(name, total=1)
    console.print(name, markup=False)
    console.print(table)
    console.print(Panel(name))
    assert sent.getvalue()
    # What commands the terminal, such as to colour a text, is rich's own.
    assert not set(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", sent.getvalue())) & set(
        "\x1b\x07\x9b\u202e\r"
    )


def test_results_in_a_file_are_never_cut():
    def tell(out: Output) -> None:
        table = Table("path")
        table.add_row("x" * 300)
        out.show(table)

    assert "x" * 300 in run(tell, COLUMNS="20").stdout


def test_an_empty_name_is_refused():
    def read(
        out: Output,
        *,
        photos: Annotated[list[str] | None, typer.Argument(metavar="PHOTO")] = None,
        weights: Annotated[str | None, typer.Option("--from", metavar="PATH")] = None,
        folder: Annotated[Path | None, typer.Option(metavar="DIR")] = None,
        suffix: str | None = None,
    ) -> None:
        assert folder in (None, Path())
        out.say(f"read {suffix}")

    for words, name in (
        (["--from", ""], "--from"),
        (["--folder", ""], "--folder"),
        ([""], "PHOTO"),
    ):
        result = run(read, *words)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: {name} is empty.")
    assert run(read, "--suffix", "", "--folder", ".").exit_code == 0


def test_debug_shows_where_an_error_comes_from():
    def fail(out: Output) -> None:
        raise PermissionError(13, "Permission denied", "a.png")

    assert "Traceback" not in run(fail).stderr
    assert "in fail" in run(fail, "--debug").stderr


def test_a_file_that_ends_early_is_no_interrupt():
    def fail(out: Output) -> None:
        raise EOFError("marshal data too short")

    result = run(fail)
    assert "Aborted" not in result.output
    assert "too short" in "".join(traceback.format_exception(result.exception))


def test_only_the_leader_of_a_training_speaks():
    def train(out: Output) -> None:
        out.leave_to_leader()
        out.say("talk")
        raise (OptionError if wrong else SsbsnError)("broken")

    for wrong in (True, False):
        assert run(train, RANK="0").stderr == "talk\nError: broken\n"
        # Every process finds a wrong option; other errors may be one process's own.
        assert run(train, RANK="1").stderr == ("" if wrong else "Error: broken\n")


def test_tables_are_never_cut(monkeypatch):
    table = Table("method", "figure")
    table.columns[1].no_wrap = True
    table.add_row("wavelet shrinkage", "35.123456")
    monkeypatch.setenv("COLUMNS", "10")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(SafeConsole, "is_terminal", True)
    Output(json_lines=False, quiet=False).show(table)
    shown = stream.getvalue()
    assert all(word in shown for word in ("method", "figure", "wavelet", "shrinkage", "35.123456"))
