"""The page: table, plot, images, and a viewer that compares two views of one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.report.axes import plot_methods
from ssbsn_cli.core.report.html import make_note, make_page

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
    titles = {method["name"]: method["title"] for method in evaluation["methods"]}
    shown = {each.name: each for each in pictures}
    everything = [row for row in evaluation["rows"] if row["group"] == ""]
    compared = any(row["worse"] is not None for row in everything)
    plot = plot_methods(evaluation["metrics"][0], everything, titles) if compared else ""
    note = "" if compared else make_note("There are no clean photos to compare with.")
    sections = [
        ("", _introduction(evaluation)),
        ("Scores", _scores(evaluation, titles, compared) + note),
        ("Quality against time", f'<div class="plot">{plot}</div>' if plot else ""),
        ("Images", _images(evaluation, titles, shown)),
        ("Methods", _methods(evaluation)),
    ]
    script = ""
    if shown:
        sections.append(("", _viewer(titles) + _data(evaluation, titles, shown)))
        script = _read("report.js")
    title = f"Denoising of {evaluation['dataset']['title']}"
    return make_page(title, sections, style=_read("report.css"), script=script)


def _read(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text("utf-8")


def _introduction(evaluation: Mapping[str, Any]) -> str:
    dataset, machine = evaluation["dataset"], evaluation["machine"]
    parts = [str(machine[key]) for key in ("gpu", "cpu") if machine.get(key)]
    parts += [f"{machine['cores']} cores", f"ssbsn {machine['ssbsn']}", f"torch {machine['torch']}"]
    lines = [
        f"{dataset['samples']} images. {dataset['protocol']}",
        evaluation["rounding"],
        f"Networks run as {evaluation['protocol']}, on {', '.join(parts)}.",
    ]
    return "".join(f'<p class="dim">{escape(line)}</p>\n' for line in lines)


def _scores(evaluation: Mapping[str, Any], titles: Mapping[str, str], compared: bool) -> str:
    metrics, rows = evaluation["metrics"], evaluation["rows"]
    heads = [(metric["title"], metric["description"]) for metric in metrics]
    if compared:
        first = metrics[0]["title"]
        heads += [
            ("worse", f"Images with a worse {first} than the noisy input."),
            ("least gain", f"Of {first}, of the image that gains least."),
        ]
    heads += [
        ("s/Mpx", "Seconds per million pixels."),
        ("MiB", "Peak memory beyond what was held before."),
    ]
    lines = ["<tr><th>method</th>" + "".join(_head(*head) for head in heads) + "</tr>"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    for group in groups:
        part = [row for row in rows if row["group"] == group]
        if len(groups) > 1:
            name = escape(group) or "all"
            lines.append(
                f'<tr class="group"><th colspan="{len(heads) + 1}">{name} '
                f'<span class="dim">{part[0]["images"]} images</span></th></tr>'
            )
        for row in part:
            cells = [f"<th>{escape(titles[row['method']])}</th>"]
            for metric in metrics:
                score = row["scores"].get(metric["name"])
                all_scores = [other["scores"].get(metric["name"]) for other in part]
                best = (max if metric["higher_is_better"] else min)(all_scores)
                text = _show(score, f".{metric['digits']}f")
                marked = compared and score == best
                cells.append(_cell(f"<b>{text}</b>" if marked else text))
            if compared:
                worse = row["worse"]
                cells.append(_cell("" if worse is None else f"{worse} of {row['images']}"))
                cells.append(_cell(_show(row["least_gain"], "+.2f")))
            cells.append(_cell(_show(row["seconds_per_megapixel"], ".3g")))
            cells.append(_cell(_show(row["peak_mib"], ".0f")))
            lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="scores">{"".join(lines)}</table></div>\n'


def _images(
    evaluation: Mapping[str, Any], titles: Mapping[str, str], shown: Mapping[str, Pictures]
) -> str:
    metric = evaluation["metrics"][0]
    digits, sign = metric["digits"], 1 if metric["higher_is_better"] else -1
    lines = [
        "<tr><th>image</th>" + "".join(_head(title, title) for title in titles.values()) + "</tr>"
    ]
    for image in evaluation["images"]:
        results = image["results"]
        before = results.get(_NOISY, {}).get("scores", {}).get(metric["name"])
        name = escape(image["name"])
        if image["name"] in shown:
            number = list(shown).index(image["name"])
            name = f'<button class="open" data-image="{number}">{name}</button>'
        cells = [f"<th>{name}</th>"]
        for method in titles:
            score = results.get(method, {}).get("scores", {}).get(metric["name"])
            gain = 0 if score is None or before is None else sign * (score - before)
            spoiled = gain < 0 and metric["name"] not in ("noise", "change")
            cells.append(_cell(_show(score, f".{digits}f"), "worse" if spoiled else ""))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    note = f"{metric['title']}; in red where it is worse than that of the noisy input."
    if shown:
        note += (
            " Names open before and after. Pictures are the middles of photos, stored as WebP of "
            f"quality {_QUALITY}."
        )
    table = f'<div class="scroll tall"><table class="images">{"".join(lines)}</table></div>\n'
    return make_note(note) + table


def _methods(evaluation: Mapping[str, Any]) -> str:
    items = []
    for method in evaluation["methods"]:
        settings = json.dumps(method["settings"])
        items.append(
            f"<dt>{escape(method['title'])}</dt><dd>{escape(method['description'])}"
            f'<details><summary class="dim">settings</summary><code>{escape(settings)}</code>'
            "</details></dd>"
        )
    for metric in evaluation["metrics"]:
        items.append(f"<dt>{escape(metric['title'])}</dt><dd>{escape(metric['description'])}</dd>")
    return f"<dl>{''.join(items)}</dl>\n"


def _viewer(titles: Mapping[str, str]) -> str:
    return """<dialog id="viewer" aria-label="Before and after">
<header><button id="previous" aria-label="previous image">&#8592;</button>
<h2 id="name"></h2><button id="next" aria-label="next image">&#8594;</button>
<button id="close" aria-label="close">&#10005;</button></header>
<div class="tools"><label>left <select id="left"></select></label>
<label>right <select id="right"></select></label>
<label><input type="checkbox" id="difference"> difference
 <input type="range" id="factor" min="1" max="16" value="5" aria-label="amplification"></label>
<label>zoom <select id="zoom"><option>1</option><option>2</option><option>4</option></select>
</label></div>
<div class="window"><div id="stage"><img id="right-view" alt=""><img id="left-view" alt="">
<canvas id="canvas" hidden></canvas>
<div id="divider" role="slider" tabindex="0" aria-label="divider" aria-valuemin="0"
 aria-valuemax="100" aria-valuenow="50"></div></div></div>
<p id="scores" class="dim"></p>
<p class="dim keys">Drag the line, or use the arrow keys, with Shift for larger steps; up and down
 change the image, 1 to 9 the right view, d shows the difference, Escape closes.</p>
</dialog>
"""


def _data(
    evaluation: Mapping[str, Any], titles: Mapping[str, str], shown: Mapping[str, Pictures]
) -> str:
    results = {image["name"]: image["results"] for image in evaluation["images"]}
    order = [_NOISY, *(name for name in titles if name != _NOISY), _CLEAN]
    images = []
    for each in shown.values():
        views = [
            {
                "title": titles.get(name, "clean reference"),
                "score": ", ".join(_words(evaluation["metrics"], results[each.name].get(name))),
                "picture": _encode(each.views[name]),
            }
            for name in order
            if name in each.views
        ]
        images.append({"name": each.name, "views": views})
    # No name can end the script, then, or begin a comment.
    text = json.dumps(images).replace("<", "\\u003c")
    return f'<script type="application/json" id="images">{text}</script>\n'


def _words(metrics: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None) -> Iterator[str]:
    for metric in metrics if result else ():
        assert result is not None
        yield f"{metric['title']} {result['scores'][metric['name']]:.{metric['digits']}f}"


def _encode(picture: NDArray[np.uint8]) -> str:
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, content = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode("ascii")


def _head(title: str, description: str) -> str:
    return f'<th class="number" title="{escape(description)}">{escape(title)}</th>'


def _cell(html: str, style: str = "") -> str:
    return f'<td class="number {style}">{html}</td>'


def _show(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
