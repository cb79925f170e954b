"""Which files are denoised and where each result goes, decided before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import format_of_path, is_photo_name

STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One photograph to denoise.

    Parameters
    ----------
    source : Path or None
        The photograph; None is standard input.
    target : Path or None
        Where the result goes; None is standard output.
    """

    source: Path | None
    target: Path | None


@dataclass
class Plan:
    """All photographs of a command.

    Parameters
    ----------
    jobs : list of Job
        In the order of the inputs, directories sorted by name.
    passed_over : list of Path
        Files in directories that are no photographs by their name.
    """

    jobs: list[Job] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)


def plan_jobs(
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str | None = None,
    format: str | None = None,
    recursive: bool = False,
) -> Plan:
    """Find the photographs and name their results.

    Parameters
    ----------
    inputs : sequence of str
        Files, directories, or "-" for standard input.
    output : str, optional
        A file, a directory, or "-" for standard output. Without it, results go beside the
        photographs, or to standard output if the photograph comes from standard input.
    suffix : str, optional
        Goes between a result's stem and its extension. By default "_denoised" beside the
        photographs and nothing in a directory of their own.
    format : str, optional
        Format of the results; by default that of the extension.
    recursive : bool
        Whether to go into subdirectories. Their tree is kept below `output`.

    Raises
    ------
    OptionError
        If the options contradict each other, or two results would be one file.
    """
    if STREAM in inputs and len(inputs) > 1:
        raise OptionError("Standard input cannot be mixed with other inputs.", "Give '-' alone.")
    many = len(inputs) > 1 or any(Path(text).is_dir() for text in inputs)
    if many and output == STREAM:
        raise OptionError("Several photos cannot go to one stream.", "Name a directory with -o.")
    into = _output_directory(output, many)
    if not into and output not in (None, STREAM):
        _check_format(Path(str(output)), format)
    if suffix is None:
        suffix = "" if output else "_denoised"
    if os.sep in suffix or (os.altsep and os.altsep in suffix):
        raise OptionError(f"The suffix {suffix!r} names another directory.", "Use -o for that.")

    plan = Plan()
    for text in inputs:
        source = Path(text)
        if text == STREAM:
            file = Path(output) if output and output != STREAM else None
            if into and file:
                raise OptionError("Standard input has no name.", "Name the output file with -o.")
            plan.jobs.append(Job(None, file))
        elif source.is_dir():
            skip = into.resolve() if into else None
            for path in _walk(source, recursive, skip):
                if not is_photo_name(path):
                    plan.passed_over.append(path)
                elif into or not (suffix and path.stem.endswith(suffix)):
                    base = into / path.relative_to(source).parent if into else path.parent
                    plan.jobs.append(Job(path, base / _result_name(path, suffix, format)))
        elif output == STREAM:
            plan.jobs.append(Job(source, None))
        elif output and not into:
            plan.jobs.append(Job(source, Path(output)))
        else:
            base = into or source.parent
            plan.jobs.append(Job(source, base / _result_name(source, suffix, format)))
    _refuse_collisions(plan.jobs)
    return plan


def _output_directory(output: str | None, many: bool) -> Path | None:
    """Return `output` if results go into it as a directory."""
    if output in (None, STREAM):
        return None
    path = Path(str(output))
    if path.is_dir() or str(output).endswith(("/", os.sep)):
        return path
    if not many:
        return None
    if path.exists() or is_photo_name(path):
        raise OptionError(f"Several photos cannot go to one file, {path}.", "Name a directory.")
    return path


def _check_format(path: Path, format: str | None) -> None:
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


def _walk(directory: Path, recursive: bool, skip: Path | None) -> Iterator[Path]:
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if recursive and not entry.is_symlink() and entry.resolve() != skip:
                yield from _walk(entry, recursive, skip)
        else:
            yield entry


def _result_name(path: Path, suffix: str, format: str | None) -> str:
    extension = path.suffix
    if format and not (is_photo_name(path) and format_of_path(path) == format):
        extension = ".jpg" if format == "jpeg" else f".{format}"
    return f"{path.stem}{suffix}{extension}"


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    seen: dict[Path, Path | None] = {}
    for job in jobs:
        if job.target is None:
            continue
        if job.target in seen:
            raise OptionError(
                f"{seen[job.target]} and {job.source} would both be written to {job.target}.",
                "Denoise them with two commands into two directories.",
            )
        seen[job.target] = job.source
