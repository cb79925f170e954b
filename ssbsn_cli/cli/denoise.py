"""``ssbsn denoise``: remove noise from photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssbsn_cli.cli.adapting import STREAM, check_adapting, run_adapting
from ssbsn_cli.cli.failures import FAILED, explain, handled
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
    WeightsOption,
    parse_tile,
)
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.runtime.process import stdout
from ssbsn_cli.core.types import FormatKind

if TYPE_CHECKING:
    from rich.progress import Progress

    from ssbsn_cli.core.inference.jobs import Job
    from ssbsn_cli.core.inference.settings import FileOptions, Settings
    from ssbsn_cli.core.weights.locate import LoadedWeights

EXAMPLES = """
[bold]Examples[/bold]

    ssbsn denoise photo.png
    ssbsn denoise photo.png -o clean.png --device cuda
    ssbsn denoise photos/ -o clean/ --recursive
    ssbsn denoise *.jpg -o clean/ --skip-existing
    ssbsn denoise photo.jpg --compare compare.png
    ssbsn denoise photos/ -o clean/ --adapt 10
    cat in.png | ssbsn denoise - > out.png

Exit codes: 0 all done, 1 some failed, 2 wrong use, 3 no device or weights, 130 interrupted.
"""


@handled
def denoise(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Photos, directories, or - for standard input."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Where to: a file, a directory (made if missing), or - for standard output. "
            "Without it, photo_denoised.png beside photo.png.",
        ),
    ] = None,
    weights: WeightsOption = None,
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
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into subdirectories, too.")
    ] = False,
    suffix: Annotated[
        str | None,
        typer.Option(help="Added to result names. By default _denoised, or nothing with -o."),
    ] = None,
    format: Annotated[
        FormatKind | None, typer.Option(help="Format of results; by default that of their names.")
    ] = None,
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Quality of JPEG and WebP results.")
    ] = 95,
    strip_metadata: Annotated[
        bool, typer.Option("--strip-metadata", help="Leave out EXIF, XMP and ICC.")
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Also write a picture of before and after; a directory for several inputs.",
        ),
    ] = None,
    adapt: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="Train the weights on these very photos first; results are kept only if better.",
        ),
    ] = None,
    keep_adapted: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Directory to keep adapted weights in.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files, even the photo itself.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave photos whose result exists.")
    ] = False,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove noise from photos: files, whole directories, or a pipe."""
    from ssbsn_cli.core.inference.jobs import plan_jobs
    from ssbsn_cli.core.inference.settings import FileOptions, Settings

    out = Output(json_lines=json_lines, quiet=quiet)
    if overwrite and skip_existing:
        raise OptionError("--overwrite and --skip-existing contradict each other.", "Use one.")
    check_adapting(adapt, keep_adapted, inputs)
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
    plan = plan_jobs(
        inputs, output, suffix=suffix, format=format, recursive=recursive, compare=compare
    )
    if any(job.target is None for job in plan.jobs):
        if json_lines:
            raise OptionError("The image and --json cannot share standard output.", "Use -o FILE.")
        if stdout().isatty():
            raise OptionError("A terminal cannot show the image.", "Use -o FILE, or a pipe.")
    if json_lines:
        stdout()
    for path, reason in plan.passed_over:
        out.say(f"{path}: {reason}, passed over")
    failed = 0
    for trouble in plan.unreadable:
        failed += 1
        _fail(out, str(trouble.filename), trouble)
    todo = []
    for job in plan.jobs:
        if skip_existing and job.written and all(map(_exists, job.written)):
            out.say(f"{job.target} exists, skipped")
            out.record({"input": str(job.source), "output": str(job.target), "skipped": True})
        else:
            todo.append(job)
    if not plan.jobs:
        out.say("No photos found.")
    if todo:
        failed += _denoise_all(
            out,
            settings,
            weights,
            todo,
            FileOptions(
                format=format,
                quality=quality,
                overwrite=overwrite,
                strip_metadata=strip_metadata,
            ),
            adapt,
            keep_adapted,
        )
    if failed:
        out.say(f"{failed} failed.")
        raise typer.Exit(FAILED)


denoise.__doc__ = f"{denoise.__doc__}\n{EXAMPLES}"


def _denoise_all(
    out: Output,
    settings: Settings,
    weights: str | None,
    todo: Sequence[Job],
    options: FileOptions,
    minutes: float | None,
    keep: Path | None,
) -> int:
    """Denoise photo after photo, and return how many failed."""
    # Only now, since PyTorch takes seconds to import.
    from ssbsn_cli.core.inference.files import denoise_files
    from ssbsn_cli.core.inference.load import load_denoiser

    chosen: str | LoadedWeights | None = weights
    if minutes:
        photos = [job.source for job in todo if job.source]
        chosen = run_adapting(out, photos, weights, minutes, settings, keep)
    denoiser = load_denoiser(chosen, notify=out.warn, **vars(settings))
    failed = 0
    with out.progress() as progress:
        bars = _Bars(progress, len(todo))
        for job, outcome in denoise_files(denoiser, todo, options, bars.start, bars.tiles):
            if isinstance(outcome, DeviceError | OptionError | BrokenPipeError):
                raise outcome
            if isinstance(outcome, Exception):
                failed += 1
                _fail(out, _name(job), outcome)
            else:
                out.record(outcome)
                out.say(_summary(outcome))
            bars.finish()
    return failed


def _fail(out: Output, source: str, cause: Exception) -> None:
    error = explain(cause)
    out.error(error)
    out.record({"input": source, "error": str(error), "hint": error.hint})


def _name(job: Job) -> str:
    return str(job.source or STREAM)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _summary(result: dict[str, Any]) -> str:
    megapixels = result["width"] * result["height"] / 1e6
    return (
        f"{result['input']} -> {result['output']}  ({megapixels:.2g} Mpx in "
        f"{result['seconds']:.1f} s on {result['device']})"
    )


class _Bars:
    """The progress bars: one over the files if there are several, one over a file's tiles."""

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress = progress
        self._files = progress.add_task("photos", total=files, visible=files > 1)
        self._tiles = progress.add_task("", total=None)

    def start(self, job: Job) -> None:
        self._progress.reset(self._tiles, description=_name(job), total=None)

    def tiles(self, done: int, total: int) -> None:
        self._progress.update(self._tiles, completed=done, total=total)

    def finish(self) -> None:
        self._progress.advance(self._files)
