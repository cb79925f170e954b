"""A training run as one HTML page that can be sent to anybody. Knows no torch."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.report.curves import Curve, Point, plot_curves, smooth, spread
from ssbsn_cli.core.report.html import make_note, make_page, make_table
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.training.log import read_metrics

PICTURES = 8
# Beyond, arithmetic overflows; no honest loss is there.
ABSURD = 1e30

Record = Mapping[str, Any]


def write_report(run: Path, output: Path | None = None) -> Path:
    """Write one self-contained HTML page about a training run, finished or not.

    Parameters
    ----------
    run : Path
        The directory of the run.
    output : Path, optional
        Where to, ``report.html`` in `run` by default. Replaced if it exists; missing directories
        are made.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OptionError
        If `run` is no training run, or the page cannot be written.
    """
    run_files = [run / "config.toml", run / "metrics.jsonl"]
    if not any(file.is_file() for file in run_files):
        wrong = "has neither config.toml nor metrics.jsonl" if run.is_dir() else "is no directory"
        raise OptionError(
            f"{run} is no training run: it {wrong}.", "Give the directory that ssbsn train wrote."
        )
    records = read_metrics(run / "metrics.jsonl")
    steps = [record for record in records if record["event"] == "step"]
    checks = [record for record in records if record["event"] == "validation"]
    sections = [
        ("", _progress(records, steps)),
        ("Scores", _scores(checks)),
        ("Curves", _curves(records, steps, checks)),
        ("Noisy and denoised, over time", _pictures(run, checks)),
        ("Data", _data(run / "data.json")),
        ("Configuration", _configuration(run / "config.toml")),
    ]
    page = make_page(f"Training run {run.resolve().name}", sections)
    output = output or run / "report.html"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, page)
    except OSError as error:
        raise OptionError(
            f"{output}: cannot be written: {error.strerror}",
            "Check the permissions of the directory.",
        ) from None
    return output


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    if not isinstance(value, int | float) or not abs(value) < ABSURD:
        return None
    return float(value)


def _points(records: Sequence[Record], key: str) -> list[Point]:
    values = ((_number(record, "step"), _number(record, key)) for record in records)
    return [(step, value) for step, value in values if step is not None and value is not None]


def _show(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _minutes(record: Record) -> float | None:
    seconds = _number(record, "seconds")
    return None if seconds is None else seconds / 60


def _progress(records: Sequence[Record], steps: Sequence[Record]) -> str:
    if not records:
        return make_note("This run has logged nothing yet.")
    speeds = [speed for _, speed in _points(steps, "images_per_second")]
    parts = [f"{_show(_number(records[-1], 'step'), ',.0f')} steps"]
    if (minutes := _minutes(records[-1])) is not None:
        parts.append(f"{minutes:,.1f} minutes")
    if speeds:
        parts.append(f"{median(speeds):.3g} images per second")
    return f'<p class="dim">{escape(", ".join(parts))}</p>'


def _scores(checks: Sequence[Record]) -> str:
    if not checks:
        return make_note("There was no validation yet.")
    best = [record for record in checks if record.get("best") is True][-1:]
    named = [("best", best[0])] if best else []
    if not best or best[0] is not checks[-1]:
        named.append(("last", checks[-1]))
    header = ["validation", "step", "minutes", "loss", "PSNR", "PSNR of noisy", "gain", "SSIM"]
    rows = []
    for name, record in named:
        psnr, noisy = _number(record, "psnr"), _number(record, "psnr_noisy")
        rows.append(
            [
                name,
                _show(_number(record, "step"), ",.0f"),
                _show(_minutes(record), ",.1f"),
                _show(_number(record, "loss"), ".4g"),
                _show(psnr, ".2f"),
                _show(noisy, ".2f"),
                "" if psnr is None or noisy is None else f"{psnr - noisy:+.2f}",
                _show(_number(record, "ssim"), ".4f"),
            ]
        )
    filled = [i for i in range(len(header)) if any(row[i] for row in rows)]
    table = make_table([header[i] for i in filled], [[row[i] for i in filled] for row in rows], 1)
    if "PSNR" not in [header[i] for i in filled]:
        return table + make_note("PSNR and SSIM need validation photos with clean counterparts.")
    return table + make_note("PSNR and gain are in dB: higher is better, as with SSIM.")


def _curves(records: Sequence[Record], steps: Sequence[Record], checks: Sequence[Record]) -> str:
    loss = _points(steps, "loss")
    minutes = [(step, seconds / 60) for step, seconds in _points(records, "seconds")]
    charts = [
        plot_curves(
            "Loss",
            "",
            [
                Curve("training", "raw", loss),
                Curve("training, smoothed", "smooth", smooth(loss)),
                Curve("validation", "check", _points(checks, "loss")),
            ],
            minutes,
            log=True,
        ),
        plot_curves(
            "PSNR",
            "dB",
            [
                Curve("noisy", "noisy", _points(checks, "psnr_noisy")),
                Curve("denoised", "check", _points(checks, "psnr")),
            ],
            minutes,
        ),
        plot_curves(
            "Learning rate",
            "",
            [Curve("learning rate", "smooth", _points(steps, "learning_rate"))],
            minutes,
        ),
    ]
    drawn = "".join(charts)
    return f'<div class="charts">\n{drawn}</div>' if drawn else ""


def _pictures(run: Path, checks: Sequence[Record]) -> str:
    # By name alone: a log that somebody made up must not put other files into the page.
    named = [
        (record, run / "previews" / Path(picture).name)
        for record in checks
        if isinstance(picture := record.get("picture"), str)
    ]
    there = [(record, path) for record, path in named if _is_png(path)]
    figures = []
    for record, path in spread(there, PICTURES):
        caption = f"step {_show(_number(record, 'step'), ',.0f')}"
        if (minutes := _minutes(record)) is not None:
            caption += f", {minutes:,.1f} min"
        if (psnr := _number(record, "psnr")) is not None:
            caption += f", {psnr:.2f} dB"
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        figures.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="noisy and denoised crop, '
            f'{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>\n'
        )
    return f'<div class="crops">\n{"".join(figures)}</div>' if figures else ""


def _is_png(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\x89PNG\r\n\x1a\n"
    # ValueError: no path at all, with a null character in it.
    except (OSError, ValueError):
        return False


def _data(path: Path) -> str:
    try:
        sources = json.loads(path.read_bytes())["sources"]
        rows = [
            [str(source["path"]), str(source.get("kind", "")), *_counts(source)]
            for source in sources
        ]
    except FileNotFoundError:
        return make_note("This run has not recorded its data.")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return make_note("data.json cannot be read.")
    return make_table(["source", "kind", "photos", "skipped", "weight"], rows, 2)


def _counts(source: Record) -> list[str]:
    values = [source.get(key, "") for key in ("photos", "skipped", "weight")]
    return [str(len(value) if isinstance(value, list) else value) for value in values]


def _configuration(path: Path) -> str:
    try:
        config = tomllib.loads(path.read_text("utf-8"))
        rows = list(_settings(config))
    except FileNotFoundError:
        return make_note("This run has not recorded its configuration.")
    except (OSError, ValueError, RecursionError):
        return make_note("config.toml cannot be read.")
    return make_table([], rows)


def _settings(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                yield from _settings(item, f"{prefix}{key}[{number}].")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
