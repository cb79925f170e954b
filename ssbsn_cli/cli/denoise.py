"""``ssbsn denoise``: remove noise from photographs."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssbsn_cli.cli.failures import FAILED, explain
from ssbsn_cli.cli.options import SettingsOptions
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.inference.settings import FileOptions, Settings
from ssbsn_cli.core.runtime.process import stdout
from ssbsn_cli.core.types import FormatKind, RawSpace

if TYPE_CHECKING:
    from ssbsn_cli.core.inference.denoiser import Denoiser
    from ssbsn_cli.core.inference.jobs import Job, Plan
    from ssbsn_cli.core.weights.locate import LoadedWeights

_STREAM = "-"


def _make_file_options(
    format: Annotated[
        FormatKind | None,
        typer.Option(help="Format of the results; by default, their names decide."),
    ] = None,
    quality: Annotated[
        int,
        typer.Option(min=1, max=100, help="Quality of JPEG, WebP, HEIC, AVIF and JPEG XL results."),
    ] = 95,
    strip_metadata: Annotated[
        bool, typer.Option("--strip-metadata", help="Leave out EXIF, XMP, ICC and the like.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files, even the photo itself.")
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse photos of more pixels; by default, 512 megapixels."),
    ] = None,
    raw_space: Annotated[
        RawSpace, typer.Option(help="Colour space that camera raw files are developed to.")
    ] = "srgb",
) -> FileOptions:
    return FileOptions(
        format=format,
        quality=quality,
        overwrite=overwrite,
        strip_metadata=strip_metadata,
        max_pixels=max_pixels,
        raw_space=raw_space,
    )


def denoise(
    out: Output,
    *,
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
            help="Where results go: a file, a directory (made if missing), or - for standard "
            "output. Without it, photo_denoised.png beside photo.png.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Weights to use: a name (see ssbsn fetch-weights --list) or a file.",
        ),
    ] = None,
    settings: SettingsOptions,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into subdirectories, too.")
    ] = False,
    suffix: Annotated[
        str | None,
        typer.Option(help="Added to names of results. By default _denoised, or nothing with -o."),
    ] = None,
    files: Annotated[FileOptions, _make_file_options],
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
            help="First train the weights on these very photos; use the outcome only if better.",
        ),
    ] = None,
    keep_adapted: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Directory to keep the adapted weights in.")
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip photos whose result exists.")
    ] = False,
) -> None:
    """Remove noise from photos: files, whole directories, or a pipe."""
    from ssbsn_cli.core.inference.jobs import plan_jobs

    if files.overwrite and skip_existing:
        raise OptionError("--overwrite and --skip-existing contradict each other.", "Use one.")
    if keep_adapted and adapt is None:
        raise OptionError("--keep-adapted needs --adapt.", "Say for how many minutes to adapt.")
    if adapt is not None and not 0 < adapt < math.inf:
        raise OptionError(f"Cannot adapt for {adapt:g} minutes.", "Give a number above 0.")
    if adapt and _STREAM in inputs:
        raise OptionError("Weights cannot adapt to a photo from a pipe.", "Save it to a file.")
    plan = plan_jobs(
        inputs, output, suffix=suffix, format=files.format, recursive=recursive, compare=compare
    )
    _check_stdout(out, plan)
    for path, reason in plan.passed_over:
        out.say(f"Passed over {path}: {reason}.")
    failed = len(plan.unreadable)
    for trouble in plan.unreadable:
        out.error(explain(trouble)[1], input=str(trouble.filename))
    todo = [job for job in plan.jobs if not (skip_existing and _exists(out, job))]
    if not plan.jobs:
        out.say("No photos found.")
    if todo:
        denoiser = _load(out, weights, settings, todo, adapt, keep_adapted)
        failed += _denoise_all(out, denoiser, todo, files)
    if failed:
        out.say(f"{failed} failed.")
        raise typer.Exit(FAILED)


def _check_stdout(out: Output, plan: Plan) -> None:
    if any(job.target is None for job in plan.jobs):
        if out.json_lines:
            raise OptionError("The image and --json cannot share standard output.", "Use -o FILE.")
        if stdout().isatty():
            raise OptionError("A terminal cannot show the image.", "Use -o FILE, or a pipe.")
    if out.json_lines:
        stdout()


def _exists(out: Output, job: Job) -> bool:
    """Tell whether a job's results exist, and say so."""
    exist = bool(job.written) and all(map(os.path.exists, job.written))
    if exist:
        out.say(f"{job.target} exists, skipped")
        out.record({"input": str(job.source), "output": str(job.target), "skipped": True})
    return exist


def _load(
    out: Output,
    weights: str | None,
    settings: Settings,
    todo: Sequence[Job],
    minutes: float | None,
    keep: Path | None,
) -> Denoiser:
    # Imported here, since PyTorch takes seconds.
    from ssbsn_cli.core.inference.load import load_denoiser

    chosen: str | LoadedWeights | None = weights
    if minutes:
        from ssbsn_cli.core.training.adapt import adapt_weights

        with out.progress(counted=False) as progress:
            bar = progress.add_task("adapting", total=1)
            chosen = adapt_weights(
                [job.source for job in todo if job.source],
                weights,
                minutes,
                settings,
                keep,
                say=out.say,
                warn=out.warn,
                listen=lambda done: progress.update(bar, completed=done.progress),
            )
    return load_denoiser(chosen, notify=out.warn, **vars(settings))


def _denoise_all(out: Output, denoiser: Denoiser, todo: Sequence[Job], files: FileOptions) -> int:
    """Denoise photo after photo, and return how many failed."""
    from ssbsn_cli.core.inference.files import denoise_files

    failed = 0
    left_out: Counter[str] = Counter()
    with out.progress() as progress:
        photos = progress.add_task("photos", total=len(todo), visible=len(todo) > 1)
        tiles = progress.add_task("", total=None)

        def begin(job: Job) -> None:
            progress.reset(tiles, description=_name(job), total=None)

        def count(done: int, total: int) -> None:
            progress.update(tiles, completed=done, total=total)

        for job, outcome in denoise_files(denoiser, todo, files, begin, count):
            if isinstance(outcome, DeviceError | OptionError | BrokenPipeError):
                raise outcome
            if isinstance(outcome, Exception):
                failed += 1
                out.error(explain(outcome)[1], input=_name(job))
            else:
                out.record(outcome)
                out.say(_summary(outcome))
                left_out.update(outcome["left_out"])
            progress.advance(photos)
    if left_out:
        what = (
            f"{name} (of {number})" if len(todo) > 1 else name for name, number in left_out.items()
        )
        out.say(f"The results do not keep: {', '.join(what)}.")
    return failed


def _name(job: Job) -> str:
    return str(job.source or _STREAM)


def _summary(result: dict[str, Any]) -> str:
    megapixels = result["width"] * result["height"] / 1e6
    return (
        f"{result['input']} -> {result['output']}  ({megapixels:.2g} Mpx in "
        f"{result['seconds']:.1f} s on {result['device']})"
    )
