"""Which files are denoised and where each result goes, decided before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import (
    PHOTO_EXTENSIONS,
    format_of_path,
    is_photo_name,
    result_extension,
)

STREAM = "-"
_DEFAULT_SUFFIX = "_denoised"


@dataclass(frozen=True)
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
    """

    source: Path | None
    target: Path | None
    comparison: Path | None = None

    @property
    def written(self) -> list[Path]:
        """The files that the job writes."""
        return [path for path in (self.target, self.comparison) if path is not None]


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


def plan_jobs(
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str | None = None,
    format: str | None = None,
    recursive: bool = False,
    compare: str | None = None,
) -> Plan:
    """Find the photos and name their results.

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

    Raises
    ------
    OptionError
        If the options contradict each other, or a file would be written twice or over an input.
    """
    if "" in (*inputs, output, compare):
        raise OptionError("A path is empty.", "Check the variable that it comes from.")
    if STREAM in inputs and len(inputs) > 1:
        raise OptionError("Standard input cannot be mixed with other inputs.", "Give '-' alone.")
    many = len(inputs) > 1 or any(_is_dir(Path(text)) for text in inputs)
    if many and output == STREAM:
        raise OptionError("Several photos cannot go to one stream.", "Name a directory with -o.")
    into = _directory(output, many)
    if output not in (None, STREAM) and not into:
        if suffix is not None:
            raise OptionError("--suffix and a file as output contradict each other.", "Use one.")
        _check_file(Path(str(output)), format)
    suffix = suffix if suffix is not None else "" if output else _DEFAULT_SUFFIX
    if os.sep in suffix or (os.altsep and os.altsep in suffix):
        raise OptionError(f"The suffix {suffix!r} names another directory.", "Use -o for that.")
    compare_into = _directory(compare, many)
    if compare and not compare_into:
        _check_file(Path(compare), None)

    plan = Plan()
    for source, below in _find(inputs, output, into, suffix, recursive, plan):
        target: Path | None
        if output == STREAM or (source is None and output is None):
            target = None
        elif into is None and output is not None:
            target = Path(output)
        elif source is None:
            raise OptionError("Standard input has no name.", "Name the output file with -o.")
        else:
            base = into / below if into else source.parent
            target = base / _result_name(source, suffix, format)
        comparison = Path(compare) if compare else None
        if compare_into:
            name = source.name if source else "stdin"
            comparison = compare_into / below / f"{name}_compare.png"
        plan.jobs.append(Job(source, target, comparison))
    # The same photo may be named twice, by a pattern and by itself.
    plan.jobs = list(dict.fromkeys(plan.jobs))
    _refuse_collisions(plan.jobs)
    return plan


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a device or the like."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        return False


def _directory(text: str | None, many: bool) -> Path | None:
    """Return an output as a path if results go into it as a directory."""
    if text is None or text == STREAM:
        return None
    path = Path(text)
    if _is_dir(path) or text.endswith(("/", os.sep)):
        return path
    if not many:
        return None
    if path.is_file() or is_photo_name(path):
        raise OptionError(f"Several photos cannot go to one file, {path}.", "Name a directory.")
    return path


def _check_file(path: Path, format: str | None) -> None:
    if _is_special(path):
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


def _find(
    inputs: Sequence[str],
    output: str | None,
    into: Path | None,
    suffix: str,
    recursive: bool,
    plan: Plan,
) -> Iterator[tuple[Path | None, Path]]:
    """Yield each photo and its directory, relative to the input that led there."""
    here = Path()
    for text in inputs:
        source = Path(text)
        if text == STREAM:
            yield None, here
        elif not _is_dir(source):
            if not output and _is_special(source):
                raise OptionError(f"{source} has no name to call the result by.", "Use -o FILE.")
            yield source, here
        else:
            skip = into.resolve() if into else None
            for path in _walk(source, recursive, skip, plan):
                if not is_photo_name(path):
                    plan.passed_over.append((path, "not a photo by its name"))
                elif _is_special(path):
                    plan.passed_over.append((path, "not a regular file"))
                elif _is_result(path, suffix):
                    plan.passed_over.append((path, f"a result, by {suffix!r} in its name"))
                else:
                    yield path, path.relative_to(source).parent


def _walk(directory: Path, recursive: bool, skip: Path | None, plan: Plan) -> Iterator[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        plan.unreadable.append(error)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_dir(entry):
            if recursive and not entry.is_symlink() and entry.resolve() != skip:
                yield from _walk(entry, recursive, skip, plan)
        else:
            yield entry


def _is_result(path: Path, suffix: str) -> bool:
    """Tell whether a photo is the result of another one that is still beside it."""
    stem = path.stem.removesuffix(suffix)
    if not suffix or stem == path.stem:
        return False
    extensions = {path.suffix, *PHOTO_EXTENSIONS, *map(str.upper, PHOTO_EXTENSIONS)}
    return any(path.with_name(stem + extension).exists() for extension in extensions if stem)


def _result_name(path: Path, suffix: str, format: str | None) -> str:
    return f"{path.stem}{suffix}{result_extension(path, format)}"


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source): job for job in jobs if job.source}
    writers: dict[str, Job] = {}
    for job in jobs:
        for path in job.written:
            real = os.path.realpath(path)
            if real in writers:
                raise OptionError(
                    f"{path} would be written twice, for {writers[real].source or 'standard input'}"
                    f" and for {job.source or 'standard input'}.",
                    "Name different outputs, or use two commands.",
                )
            writers[real] = job
            read_by = sources.get(real)
            if read_by and (read_by is not job or path == job.comparison):
                raise OptionError(
                    f"{path} is to be read and to be written.", "Name another output."
                )
