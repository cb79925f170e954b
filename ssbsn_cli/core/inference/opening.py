"""Open photos before they are denoised: the next ones ahead of their turn, alike ones together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import Photo, check_writable, format_of_path, read_photo
from ssbsn_cli.core.imaging.compare import Comparison
from ssbsn_cli.core.imaging.tiff_stream import TiffImage, open_large_tiff
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import FileOptions
from ssbsn_cli.core.runtime.process import stdin

# Larger files are opened when it is their turn: their pixels may need all of the memory.
_SMALL = 8 << 20
# Smaller ones are opened together, this many at most.
_TINY = 1 << 19
_MANY = 16


@dataclass
class Opened:
    """A photo that can be denoised and whose result can be written.

    Parameters
    ----------
    photo : Photo
        Its pixels, which the result is to replace.
    format : str
        Of the result.
    comparison : Comparison or None
        What it was, if before and after are to be shown.
    """

    photo: Photo
    format: str
    comparison: Comparison | None


# A job and what opening its photo gave.
Opening = tuple[Job, Opened | TiffImage | Exception]


def open_groups(
    jobs: Sequence[Job], options: FileOptions, together: Callable[[int, int], int]
) -> Iterator[list[Opening]]:
    """Open photos, and group what is best computed together.

    Parameters
    ----------
    jobs : sequence of Job
        From where to where.
    options : FileOptions
        How to write.
    together : callable
        Tells how many images of a height and a width are best computed together.

    Yields
    ------
    list of (Job, Opened or TiffImage or Exception)
        The next jobs, in order: one of any kind, or several photos of one size and type.
    """
    runs = _runs(jobs)
    ahead: Future[list[Opening]] | None = None
    with ThreadPoolExecutor(1) as reader:
        for run, following in zip(runs, [*runs[1:], []], strict=True):
            openings = ahead.result() if ahead else _open_all(run, options)
            # No reference to a photo stays here while it is computed.
            ahead = None
            if following and _size(following[0]) < _SMALL:
                ahead = reader.submit(_open_all, following, options)
            while openings:
                count = _count_alike(openings, together)
                group, openings = openings[:count], openings[count:]
                yield group


def _runs(jobs: Sequence[Job]) -> list[list[Job]]:
    """Cut jobs into runs of tiny files and others alone."""
    runs: list[list[Job]] = []
    tiny_before = False
    for job in jobs:
        tiny = _size(job) < _TINY
        if tiny and tiny_before and len(runs[-1]) < _MANY:
            runs[-1].append(job)
        else:
            runs.append([job])
        tiny_before = tiny
    return runs


def _size(job: Job) -> int:
    try:
        return job.source.stat().st_size if job.source and job.source.is_file() else _SMALL
    except OSError:
        return _SMALL


def _count_alike(openings: Sequence[Opening], together: Callable[[int, int], int]) -> int:
    """Return how many of the first photos are computed together."""
    first = openings[0][1]
    if not isinstance(first, Opened):
        return 1
    one = first.photo.color
    most, count = together(*one.shape[:2]), 1
    for _, other in openings[1:most]:
        if not isinstance(other, Opened):
            break
        if (other.photo.color.shape, other.photo.color.dtype) != (one.shape, one.dtype):
            break
        count += 1
    return count


def _open_all(jobs: Sequence[Job], options: FileOptions) -> list[Opening]:
    openings: list[Opening] = []
    for job in jobs:
        try:
            openings.append((job, _open(job, options)))
        except Exception as error:
            openings.append((job, error))
    return openings


def _open(job: Job, options: FileOptions) -> Opened | TiffImage:
    _refuse_existing(job, options)
    format = options.format or _format_of_target(job.target)
    if job.source and job.target and format in (None, "tiff"):
        image = open_large_tiff(job.source)
        if image:
            _prepare_folders(job)
            return image
    if job.source is None:
        source: Path | bytes = stdin().read()
        name = "standard input"
    else:
        source, name = job.source, str(job.source)
    photo = read_photo(source, name, max_pixels=options.max_pixels, raw_space=options.raw_space)
    format = format or photo.format
    # What cannot be written is noticed before minutes are spent on denoising.
    check_writable(photo, format, options.quality, str(job.target or "The result"))
    _prepare_folders(job)
    comparison = Comparison(photo.color) if job.comparison else None
    return Opened(photo, format, comparison)


def _format_of_target(target: Path | None) -> str | None:
    """Return what a target's extension asks for; None if that is no format."""
    try:
        return format_of_path(target) if target else None
    except ImageError:
        return None


def _refuse_existing(job: Job, options: FileOptions) -> None:
    """Notice what is there already before minutes are spent on denoising."""
    if options.overwrite:
        return
    for path in job.written:
        if not path.exists():
            continue
        if job.source and job.source.exists() and path.samefile(job.source):
            raise ImageError(
                f"{path}: the result would replace the photo itself.",
                "Use --overwrite to allow that, or name another output with -o.",
            )
        raise ImageError(
            f"{path} already exists.", "Use --overwrite to replace it or --skip-existing."
        )


def _prepare_folders(job: Job) -> None:
    """Make the folders of the results, and refuse those that cannot be written to."""
    for path in job.written:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise ImageError(
                f"{path} cannot be written: you may not write in its folder.",
                "Choose a folder that you may write to.",
            )
