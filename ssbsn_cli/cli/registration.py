"""How a command is registered: its options, the examples in its help, what its errors become."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ssbsn_cli.cli.failures import EXIT_CODES, reported
from ssbsn_cli.cli.output import Output


def register(app: typer.Typer, name: str, command: Callable[..., None], *examples: str) -> None:
    """Add a command to the application.

    Every command gets ``--json`` and ``--quiet``, and ends with an exit code of `failures`.

    Parameters
    ----------
    app : typer.Typer
        The application.
    name : str
        What a user types.
    command : callable
        Takes an `Output` and, by keyword, its options. A parameter annotated
        ``Annotated[X, function]`` stands for all options of that function, which returns an X.
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
    options |= inspect.signature(_make_output, eval_str=True).parameters

    def run(**given: Any) -> None:
        out = _make_output(given.pop("json_lines"), given.pop("quiet"))
        with reported(out):
            for group, (make, members) in groups.items():
                given[group] = make(**{member: given.pop(member) for member in members})
            command(out, **given)

    keyword_only = inspect.Parameter.KEYWORD_ONLY
    signature = [option.replace(kind=keyword_only) for option in options.values()]
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    text = f"{inspect.getdoc(command)}\n\n{show_examples(*examples)}\n\n{EXIT_CODES}"
    app.command(name, help=text)(run)


def show_examples(*examples: str) -> str:
    """Format command lines for the text of ``--help``."""
    return "\n    ".join(["[bold]Examples[/bold]\n", *examples])


def _make_output(
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print results to stdout as JSON, one object a line.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> Output:
    return Output(json_lines=json_lines, quiet=quiet)
