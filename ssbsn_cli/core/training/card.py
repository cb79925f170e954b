"""The model card that goes with trained weights. Knows no torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

TITLES = {"ssbsn": "SS-BSN", "apbsn": "AP-BSN", "unet": "U-Net"}
MEANINGS = {
    "psnr": "PSNR of the denoised validation photos against clean ones, in dB; higher is better",
    "psnr_noisy": "PSNR of the same photos before denoising, in dB: what there was to improve",
    "ssim": "SSIM of the denoised validation photos, at most 1; higher is better",
    "loss": "training loss on validation crops; lower is better, and only to be "
    "compared with runs on the same data",
}


def model_card(
    *,
    name: str,
    descriptor: dict[str, Any],
    data: list[dict[str, Any]],
    objectives: Collection[str],
    steps: int,
    minutes: float,
    config_text: str,
    scores: dict[str, float],
    licence: str,
    init: str | None,
    version: str,
) -> str:
    """Describe trained weights for whoever finds them, as Markdown.

    Parameters
    ----------
    name : str
        Of the run; the command in the card takes it for the run's directory.
    descriptor : dict
        What `Descriptor.to_dict` returns.
    data : list of dict
        The sources, with "path", "kind", "photos", "skipped" and "weight".
    objectives : collection of str
        What it learned from: "self", "distill", "pairs".
    steps : int
        Steps that the weights were trained for.
    minutes : float
        Time that took.
    config_text : str
        The whole configuration as TOML.
    scores : dict
        By name, as in the log of the run; empty if there was no validation.
    licence : str
        Of the weights; may be empty if nobody chose one.
    init : str, optional
        The weights that training started from; None if they were random.
    version : str
        Of ssbsn.

    Returns
    -------
    str
        Can always be encoded as UTF-8.
    """
    how = "on noisy photographs alone, without clean ones"
    if set(objectives) != {"self"}:
        how = f"with the objectives {', '.join(sorted(objectives))}"
    start = "random weights" if init is None else _code(init)
    card = f"""\
# {_code(name)}

A network that removes noise from real photographs: {_architecture(descriptor)}. It was trained by
ssbsn {version} {how}.

## Trained on

{_sources(data)}
Training began with {start} and took {steps:,} steps in {minutes:,.1f} minutes.

## Scores

{_scores(scores)}
## Licence

{_licence(licence)}

The terms of the photographs that the weights were trained on bind the weights, too: if those are
for research or non-commercial use only, so are the weights.

## Use

{_fenced(f"ssbsn denoise photo.png --weights {_shell(name)}", "sh")}
Refinement that suits these weights: {_code(str(descriptor.get("refine", "")))}.

## Configuration

{_fenced(config_text, "toml")}"""
    # Names of files that are no UTF-8 come as lone surrogates, which cannot be encoded.
    return card.encode("utf-8", "backslashreplace").decode("utf-8")


def _architecture(descriptor: Mapping[str, Any]) -> str:
    architecture = str(descriptor.get("architecture", ""))
    parameters = descriptor.get("parameters") or {}
    parts = [TITLES.get(architecture, architecture)]
    if "widths" in parameters:
        parts.append(f"widths {', '.join(map(str, parameters['widths']))}")
    if "channels" in parameters:
        parts.append(f"{parameters['channels']} channels")
    if "blocks" in parameters:
        groups = [(kind, len(list(group))) for kind, group in groupby(parameters["blocks"])]
        parts.append("blocks " + ", ".join(f"{count} {kind}" for kind, count in groups))
    return ", ".join(parts)


def _sources(data: list[dict[str, Any]]) -> str:
    lines = ["| source | kind | photos | skipped | weight |", "| --- | --- | ---: | ---: | ---: |"]
    for source in data:
        values = [source.get(key, "") for key in ("kind", "photos", "skipped", "weight")]
        cells = [str(len(value) if isinstance(value, list) else value) for value in values]
        lines.append(
            "| " + " | ".join([_code(str(source["path"])).replace("|", "\\|"), *cells]) + " |"
        )
    return "\n".join(lines) + "\n"


def _scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return "There was no validation: look at results before you trust these weights.\n"
    lines = ["| score | value | meaning |", "| --- | ---: | --- |"]
    for key, value in scores.items():
        lines.append(f"| {key} | {value:.4g} | {MEANINGS.get(key, '')} |")
    if "psnr" not in scores:
        lines.append("\nThere were no clean photographs to compare with, so no PSNR or SSIM.")
    return "\n".join(lines) + "\n"


def _licence(licence: str) -> str:
    return f"{licence.rstrip('.')}." if licence else "None was chosen for these weights."


def _code(text: str) -> str:
    """Quote text so that nothing in it is Markdown."""
    text = re.sub(r"\s", " ", text)
    ticks = "`" * (_longest_run(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(_longest_run(text) + 1, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _shell(name: str) -> str:

    return shlex.quote(re.sub(r"\s", " ", name))
