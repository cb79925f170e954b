"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print results as JSON, one object a line, to stdout.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
DeviceOption = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:N or mps. One asked for by name must be there."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="Weights to use: a name (see ssbsn fetch-weights --list) or a file.",
    ),
]
