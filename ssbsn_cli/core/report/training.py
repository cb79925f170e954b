"""The report of a training run: one self-contained HTML page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.report.pages import encode, render, show
from ssbsn_cli.core.report.photos import draw_noise
from ssbsn_cli.core.report.plots import Curve, Point, plot_curves, smooth
from ssbsn_cli.core.runtime.parsing import parse_json, parse_toml
from ssbsn_cli.core.runtime.storage import real_path, refuse_links, write_output
from ssbsn_cli.core.training.log import read_metrics
from ssbsn_cli.core.training.run_files import RunFiles
from ssbsn_cli.core.types import count_of, spread

_PICTURES = 8
# Beyond this, arithmetic overflows; no real loss is this large.
_ABSURD = 1e30

Record = Mapping[str, Any]


def write_report(run: Path) -> Path:
    """Write one self-contained HTML page about a training run, finished or not.

    Returns the page, ``report.html`` in the run's folder, which is replaced if it exists.

    Raises
    ------
    OptionError
        `run` is not a training run.
    ImageError
        The page cannot be written.
    """
    files = RunFiles(run)
    if not files.config.is_file() and not files.metrics.is_file():
        rounds = sorted(run.glob("round-*"), key=lambda each: (len(each.name), each.name))
        if files.round(1).config.is_file():
            raise OptionError(f"The last round of {run} has not begun.", f"Name {rounds[-1]}.")
        wrong = "has neither config.toml nor metrics.jsonl" if run.is_dir() else "is not a folder"
        raise OptionError(
            f"{run} is not a training run: it {wrong}.",
            "Give the folder that ssbsn train wrote.",
        )
    path = run / "report.html"
    refuse_links(path, 1)
    records = read_metrics(files.metrics)
    steps = [record for record in records if record["event"] == "step"]
    checks = [record for record in records if record["event"] == "validation"]
    page = render(
        "training.html",
        title=f"Training run {real_path(run).name}",
        progress=_progress(records, steps),
        scores=_scores(checks),
        charts=_charts(records, steps, checks),
        pictures=_pictures(files.previews, checks),
        **_noise(files.data),
        data=_data(files.data),
        configuration=_configuration(files.config),
    )
    write_output(path, encode(page), overwrite=True)
    return path


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    if not isinstance(value, int | float) or not abs(value) < _ABSURD:
        return None
    return float(value)


def _points(records: Sequence[Record], key: str) -> list[Point]:
    values = ((_number(record, "step"), _number(record, key)) for record in records)
    return [(step, value) for step, value in values if step is not None and value is not None]


def _minutes(record: Record) -> float | None:
    seconds = _number(record, "seconds")
    return None if seconds is None else seconds / 60


def _progress(records: Sequence[Record], steps: Sequence[Record]) -> str:
    if not records:
        return ""
    speeds = [speed for _, speed in _points(steps, "images_per_second")]
    step = _number(records[-1], "step")
    parts = [] if step is None else [count_of(step, "step")]
    if (minutes := _minutes(records[-1])) is not None:
        parts.append(f"{minutes:,.1f} minutes")
    if speeds:
        parts.append(f"{median(speeds):.3g} images per second")
    return ", ".join(parts)


def _scores(checks: Sequence[Record]) -> list[list[str]]:
    """Return a table of the best and the last validation, with a header, without empty columns."""
    if not checks:
        return []
    best = [record for record in checks if record.get("best") is True][-1:]
    named = [("best", best[0])] if best else []
    if not best or best[0] is not checks[-1]:
        named.append(("last", checks[-1]))
    losses = ["loss", "blotches"]
    rows = [["validation", "step", "minutes", *losses, "PSNR", "PSNR of noisy", "gain", "SSIM"]]
    for name, record in named:
        psnr, noisy = _number(record, "psnr"), _number(record, "psnr_noisy")
        rows.append(
            [
                name,
                show(_number(record, "step"), ",.0f"),
                show(_minutes(record), ",.1f"),
                show(_number(record, "loss"), ".4g"),
                show(_number(record, "blotches"), ".2f"),
                show(psnr, ".2f"),
                show(noisy, ".2f"),
                "" if psnr is None or noisy is None else f"{psnr - noisy:+.2f}",
                show(_number(record, "ssim"), ".4f"),
            ]
        )
    filled = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    return [[row[i] for i in filled] for row in rows]


def _charts(
    records: Sequence[Record], steps: Sequence[Record], checks: Sequence[Record]
) -> list[Markup]:
    loss = _points(steps, "loss")
    losses = [
        Curve("training", "raw", loss),
        Curve("training, smoothed", "smooth", smooth(loss)),
        Curve("validation", "check", _points(checks, "loss")),
    ]
    scores = [
        Curve("noisy", "noisy", _points(checks, "psnr_noisy")),
        Curve("denoised", "check", _points(checks, "psnr")),
    ]
    rates = [Curve("learning rate", "smooth", _points(steps, "learning_rate"))]
    minutes = [(step, seconds / 60) for step, seconds in _points(records, "seconds")]
    charts = [
        plot_curves("Loss", "", losses, minutes, log=True),
        plot_curves("PSNR", "dB", scores, minutes),
        plot_curves("Learning rate", "", rates, minutes),
    ]
    return [chart for chart in charts if chart]


def _pictures(previews: Path, checks: Sequence[Record]) -> list[tuple[str, str]]:
    """Return captions, and PNGs as base64."""
    # Only names count: a forged log must not put other files into the page.
    named = [
        (record, previews / Path(picture).name)
        for record in checks
        if isinstance(picture := record.get("picture"), str)
    ]
    there = [(record, path) for record, path in named if _is_png(path)]
    pictures = []
    for record, path in spread(there, _PICTURES):
        caption = f"step {show(_number(record, 'step'), ',.0f')}"
        if (minutes := _minutes(record)) is not None:
            caption += f", {minutes:,.1f} min"
        if (psnr := _number(record, "psnr")) is not None:
            caption += f", {psnr:.2f} dB"
        pictures.append((caption, base64.b64encode(path.read_bytes()).decode("ascii")))
    return pictures


def _is_png(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\x89PNG\r\n\x1a\n"
    # A null character in the path raises ValueError.
    except (OSError, ValueError):
        return False


def _noise(path: Path) -> dict[str, Any]:
    """Return drawings of the noise of photos; none if it cannot be drawn."""
    try:
        noise = parse_json(path.read_bytes())["noise"]
        # No plot can show values that are not finite.
        json.dumps(noise, allow_nan=False)
        drawn = [(str(each["input"]), draw_noise(each)) for each in noise["photos"]]
        return {"noises": drawn, "summary": noise["summary"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return {"noises": [], "summary": ""}


def _data(path: Path) -> list[list[str]] | str:
    """Return the rows of the table of sources, or why there are none."""
    try:
        sources = parse_json(path.read_bytes())["sources"]
        return [
            [str(source[key]) for key in ("path", "kind", "photos", "skipped", "share")]
            for source in sources
        ]
    except FileNotFoundError:
        return "This run has not recorded its data."
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "data.json cannot be read."


def _configuration(path: Path) -> list[tuple[str, str]] | str:
    """Return the rows of the table of settings, or why there are none."""
    try:
        return list(_settings(parse_toml(path.read_bytes())))
    except FileNotFoundError:
        return "This run has not recorded its configuration."
    except (OSError, ValueError):
        return "config.toml cannot be read."


def _settings(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
