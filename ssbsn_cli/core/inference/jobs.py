"""Which files are denoised and where each result goes, decided before anything is loaded."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import format_of_path, is_photo_name
from ssbsn_cli.core.inference.finding import (
    DEFAULT_SUFFIX,
    STREAM,
    Finder,
    Found,
    is_folder,
    is_special,
)


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to denoise.

    Parameters
    ----------
    source : Path or None
        The photo; None is standard input.
    target : Path or None
        Where the result goes; None is standard output.
    comparison : Path, optional
        Where a picture of before and after goes.
    below : Path
        The last folders of these paths, which the user did not name.
    """

    source: Path | None
    target: Path | None
    comparison: Path | None = None
    below: Path = Path()

    @property
    def written(self) -> list[Path]:
        """The files that the job writes."""
        return [path for path in (self.target, self.comparison) if path is not None]

    @property
    def is_done(self) -> bool:
        """Whether all files are there that the job writes."""
        return bool(self.written) and all(map(os.path.exists, self.written))

    @property
    def skipped(self) -> dict[str, Any]:
        """What is told of the job if it is done already, as plain values for JSON."""
        return {
            "input": str(self.source or STREAM),
            "output": str(self.target or STREAM),
            "skipped": True,
        }


@dataclass
class Plan:
    """All photos of a command.

    Parameters
    ----------
    jobs : list of Job
        In the order of the inputs, directories sorted by name.
    passed_over : list of (Path, str)
        Files in the directories that are not denoised, and why.
    unreadable : list of OSError
        Directories that cannot be read.
    """

    jobs: list[Job] = field(default_factory=list)
    passed_over: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[OSError] = field(default_factory=list)

    def keep_shard(self, number: int, count: int) -> None:
        """Keep one of `count` parts of the jobs, from 1, by their photos' names.

        A photo belongs to the same part on every machine, whatever other photos there are: its
        path below the named folder decides, or its name if it was itself named.
        """

        def shard(job: Job) -> int:
            name = job.below / job.source.name if job.source else STREAM
            return zlib.crc32(os.fsencode(name)) % count + 1

        self.jobs = [job for job in self.jobs if shard(job) == number]


def plan_jobs(
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str | None = None,
    format: str | None = None,
    recursive: bool = False,
    compare: str | None = None,
    listed: bool = False,
) -> Plan:
    """Find the photos and name their results.

    Photos that differ only by their extensions, and would get results of one name, keep their
    extensions in it: with the format "png", b.jpg becomes b.jpg.png.

    Parameters
    ----------
    inputs : sequence of str
        Files, directories, or "-" for standard input.
    output : str, optional
        A file, a directory, or "-" for standard output. Without it, results go beside the
        photos, or to standard output if the photo comes from standard input.
    suffix : str, optional
        Goes between a result's stem and its extension. By default "_denoised" beside the
        photos, and nothing in an output directory.
    format : str, optional
        Format of the results; by default that of the extension.
    recursive : bool
        Whether to include subdirectories, whose tree is kept below `output`.
    compare : str, optional
        A file for the picture of before and after; a directory if there are several inputs.
    listed : bool
        Whether a list names the inputs, which then count as several even if it names one.

    Raises
    ------
    OptionError
        If the options contradict each other, or a file would be written twice or over an input.
    """
    if "" in (*inputs, output, compare):
        raise OptionError("A path is empty.", "Check the variable that it comes from.")
    if STREAM in inputs and len(inputs) > 1:
        raise OptionError("Standard input cannot be mixed with other inputs.", "Give '-' alone.")
    many = listed or len(inputs) > 1 or any(is_folder(Path(text)) for text in inputs)
    if many and output == STREAM:
        raise OptionError("Several photos cannot go to one stream.", "Name a directory with -o.")
    into = _directory(output, many)
    if output not in (None, STREAM) and not into:
        if suffix is not None:
            raise OptionError("--suffix and a file as output contradict each other.", "Use one.")
        _check_file(Path(str(output)), format)
    suffix = suffix if suffix is not None else "" if output else DEFAULT_SUFFIX
    if os.sep in suffix or (os.altsep and os.altsep in suffix):
        raise OptionError(f"The suffix {suffix!r} names another directory.", "Use -o for that.")
    compare_into = _directory(compare, many)
    if compare and not compare_into:
        _check_file(Path(compare), None)

    finder = Finder(recursive, into, suffix)
    jobs = []
    for found in finder.find(inputs):
        target = _place(found, output, into, suffix, format)
        comparison = _named(compare) if compare else None
        if compare_into:
            name = found.path.name if found.path else "stdin"
            comparison = compare_into / found.below / f"{name}_compare.png"
        jobs.append(Job(found.path, target, comparison, found.below))
    # The same photo may be named twice, by a pattern and by itself.
    jobs = list(dict.fromkeys(jobs))
    plan = Plan(_tell_apart(jobs, suffix), finder.passed_over, finder.unreadable)
    _pass_over_results(plan, suffix)
    _refuse_collisions(plan.jobs)
    return plan


def _directory(text: str | None, many: bool) -> Path | None:
    """Return an output as a path if results go into it as a directory."""
    if text is None or text == STREAM:
        return None
    path = Path(text)
    if is_folder(path) or text.endswith(("/", os.sep)):
        return path
    if not many:
        return None
    if path.is_file() or is_photo_name(path):
        raise OptionError(f"Several photos cannot go to one file, {path}.", "Name a directory.")
    return path


def _check_file(path: Path, format: str | None) -> None:
    if is_special(path):
        raise OptionError(f"{path} is not a regular file.", "Use -o - for standard output.")
    try:
        by_name = format_of_path(path)
    except ImageError as error:
        if format:
            return
        raise OptionError(str(error), error.hint) from None
    if format and format != by_name:
        raise OptionError(
            f"{path} is named as {by_name}, but --format says {format}.", "Leave one of them out."
        )


def _place(
    found: Found, output: str | None, into: Path | None, suffix: str, format: str | None
) -> Path | None:
    """Return where a result goes; None is standard output."""
    if output == STREAM or (found.path is None and output is None):
        return None
    if output is not None and into is None:
        return _named(output)
    if found.path is None:
        raise OptionError("Standard input has no name.", "Name the output file with -o.")
    if into is None and is_special(found.path):
        raise OptionError(f"{found.path} has no name to call the result by.", "Use -o FILE.")
    base = into / found.below if into else found.path.parent
    return base / _result_name(found.path, suffix, format)


def _result_name(path: Path, suffix: str, format: str | None) -> str:
    extension = path.suffix
    if format and not (is_photo_name(path) and format_of_path(path) == format):
        extension = ".jpg" if format == "jpeg" else f".{format}"
    return f"{path.stem}{suffix}{extension}"


def _named(output: str) -> Path:
    """Return a file that the user named: a link leads to the file that is meant."""
    path = Path(output)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _tell_apart(jobs: Sequence[Job], suffix: str) -> list[Job]:
    """Give results of their own to photos that differ only by their extensions."""
    alike = defaultdict(list)
    for job in jobs:
        alike[job.target].append(job.source)

    def own(job: Job) -> Job:
        source, target = job.source, job.target
        if source is None or target is None or len(alike[target]) == 1:
            return job
        folders = {each.parent for each in alike[target] if each}
        if len(folders) > 1 or source.suffix == target.suffix:
            return job
        return replace(job, target=target.with_name(f"{source.name}{suffix}{target.suffix}"))

    return [own(job) for job in jobs]


def _pass_over_results(plan: Plan, suffix: str) -> None:
    """Leave out photos that are results of others, as in a second `ssbsn denoise *.jpg`."""
    photos = {(job.source.parent, job.source.stem) for job in plan.jobs if job.source}
    kept = []
    for job in plan.jobs:
        for ending in {suffix, DEFAULT_SUFFIX} - {""}:
            stem = job.source.stem.removesuffix(ending) if job.source else ""
            if job.source and stem != job.source.stem and (job.source.parent, stem) in photos:
                plan.passed_over.append((job.source, f"a result, by {ending!r} in its name"))
                break
        else:
            kept.append(job)
    plan.jobs = kept


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    # Links in folders are followed, but no result is written through a link that is a file.
    real_folder = cache(os.path.realpath)

    def real(path: Path) -> str:
        return os.path.join(real_folder(path.parent), path.name)  # noqa: PTH118 - for speed

    sources = {real(job.source): job for job in jobs if job.source}
    for job in jobs:
        if job.source and job.source.is_symlink():
            sources[os.path.realpath(job.source)] = job
    writers: dict[str, Job] = {}
    for job in jobs:
        for path in job.written:
            place = real(path)
            if place in writers:
                raise OptionError(
                    f"{path} would be written twice, for "
                    f"{writers[place].source or 'standard input'} and for "
                    f"{job.source or 'standard input'}.",
                    "Name different outputs, or use two commands.",
                )
            writers[place] = job
            read_by = sources.get(place)
            if read_by and (read_by is not job or path == job.comparison):
                raise OptionError(
                    f"{path} is to be read and to be written.", "Name another output."
                )
