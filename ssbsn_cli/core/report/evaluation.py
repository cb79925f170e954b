"""The report of an evaluation: table, plot, images, and a viewer that compares two views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.report.pages import QUALITY, encode, encode_picture, render
from ssbsn_cli.core.report.plots import plot_methods
from ssbsn_cli.core.types import count_of

# The names of the noisy input and of the reference among the methods.
NOISY, CLEAN = "noisy", "clean"

#: (H, W, 3) uint8 RGB, by image and method; all pictures of an image have the same size.
Pictures = Mapping[str, Mapping[str, NDArray[np.uint8]]]


def make_report(evaluation: Mapping[str, Any], pictures: Pictures) -> bytes:
    """Draw an evaluation as one HTML page, UTF-8, that needs no network.

    `evaluation` is from `ssbsn_cli.core.evaluation.outputs.Findings.summary`, and `pictures` are
    some of its images.
    """
    rows, metrics = evaluation["rows"], evaluation["metrics"]
    titles = {method["name"]: method["title"] for method in evaluation["methods"]}
    groups = {row["group"]: [r for r in rows if r["group"] == row["group"]] for row in rows}
    compared = any(row["worse"] is not None for row in groups[""])
    shown = [_image(name, views, evaluation) for name, views in pictures.items()]
    values = {**evaluation, "machine": _machine(evaluation["machine"])}
    page = render(
        "evaluation.html",
        **values,
        title=f"Denoising of {evaluation['dataset']['title']}",
        titles=titles,
        groups=groups,
        compared=compared,
        plot=plot_methods(metrics[0], groups[""], titles) if compared else "",
        shown=shown,
        numbers={image["name"]: number for number, image in enumerate(shown)},
        quality=QUALITY,
    )
    return encode(page)


def _machine(machine: Mapping[str, Any]) -> str:
    parts = [str(machine[key]) for key in ("gpu", "cpu") if machine.get(key)]
    parts += [
        count_of(machine["cores"], "core"),
        f"ssbsn {machine['ssbsn']}",
        f"torch {machine['torch']}",
    ]
    return ", ".join(parts)


def _image(
    image: str, pictures: Mapping[str, NDArray[np.uint8]], evaluation: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an image and its views for the viewer, as plain values."""
    results = next(each["results"] for each in evaluation["images"] if each["name"] == image)
    titles = {method["name"]: method["title"] for method in evaluation["methods"]}
    titles = {NOISY: titles[NOISY], **titles, CLEAN: "clean reference"}
    views = []
    for name, title in titles.items():
        if name not in pictures:
            continue
        scores = [
            f"{metric['title']} {results[name]['scores'][metric['name']]:.{metric['digits']}f}"
            for metric in evaluation["metrics"]
            if name in results
        ]
        picture = encode_picture(pictures[name])
        views.append({"title": title, "score": ", ".join(scores), "picture": picture})
    return {"name": image, "views": views}
