"""The model card that goes with trained weights."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ssbsn_cli import __version__
from ssbsn_cli.core.model.descriptor import ARCHITECTURES
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.types import count_of

_MEANINGS = {
    "psnr": "PSNR of the denoised validation photos against clean ones, in dB; higher is better",
    "psnr_noisy": "PSNR of the same photos before denoising, in dB: what there was to improve",
    "ssim": "SSIM of the denoised validation photos, at most 1; higher is better",
    "loss": "training loss on validation crops; lower is better, and only to be "
    "compared with runs on the same data",
    "blotches": "blotches of colour that are left, relative to the weights before; weights are not "
    "used above 1.1",
}


@dataclass(frozen=True)
class Origin:
    """The origin of weights, which does not change during a run.

    `record` holds plain values for JSON, such as the photos of the training. The licence is empty
    if nobody chose one. `init` is None if the training started from random weights.
    """

    config: Config
    record: dict[str, Any]
    licence: str
    init: str | None


def model_card(
    name: str,
    descriptor: Mapping[str, Any],
    origin: Origin,
    steps: int,
    minutes: float,
    scores: Mapping[str, float],
) -> str:
    """Describe trained weights to other people, in Markdown that UTF-8 can encode.

    `name` is that of the run's folder. The descriptor comes from `Descriptor.to_dict`, and the
    scores have the names that they have in the run's log.
    """
    how = "on noisy photos alone, without clean ones"
    if set(kinds := origin.config.training.kinds) != {"self"}:
        how = f"with the objectives {', '.join(sorted(kinds))}"
    start = "random weights" if origin.init is None else _code(origin.init)
    licence = origin.licence or "None was chosen for these weights"
    card = f"""\
# {_code(name)}

A network that removes noise from real photos:
{describe(descriptor["architecture"], descriptor["parameters"])}. It was trained by
ssbsn {__version__} {how}.

## Trained on

{_sources(origin.record["sources"])}
Training began with {start} and took {count_of(steps, "step")} in {minutes:,.1f} minutes.

## Scores

{_scores(scores)}
## Licence

{licence.rstrip(".")}.

The terms of the photos that the weights were trained on bind the weights, too: if those are
for research or non-commercial use only, so are the weights.

## Use

{_fenced(f"ssbsn denoise photo.png --weights {shlex.quote(_line(name))}", "sh")}
Refinement that suits these weights: {_code(descriptor["refine"])}.

## Configuration

{_fenced(origin.config.to_toml(), "toml")}"""
    # File names that are not UTF-8 contain lone surrogates, which cannot be encoded.
    return card.encode("utf-8", "backslashreplace").decode("utf-8")


def describe(architecture: str, parameters: Mapping[str, Any]) -> str:
    """Describe in words the network of a `Descriptor` with these fields."""
    parts = [ARCHITECTURES[architecture].title]
    if "widths" in parameters:
        parts.append(f"widths {', '.join(map(str, parameters['widths']))}")
    if "channels" in parameters:
        parts.append(f"{parameters['channels']} channels")
    if "blocks" in parameters:
        groups = [(kind, len(list(group))) for kind, group in groupby(parameters["blocks"])]
        parts.append("blocks " + ", ".join(f"{count} {kind}" for kind, count in groups))
    return ", ".join(parts)


def _sources(sources: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| source | kind | photos | skipped | share |", "| --- | --- | ---: | ---: | ---: |"]
    for source in sources:
        cells = [_code(source["path"]).replace("|", "\\|")]
        cells += [str(source[key]) for key in ("kind", "photos", "skipped", "share")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _scores(scores: Mapping[str, float]) -> str:
    lines = ["| score | value | meaning |", "| --- | ---: | --- |"]
    for key, value in scores.items():
        lines.append(f"| {key} | {value:.4g} | {_MEANINGS.get(key, '')} |")
    if "psnr" not in scores:
        lines.append("\nThere were no clean photos to compare with, so no PSNR or SSIM.")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Quote text so that none of it is read as Markdown."""
    text = _line(text)
    ticks = "`" * (_longest_run(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(_longest_run(text) + 1, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _line(text: str) -> str:
    return re.sub(r"\s", " ", text)
