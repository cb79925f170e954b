"""The report of an evaluation: table, plot, images, and a viewer that compares two views of one."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.report.pages import encode, render
from ssbsn_cli.core.report.plots import plot_methods

_QUALITY = 95
_NOISY, _CLEAN = "noisy", "clean"


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is shown of one image.

    Parameters
    ----------
    name : str
        As in the evaluation.
    views : mapping
        (H, W, 3) uint8 RGB, all of one size, by method; "noisy" is among them, and "clean" if
        there is a reference.
    """

    name: str
    views: Mapping[str, NDArray[np.uint8]]


def make_report(evaluation: Mapping[str, Any], pictures: Iterable[Pictures]) -> bytes:
    """Draw an evaluation as one HTML page that needs no network.

    Parameters
    ----------
    evaluation : mapping
        What `ssbsn_cli.core.evaluation.summary.summarise` returns.
    pictures : iterable of Pictures
        Of some of its images.

    Returns
    -------
    bytes
        The page, UTF-8.
    """
    dataset, metrics, rows = evaluation["dataset"], evaluation["metrics"], evaluation["rows"]
    titles = {method["name"]: method["title"] for method in evaluation["methods"]}
    groups = {row["group"]: [r for r in rows if r["group"] == row["group"]] for row in rows}
    compared = any(row["worse"] is not None for row in groups[""])
    images = [_image(each, evaluation, titles) for each in pictures]
    page = render(
        "evaluation.html",
        title=f"Denoising of {dataset['title']}",
        dataset=dataset,
        protocol=evaluation["protocol"],
        rounding=evaluation["rounding"],
        machine=_machine(evaluation["machine"]),
        metrics=metrics,
        methods=evaluation["methods"],
        titles=titles,
        groups=groups,
        compared=compared,
        plot=plot_methods(metrics[0], groups[""], titles) if compared else "",
        all_images=evaluation["images"],
        images=images,
        numbers={image["name"]: number for number, image in enumerate(images)},
        quality=_QUALITY,
    )
    return encode(page)


def _machine(machine: Mapping[str, Any]) -> str:
    parts = [str(machine[key]) for key in ("gpu", "cpu") if machine.get(key)]
    parts += [f"{machine['cores']} cores", f"ssbsn {machine['ssbsn']}", f"torch {machine['torch']}"]
    return ", ".join(parts)


def _image(
    pictures: Pictures, evaluation: Mapping[str, Any], titles: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the viewer shows of an image, as plain values."""
    results = next(i["results"] for i in evaluation["images"] if i["name"] == pictures.name)
    order = [_NOISY, *(name for name in titles if name != _NOISY), _CLEAN]
    views = []
    for name in order:
        if name not in pictures.views:
            continue
        scores = [
            f"{metric['title']} {results[name]['scores'][metric['name']]:.{metric['digits']}f}"
            for metric in evaluation["metrics"]
            if name in results
        ]
        views.append(
            {
                "title": titles.get(name, "clean reference"),
                "score": ", ".join(scores),
                "picture": _encode(pictures.views[name]),
            }
        )
    return {"name": pictures.name, "views": views}


def _encode(picture: NDArray[np.uint8]) -> str:
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, content = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode("ascii")
