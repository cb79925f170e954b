"""``ssbsn eval``: score denoisers on benchmarks and on one's own photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssbsn_cli.cli.options import SettingsOptions, network_option
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.settings import STEPS, Settings
from ssbsn_cli.core.types import Progress, count_of

if TYPE_CHECKING:
    from rich.table import Table

    from ssbsn_cli.core.evaluation.evaluation_request import EvaluationRequest
    from ssbsn_cli.core.evaluation.runner import Evaluation

_compared = partial(typer.Option, rich_help_panel="What is compared")
_results = partial(typer.Option, rich_help_panel="Where results go")


def evaluate(
    out: Output,
    *,
    dataset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="demo, sidd-val, sidd-benchmark, dnd, nind, cc15, polyu, pairs, folder or "
            "synthetic.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Where the data set is. For synthetic: clean photos. For pairs: a folder with "
            "noisy/ and clean/, or first the noisy folder or pattern, then the clean ones.",
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:STRENGTH",
            help="For synthetic: the noise to add, such as white:25, camera:10+jpeg:50 or "
            "poisson:30, drawn by --seed.",
        ),
    ] = None,
    unclipped: Annotated[
        bool,
        typer.Option(
            "--unclipped", help="Do not clip or round the noisy photo; most papers do not."
        ),
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the data set, if it has a public address.")
    ] = False,
    weights: Annotated[
        list[str] | None,
        _compared(
            metavar="NAME|PATH",
            help="Weights to score; repeat it for several. none: baselines alone. By default, the "
            "weights that denoise uses.",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        _compared(metavar="NAME", help="nlm, wavelet, tv, bm3d or all; repeat it for several."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        _compared(
            metavar="NAME",
            help="One or several of psnr, ssim and ssim_gaussian; without clean photos, noise and "
            "change.",
        ),
    ] = None,
    limit: Annotated[int | None, _compared(metavar="N", help="Only the first N images.")] = None,
    csv: Annotated[Path | None, _results(metavar="FILE", help="Figures of each image.")] = None,
    report: Annotated[
        Path | None, _results(metavar="FILE", help="A web page with figures and pictures.")
    ] = None,
    save_images: Annotated[
        Path | None, _results(metavar="DIR", help="Results as DIR/METHOD/IMAGE.png.")
    ] = None,
    submission: Annotated[
        Path | None,
        _results(
            metavar="PATH",
            help="What the benchmark takes: for sidd-benchmark a .csv (Kaggle) or .mat file, for "
            "dnd a folder.",
        ),
    ] = None,
    overwrite: Annotated[bool, _results("--overwrite", help="Replace existing files.")] = False,
    cache: Annotated[
        Path | None,
        _results(
            metavar="DIR",
            help="Where to keep each image's results, so that an interrupted evaluation can "
            "continue.",
        ),
    ] = None,
    no_cache: Annotated[bool, _results("--no-cache", help="Compute everything anew.")] = False,
    protocol: Annotated[
        Literal["tiled", "paper"],
        network_option(
            help="tiled: as denoise does it. paper: whole images, exact attention, fp32, and "
            "nothing before or after the network.",
        ),
    ] = "tiled",
    settings: SettingsOptions,
) -> None:
    """Score denoisers: PSNR, SSIM, time and memory, side by side."""
    from ssbsn_cli.core.evaluation.datasets.added_noise import AddedNoise
    from ssbsn_cli.core.evaluation.evaluation_request import EvaluationRequest
    from ssbsn_cli.core.runtime.storage import cache_dir

    if protocol == "paper":
        settings = _follow_paper(settings)
    if data and fetch:
        raise OptionError("--fetch and --data contradict each other.", "Use one.")
    if cache and no_cache:
        raise OptionError("--cache and --no-cache contradict each other.", "Use one.")
    if unclipped and noise is None:
        raise OptionError("--unclipped has no effect without --noise.", "Add --noise, or drop it.")
    request = EvaluationRequest(
        dataset=dataset,
        added=None if noise is None else AddedNoise(noise, settings.seed, clipped=not unclipped),
        data=[Path(path) for path in data or []],
        limit=limit,
        weights=weights or [],
        baselines=baseline or [],
        metrics=metric or [],
        protocol=protocol,
        settings=settings,
        cache=None if no_cache else cache or cache_dir() / "eval",
        csv=csv,
        report=report,
        pictures=save_images,
        submission=submission,
        overwrite=overwrite,
    )
    # Imported here, since PyTorch takes seconds.
    from ssbsn_cli.core.evaluation.runner import Evaluation

    evaluation = Evaluation(request, out.warn, partial(_fetch, out, dataset) if fetch else None)
    _run(out, request, evaluation)


def _follow_paper(settings: Settings) -> Settings:
    usual = Settings()
    for name in ("tile", "overlap", "precision", "attention"):
        if getattr(settings, name) != getattr(usual, name):
            raise OptionError(
                "--protocol paper sets --tile, --overlap, --precision, --attention, --detail, "
                "--own-size, --multiscale, --wiener, --white-noise, --impulses and --banding.",
                "Drop those, or the protocol.",
            )
    off: dict[str, Any] = dict.fromkeys(STEPS, "off")
    return replace(settings, tile=0, precision="fp32", attention="exact", **off)


def _fetch(out: Output, dataset: str) -> None:
    from ssbsn_cli.core.evaluation.datasets.catalogue import fetch_dataset

    with _counting(out, "downloading") as progress:
        fetch_dataset(dataset, out.say, progress)


def _run(out: Output, request: EvaluationRequest, evaluation: Evaluation) -> None:
    out.say(f"{evaluation.dataset.title}: {count_of(len(evaluation.dataset), 'image')}.")
    with _counting(out, "denoising") as progress:
        found = evaluation.run(progress)
    out.record(found)
    out.show(_result_table(found))
    for line in _footnotes(found):
        out.say(line)
    for path in (request.csv, request.report, request.pictures, request.submission):
        if path:
            out.say(f"Written: {path}")


@contextmanager
def _counting(out: Output, work: str) -> Iterator[Progress]:
    """Show a progress bar that the yielded function moves."""
    with out.progress() as bars:
        bar = bars.add_task(work, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _result_table(found: Mapping[str, Any]) -> Table:
    """Make a table with a section for each group and a row for each method."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metrics, rows = found["metrics"], found["rows"]
    titles = {method["name"]: method["title"] for method in found["methods"]}
    compared = any(row["worse"] is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", overflow="fold")
    headings = [metric["title"] for metric in metrics]
    headings += ["worse", "least gain"] if compared else []
    for heading in (*headings, "s/Mpx", "MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    for group in groups:
        part = [row for row in rows if row["group"] == group]
        if len(groups) > 1:
            table.add_section()
            table.add_row(
                Text(f"{group or 'all'} ({count_of(part[0]['images'], 'image')})", "bold")
            )
        for row in part:
            cells = [Text(titles[row["method"]])]
            for metric in metrics:
                scores = [other["scores"][metric["name"]] for other in part]
                best = (max if metric["higher_is_better"] else min)(scores)
                score = row["scores"][metric["name"]]
                style = "bold" if compared and score == best else ""
                cells.append(Text(f"{score:.{metric['digits']}f}", style))
            digits = metrics[0]["digits"]
            keys = [("worse", "d"), ("least_gain", f"+.{digits}f")] if compared else []
            for key, form in (*keys, ("seconds_per_megapixel", ".3g"), ("peak_mib", ".0f")):
                cells.append(Text("" if row[key] is None else format(row[key], form)))
            table.add_row(*cells)
    return table


def _footnotes(found: Mapping[str, Any]) -> Iterator[str]:
    # The meaning of the figures in the table.
    yield f"{found['dataset']['comparison']} Protocol: {found['protocol']}."
    for metric in found["metrics"]:
        yield f"{metric['title']}: {metric['description']}"
    yield found["rounding"]
    if any(row["worse"] is not None for row in found["rows"]):
        name = found["metrics"][0]["title"]
        yield (
            f"worse: images that score less than the noisy input by {name}; least gain: the gain "
            "of the image that gains least."
        )
    yield "s/Mpx: seconds per megapixel; MiB: peak memory beyond what was held before."
