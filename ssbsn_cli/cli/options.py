"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import AttentionKind, CompileKind, DetailKind, PrecisionKind, RefineKind

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
RefineOption = Annotated[
    RefineKind | None,
    typer.Option(
        help="r3: the papers' random replacing refinement, 9 passes. stratified: the same with 5. "
        "once: 2 passes. none: 1 pass. By default what the weights recommend."
    ),
]
RefinePassesOption = Annotated[
    int | None, typer.Option(metavar="T", help="Passes of R3 in place of the weights' own.")
]
DetailOption = Annotated[
    DetailKind,
    typer.Option(
        help="auto: give back detail that a blind-spot network took for noise, where the weights "
        "recommend it. off: leave its result as it is."
    ),
]
StrengthOption = Annotated[
    float, typer.Option(help="Blend with the original: 0 leaves it, 1 denoises fully.")
]
EnsembleOption = Annotated[
    bool, typer.Option("--ensemble", help="Average 8 flips and rotations: 8 times slower.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of R3's masks, the same for each photo.")]
TileOption = Annotated[
    str,
    typer.Option(
        metavar="auto|0|N", help="Tile side in pixels; 0: the whole image; auto: by memory."
    ),
]
OverlapOption = Annotated[
    int | None, typer.Option(metavar="N", help="Pixels that tiles share. By default 32.")
]
PrecisionOption = Annotated[
    PrecisionKind, typer.Option(help="Precision of the network's arithmetic.")
]
AttentionOption = Annotated[
    AttentionKind, typer.Option(help="Form of SS-Attention: linear is fast, exact the paper's.")
]
CompileOption = Annotated[
    CompileKind,
    typer.Option(
        help="Compile the network for the processor. auto: a blind-spot network in bf16 on a CPU, "
        "where there are minutes of work."
    ),
]


def parse_tile(text: str) -> int | None:
    """Return the side of tiles that `TileOption` names; None for "auto".

    Raises
    ------
    OptionError
        It is neither a number nor "auto".
    """
    if text == "auto":
        return None
    if not text.isdecimal() or len(text) > 9:
        raise OptionError(f"A tile of {text[:20]!r} makes no sense.", "Use auto, 0 or a number.")
    return int(text)
