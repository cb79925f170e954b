"""``ssbsn denoise``: remove noise from photos."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ssbsn_cli.cli.failures import FAILED
from ssbsn_cli.cli.options import FileOptionsGroup, SettingsOptions
from ssbsn_cli.cli.outcomes import denoise_all, find_possible, find_todo
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.settings import ALL_GPUS, STREAM, FileOptions, Settings
from ssbsn_cli.core.runtime.parsing import whole_number
from ssbsn_cli.core.runtime.process import stdout, undeferred_interrupts
from ssbsn_cli.core.types import count_of

if TYPE_CHECKING:
    from ssbsn_cli.cli.outcomes import Denoise
    from ssbsn_cli.core.inference.jobs import Job, Plan
    from ssbsn_cli.core.weights.locate import LoadedWeights

_MOST_MINUTES = 10**6

_many = partial(typer.Option, rich_help_panel="Many photos and machines")


def denoise(
    out: Output,
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Photos, folders, or - for standard input."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Where results go: a file; a folder (for one photo, end the name of a new one "
            "with /); or - for standard output. Without it, photo_denoised.png beside photo.png.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Weights to use: a name (see ssbsn fetch-weights --list), a file, or a "
            "training run.",
        ),
    ] = None,
    settings: SettingsOptions,
    recursive: Annotated[bool, _many("--recursive", "-r", help="Go into subfolders, too.")] = False,
    suffix: Annotated[
        str | None,
        typer.Option(help="Added to names of results. By default _denoised, or nothing with -o."),
    ] = None,
    files: FileOptionsGroup,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Also write a picture of before and after; a folder for several inputs.",
        ),
    ] = None,
    adapt: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="First train the weights on these photos, for at most this long plus preparation; "
            "use the result only if it is better.",
        ),
    ] = None,
    keep_adapted: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder to keep the adapted weights in.")
    ] = None,
    inputs_from: Annotated[
        Path | None,
        _many(
            metavar="FILE",
            help="Also denoise the photos that FILE lists, one per line; - is standard input.",
        ),
    ] = None,
    nul: Annotated[
        bool,
        _many("--null", "-0", help="Names in the list end with NUL, as by find -print0."),
    ] = False,
    shard: Annotated[
        str | None,
        _many(metavar="I/N", help="Denoise only the I-th of N parts of the photos."),
    ] = None,
    cluster: Annotated[
        str | None,
        _many(
            metavar="ADDRESS|FILE|local",
            help="Denoise on a Dask cluster: the address of its scheduler, or the file that it "
            "wrote. local (or local:N) starts workers here, as --device cuda:all does.",
        ),
    ] = None,
) -> None:
    """Remove noise from photos: files, whole folders, or a pipe."""
    from ssbsn_cli.core.inference.finding import read_list
    from ssbsn_cli.core.inference.jobs import Plan
    from ssbsn_cli.core.inference.placing import Naming

    inputs = inputs or []
    if settings.device == ALL_GPUS:
        cluster = cluster or "local"
    if not inputs and not inputs_from:
        raise OptionError("No photo was named.", "Name photos, folders, or - for standard input.")
    if nul and not inputs_from:
        raise OptionError("-0 needs --inputs-from.", "Name the list with --inputs-from FILE.")
    if keep_adapted and adapt is None:
        raise OptionError("--keep-adapted needs --adapt.", "Add --adapt MINUTES.")
    if adapt is not None:
        _refuse_adapting(adapt, STREAM in inputs, shard, cluster, files)
    if STREAM in inputs and shard:
        raise OptionError("--shard does not work with standard input.", "Drop --shard.")
    if STREAM in (*inputs, output):
        if files.keep_time:
            raise OptionError(
                "--keep-time does not work with standard input or output.", "Drop --keep-time."
            )
        if cluster:
            raise OptionError("A cluster reads and writes files only.", "Name files or folders.")
    plan = Plan(
        inputs,
        Naming(output=output, suffix=suffix, format=files.format, compare=compare),
        listed=read_list(inputs_from, b"\0" if nul else b"\n") if inputs_from else None,
        recursive=recursive,
        shard=_parse_shard(shard) if shard else (1, 1),
        overwrite=files.overwrite,
    )
    _check_stdout(out, plan, files.skip_existing or (files.overwrite and not compare))
    counts: Counter[str] = Counter()
    todo = find_todo(out, plan, files, counts)
    # Nothing is loaded if there is nothing to do.
    if first := next(filter(None, todo), None):
        jobs: Iterable[Job | None] = chain([first], todo)
        chosen: str | LoadedWeights | None = weights
        if adapt:
            if keep_adapted:
                _refuse_place(keep_adapted, files.skip_existing)
            # Weights adapt to all photos, so all of them must be known.
            jobs = possible = list(find_possible(out, filter(None, jobs), files, counts))
            if possible:
                if skipped := counts["skipped"]:
                    out.say(
                        f"Adapting to the {count_of(len(possible), 'photo')} without a result, and "
                        f"not to the {skipped} skipped."
                    )
                # The weights learn the noise of the photos as they are, so they must see the same.
                settings = replace(settings, own_size="off")
                chosen = _adapt(out, weights, settings, possible, adapt, keep_adapted)
        if jobs:
            run = _prepare(out, chosen, settings, files, cluster)
            denoise_all(out, run, jobs, plan, counts)
    _conclude(out, plan, counts)


def _conclude(out: Output, plan: Plan, counts: Mapping[str, int]) -> None:
    if not counts["photos"]:
        others = f" in this shard, and {plan.elsewhere:,} in others" if plan.elsewhere else ""
        out.say(f"No photos found{others}.")
    if failed := counts["failed"]:
        out.say(f"{failed} failed.")
        raise typer.Exit(FAILED)


def _refuse_adapting(
    minutes: float, piped: bool, shard: str | None, cluster: str | None, files: FileOptions
) -> None:
    """Refuse to adapt for a length that makes no sense, or where not all photos are at hand."""
    if not 0 < minutes <= _MOST_MINUTES:
        raise OptionError(
            f"Cannot adapt for {minutes:g} minutes.",
            f"Give a number above 0 and at most {_MOST_MINUTES}.",
        )
    if piped:
        raise OptionError("Weights cannot adapt to a photo from a pipe.", "Save it to a file.")
    if files.max_pixels or files.raw_space != "srgb":
        raise OptionError(
            "--adapt reads photos with the usual limit of their size, and raw files in sRGB.",
            "Drop --max-pixels and --raw-space.",
        )
    first = "Adapt them first: ssbsn train --config adapt, then name them with --weights."
    if shard:
        raise OptionError("With a shard, weights would adapt to a part of the photos only.", first)
    if cluster:
        raise OptionError("Weights cannot adapt on a cluster.", first)


def _check_stdout(out: Output, plan: Plan, about_files: bool) -> None:
    if plan.to_stdout:
        if about_files:
            raise OptionError(
                "--overwrite and --skip-existing do not affect standard output.", "Drop them."
            )
        if out.json_lines:
            raise OptionError("The image and --json cannot share standard output.", "Use -o FILE.")
        if stdout().isatty():
            raise OptionError("A terminal cannot show the image.", "Use -o FILE, or a pipe.")
    if out.json_lines:
        stdout()


def _parse_shard(text: str) -> tuple[int, int]:
    number, count = (whole_number(part) or 0 for part in text.partition("/")[::2])
    if not 1 <= number <= count:
        raise OptionError(
            f"A shard of {text[:20]!r} makes no sense.", "Give I/N with I from 1 to N, such as 3/8."
        )
    return number, count


def _refuse_place(run: Path, go_on: bool) -> None:
    """Refuse to keep adapted weights in another run, or among other files."""
    from ssbsn_cli.core.runtime.storage import check_folder_of
    from ssbsn_cli.core.training.run_files import RunFiles

    files = RunFiles(run)
    if not go_on:
        files.refuse_run(
            f"use what it learned with --weights {shlex.quote(str(run))}, or go on with the same "
            "photos by --skip-existing"
        )
    check_folder_of(run)
    files.refuse_links()
    files.refuse_others()


def _adapt(
    out: Output,
    weights: str | None,
    settings: Settings,
    jobs: Iterable[Job],
    minutes: float,
    keep: Path | None,
) -> LoadedWeights:
    from ssbsn_cli.core.inference.denoiser import load_denoiser
    from ssbsn_cli.core.training.adapt import adapt_weights

    # Settings that the weights do not support are refused before minutes are spent.
    load_denoiser(weights, **vars(settings))
    saved = contextlib.nullcontext() if keep else undeferred_interrupts()
    with out.progress(counted=False) as progress, saved:
        bar = progress.add_task("adapting", total=1)
        return adapt_weights(
            [job.source for job in jobs if job.source],
            weights,
            minutes,
            settings,
            keep,
            say=out.say,
            warn=out.warn,
            listen=lambda done: progress.update(bar, completed=done.progress),
        )


def _prepare(
    out: Output,
    weights: str | LoadedWeights | None,
    settings: Settings,
    files: FileOptions,
    cluster: str | None,
) -> Denoise:
    """Return the function that denoises photos, on this machine or on a cluster."""
    if cluster:
        from ssbsn_cli.core.inference.cluster import Work, denoise_on_cluster

        work = Work(cast("str | None", weights), settings, files)
        return lambda jobs, _begin, _progress: denoise_on_cluster(cluster, jobs, work, out.warn)

    # Imported here, since PyTorch takes seconds.
    from ssbsn_cli.core.inference.denoiser import load_denoiser
    from ssbsn_cli.core.inference.files import denoise_files

    denoiser = load_denoiser(weights, notify=out.warn, **vars(settings))
    return lambda jobs, begin, progress: denoise_files(denoiser, jobs, files, begin, progress)
