"""``ssbsn denoise``: remove noise from photographs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssbsn_cli.cli.failures import FAILED, explain, explain_photo
from ssbsn_cli.cli.options import SettingsOptions
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.inference.settings import FileOptions, Settings
from ssbsn_cli.core.runtime.process import stdin, stdout, undeferred_interrupts
from ssbsn_cli.core.types import FormatKind

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
        int, typer.Option(min=1, max=100, help="Quality of JPEG and WebP results.")
    ] = 95,
    strip_metadata: Annotated[
        bool, typer.Option("--strip-metadata", help="Leave out EXIF, XMP and ICC.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files, even the photo itself.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip photos whose result exists, and share the others with commands that run at "
            "the same time.",
        ),
    ] = False,
    keep_time: Annotated[
        bool, typer.Option("--keep-time", help="Give results the photos' time of change.")
    ] = False,
) -> FileOptions:
    if overwrite and skip_existing:
        raise OptionError("--overwrite and --skip-existing contradict each other.", "Use one.")
    return FileOptions(
        format=format,
        quality=quality,
        overwrite=overwrite,
        skip_existing=skip_existing,
        strip_metadata=strip_metadata,
        keep_time=keep_time,
    )


def denoise(
    out: Output,
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Photos, directories, or - for standard input."),
    ] = None,
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
    inputs_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also denoise what a list names, a line each; - is stdin."
        ),
    ] = None,
    nul: Annotated[
        bool,
        typer.Option("--null", "-0", help="That list is separated by NULs, as by find -print0."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Denoise only the I-th of N parts of the photos."),
    ] = None,
) -> None:
    """Remove noise from photos: files, whole directories, or a pipe."""
    from ssbsn_cli.core.inference.jobs import plan_jobs

    inputs = [*(inputs or []), *_read_list(inputs_from, nul)]
    if not inputs and not inputs_from:
        raise OptionError("No photo was named.", "Name photos, folders, or - for standard input.")
    part = _parse_shard(shard) if shard else None
    if keep_adapted and adapt is None:
        raise OptionError("--keep-adapted needs --adapt.", "Say for how many minutes to adapt.")
    if adapt is not None and not 0 < adapt < math.inf:
        raise OptionError(f"Cannot adapt for {adapt:g} minutes.", "Give a number above 0.")
    if adapt and _STREAM in inputs:
        raise OptionError("Weights cannot adapt to a photo from a pipe.", "Save it to a file.")
    plan = plan_jobs(
        inputs,
        output,
        suffix=suffix,
        format=files.format,
        recursive=recursive,
        compare=compare,
        listed=inputs_from is not None,
    )
    if part:
        plan.keep_shard(*part)
    _check_stdout(out, plan)
    for path, reason in plan.passed_over:
        out.say(f"Passed over {path}: {reason}.")
    failed = len(plan.unreadable)
    for trouble in plan.unreadable:
        out.error(explain(trouble)[1], input=str(trouble.filename))
    todo = [job for job in plan.jobs if not (files.skip_existing and _is_done(out, job))]
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


def _read_list(path: Path | None, nul: bool) -> list[str]:
    """Return the inputs that a file names, or standard input."""
    from ssbsn_cli.core.inference.finding import STREAM, read_names

    if path is None:
        if nul:
            raise OptionError("-0 needs --inputs-from.", "Say which list is to be read.")
        return []
    content = stdin().read() if str(path) == STREAM else path.read_bytes()
    return read_names(content, b"\0" if nul else b"\n")


def _parse_shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise OptionError(f"A shard of {text[:20]!r} makes no sense.", "Use 1/8 to 8/8 of 8 parts.")
    return int(number), int(count)


def _is_done(out: Output, job: Job) -> bool:
    """Tell whether a job's results exist, and say so."""
    done = job.is_done
    if done:
        _show(out, job, job.skipped)
    return done


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

        saved = contextlib.nullcontext() if keep else undeferred_interrupts()
        with out.progress(counted=False) as progress, saved:
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
                out.error(explain_photo(outcome, _name(job)), input=str(job.source or _STREAM))
            else:
                _show(out, job, outcome)
            progress.advance(photos)
    return failed


def _name(job: Job) -> str:
    return str(job.source or "standard input")


def _show(out: Output, job: Job, result: dict[str, Any]) -> None:
    """Say what became of a photo."""
    out.record(result)
    if "comparison" in result:
        out.say(f"{job.target} exists, and {job.comparison} was drawn from it")
    elif "skipped" in result:
        out.say(f"{job.target} exists, skipped")
    else:
        megapixels = result["width"] * result["height"] / 1e6
        out.say(
            f"{_name(job)} -> {job.target or 'standard output'}  ({megapixels:.2g} Mpx in "
            f"{result['seconds']:.1f} s on {result['device']})"
        )
