"""``ssbsn eval``: score denoisers on benchmarks and on one's own photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ssbsn_cli.cli.failures import handled
from ssbsn_cli.cli.options import (
    AttentionOption,
    CompileOption,
    DetailOption,
    DeviceOption,
    EnsembleOption,
    JsonOption,
    OverlapOption,
    PrecisionOption,
    QuietOption,
    RefineOption,
    RefinePassesOption,
    SeedOption,
    StrengthOption,
    TileOption,
    parse_tile,
)
from ssbsn_cli.cli.output import Output, footnotes, result_table
from ssbsn_cli.core.errors import OptionError

if TYPE_CHECKING:
    from ssbsn_cli.core.evaluation.evaluation_request import EvaluationRequest

EXAMPLES = """
[bold]Examples[/bold]

    ssbsn eval --dataset demo
    ssbsn eval --dataset sidd-val --data SIDD/
    ssbsn eval --dataset pairs --data noisy/ --data clean/ --baseline all --report report.html
    ssbsn eval --dataset synthetic --data clean/ --noise white:25
    ssbsn eval --dataset folder --data photos/ --weights photo --weights runs/mine
    ssbsn eval --dataset sidd-benchmark --data SIDD/ --submission SubmitSrgb.csv

Exit codes: 0 all done, 1 not finished, 2 wrong use, 3 no device or weights, 130 interrupted.
"""

WHAT = "What is compared"
RESULTS = "Where results go"
DENOISING = "How networks are run"


@handled
def evaluate(
    dataset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="demo, sidd-val, sidd-benchmark, dnd, nind, cc15, polyu, pairs, folder "
            "or synthetic.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
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
            "poisson:30. --seed decides which.",
        ),
    ] = None,
    unclipped: Annotated[
        bool,
        typer.Option("--unclipped", help="Neither clip nor round that noise, as papers do."),
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the data set, if it is published openly.")
    ] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            rich_help_panel=WHAT,
            help="Weights to score, one or several; none for baselines alone. By default those "
            "that denoise uses.",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=WHAT,
            help="nlm, wavelet, tv or bm3d, one or several; or all that are installed.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=WHAT,
            help="psnr, ssim, ssim_gaussian; without clean photos noise, change. One or several.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=WHAT, help="Only the first N images."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=RESULTS, help="Figures of each image."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=RESULTS, help="A web page with figures and pictures."
        ),
    ] = None,
    save_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", rich_help_panel=RESULTS, help="Results as DIR/METHOD/IMAGE.png."
        ),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=RESULTS,
            help="What the benchmark takes: for sidd-benchmark a .csv (Kaggle) or .mat file, for "
            "dnd a folder.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", rich_help_panel=RESULTS, help="Replace existing files."),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=RESULTS,
            help="Where results of each image are kept, so that an interrupted evaluation goes on.",
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", rich_help_panel=RESULTS, help="Compute everything anew."),
    ] = False,
    protocol: Annotated[
        Literal["tiled", "paper"],
        typer.Option(
            rich_help_panel=DENOISING,
            help="tiled: as denoise does it. paper: whole images, exact attention, fp32, no detail "
            "recovery.",
        ),
    ] = "tiled",
    device: DeviceOption = "auto",
    refine: RefineOption = None,
    refine_passes: RefinePassesOption = None,
    detail: DetailOption = "auto",
    strength: StrengthOption = 1.0,
    ensemble: EnsembleOption = False,
    seed: SeedOption = 0,
    tile: TileOption = "auto",
    overlap: OverlapOption = None,
    precision: PrecisionOption = "auto",
    attention: AttentionOption = "linear",
    compile: CompileOption = "auto",
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score denoisers: PSNR, SSIM, time and memory, side by side."""
    from ssbsn_cli.core.evaluation.datasets.added_noise import AddedNoise
    from ssbsn_cli.core.evaluation.evaluation_request import EvaluationRequest
    from ssbsn_cli.core.inference.settings import Settings

    out = Output(json_lines=json_lines, quiet=quiet)
    if protocol == "paper":
        if tile != "auto" or overlap is not None or precision != "auto" or attention != "linear":
            raise OptionError(
                "--protocol paper sets --tile, --overlap, --precision, --attention and --detail.",
                "Drop those, or the protocol.",
            )
        tile, precision, attention, detail = "0", "fp32", "exact", "off"
    if data and fetch:
        raise OptionError("--fetch and --data contradict each other.", "Use one.")
    if cache and no_cache:
        raise OptionError("--cache and --no-cache contradict each other.", "Use one.")
    settings = Settings(
        device=device,
        precision=precision,
        attention=attention,
        compile=compile,
        refine=refine,
        refine_passes=refine_passes,
        detail=detail,
        tile=parse_tile(tile),
        overlap=overlap,
        ensemble=ensemble,
        strength=strength,
        seed=seed,
    )
    if unclipped and noise is None:
        raise OptionError("--unclipped is of the noise of --noise.", "Add --noise, or drop it.")
    request = EvaluationRequest(
        dataset=dataset,
        added=None if noise is None else AddedNoise(noise, seed, clipped=not unclipped),
        data=[Path(path).expanduser() for path in data or []],
        limit=limit,
        weights=weights or [],
        baselines=baseline or [],
        metrics=metric or [],
        protocol=protocol,
        settings=settings,
        cache=cache,
        use_cache=not no_cache,
        csv=csv,
        report=report,
        pictures=save_images,
        submission=submission,
        overwrite=overwrite,
    )
    if fetch:
        _fetch(out, dataset)
    _run(out, request)


evaluate.__doc__ = f"{evaluate.__doc__}\n{EXAMPLES}"


def _fetch(out: Output, dataset: str) -> None:
    from ssbsn_cli.core.evaluation.datasets.addresses import fetch_dataset, find_address
    from ssbsn_cli.core.evaluation.datasets.catalogue import home_of, needs_of

    address = find_address(dataset, needs_of(dataset))
    with out.progress() as progress:
        bar = progress.add_task("downloading", total=len(address.files))
        fetch_dataset(
            dataset,
            address,
            home_of(dataset),
            out.say,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _run(out: Output, request: EvaluationRequest) -> None:
    # Only now, since PyTorch takes seconds to import.
    from ssbsn_cli.core.evaluation.runner import Evaluation

    evaluation = Evaluation(request, out.warn)
    out.say(f"{evaluation.dataset.title}: {len(evaluation.dataset)} images.")
    with out.progress() as progress:
        bar = progress.add_task("denoising", total=None)
        found = evaluation.run(
            lambda done, total: progress.update(bar, completed=done, total=total)
        )
    out.record(found)
    out.show(result_table(found))
    for line in footnotes(found):
        out.say(line)
    for path in (request.csv, request.report, request.pictures, request.submission):
        if path:
            out.say(f"Written: {path}")
