"""Register commands: their options, examples in their help, and their errors."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.models import ArgumentInfo, OptionInfo

from ssbsn_cli.cli.failures import EXIT_CODES, reported
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import OptionError

_PATH = (Path | None,)
_HOME = ("~/", f"~{os.sep}")


def register(app: typer.Typer, name: str, command: Callable[..., None], *examples: str) -> None:
    """Add a command to the application.

    Every command gets ``--json``, ``--quiet`` and ``--debug``. It refuses empty names, and ends
    with an exit code of `failures`.

    Parameters
    ----------
    app : typer.Typer
        The application.
    name : str
        The command's name for users.
    command : callable
        Takes an `Output` and, by keyword, its options. A parameter annotated
        ``Annotated[X, function]`` represents all options of that function, which returns an X.
    *examples : str
        Command lines that ``--help`` shows.
    """
    options: dict[str, inspect.Parameter] = {}
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    _, *parameters = inspect.signature(command, eval_str=True).parameters.values()
    for parameter in parameters:
        make = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
        if inspect.isfunction(make):
            members = inspect.signature(make, eval_str=True).parameters
            groups[parameter.name] = make, list(members)
            options |= members
        else:
            options[parameter.name] = parameter
    named = {name: text for name, option in options.items() if (text := _names_something(option))}
    # Typer would take an empty path for the current folder.
    paths = [each for each, option in options.items() if get_args(option.annotation)[:1] == _PATH]
    for path in paths:
        _, *details = get_args(options[path].annotation)
        options[path] = options[path].replace(annotation=Annotated[(str | None, *details)])
    options |= inspect.signature(_make_output, eval_str=True).parameters

    def run(**given: Any) -> None:
        out = _make_output(given.pop("json_lines"), given.pop("quiet"), given.pop("debug"))
        with reported(out):
            _refuse_empty(named, given)
            given = {each: _from_home(value) for each, value in given.items()}
            given |= {path: Path(given[path]) for path in paths if given[path] is not None}
            for group, (make, members) in groups.items():
                given[group] = make(**{member: given.pop(member) for member in members})
            command(out, **given)

    keyword_only = inspect.Parameter.KEYWORD_ONLY
    signature = [option.replace(kind=keyword_only) for option in options.values()]
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    # There are no docstrings with python -OO.
    text = f"{inspect.getdoc(command) or name}\n\n{show_examples(*examples)}\n\n{EXIT_CODES}"
    app.command(name, help=text)(run)


def _names_something(option: inspect.Parameter) -> str | None:
    """Return an option's spelling in help if its value names a file, weights or the like."""
    for each in getattr(option.annotation, "__metadata__", ()):
        if isinstance(each, ArgumentInfo) and each.metavar:
            return each.metavar
        if isinstance(each, OptionInfo) and each.metavar:
            # Inside Annotated, the first spelling takes the place of the default.
            spellings = [each.default, *(each.param_decls or ())]
            spoken = (text for text in spellings if isinstance(text, str))
            return next(spoken, f"--{option.name.replace('_', '-')}")
    return None


def _refuse_empty(named: Mapping[str, str], given: Mapping[str, Any]) -> None:
    for name, spelling in named.items():
        value = given[name]
        if value == "" or (isinstance(value, list) and "" in value):
            raise OptionError(f"{spelling} is empty.", "Check the variable that it comes from.")


def _from_home(value: Any) -> Any:
    """Replace ~/ as shells do, which leave it alone in --output=~/clean."""
    if isinstance(value, list):
        return [_from_home(each) for each in value]
    at_home = isinstance(value, str) and value.startswith(_HOME)
    return os.path.expanduser(value) if at_home else value


def show_examples(*examples: str) -> str:
    """Format command lines for the text of ``--help``."""
    return "\n    ".join(["[bold]Examples[/bold]\n", *examples])


def _make_output(
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print results to stdout as JSON, one object per line.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only results and errors.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Also print tracebacks of errors.")
    ] = False,
) -> Output:
    return Output(json_lines=json_lines, quiet=quiet, debug=debug)
