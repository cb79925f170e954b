"""Open photos: the next ones ahead of their turn, and photos of the same size together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    check_writable,
    format_of_path,
    list_losses,
    read_photo,
    result_format,
    write_photo,
)
from ssbsn_cli.core.imaging.compare import Comparison
from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.imaging.profile import colour_profile, is_grey_profile
from ssbsn_cli.core.imaging.tiff_stream import TiffImage, open_large_tiff
from ssbsn_cli.core.inference.finding import is_same_file
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import FileOptions
from ssbsn_cli.core.runtime.process import silenced_libraries, stdin
from ssbsn_cli.core.runtime.storage import check_folder_of, make_folder_of, refuse_links
from ssbsn_cli.core.runtime.temporary import claim
from ssbsn_cli.core.runtime.threads import background_thread

# Larger files are opened only when it is their turn: their pixels may need all of the memory.
_SMALL = 8 << 20
# Smaller files are opened together, at most this many.
_TINY = 1 << 19
_MANY = 16
_SECONDS_BETWEEN_LOOKS = 0.2
# Any comparison, to see whether it can be written.
_COMPARISON = Photo(np.zeros((1, 1, 3), np.uint8))


@dataclass
class Opened:
    """A photo that can be denoised, and whose result, of this format, can be written.

    The result will replace its pixels. `comparison` holds the original if one is requested. `lost`
    is what the result's file will lack.
    """

    photo: Photo
    format: str
    comparison: Comparison | None
    lost: tuple[str, ...]


# What was done, as plain values for JSON, or what went wrong.
Outcome = dict[str, Any] | Exception
# A job, and its photo or already its outcome.
Opening = tuple[Job, Opened | TiffImage | Outcome]


def open_groups(
    jobs: Iterable[Job | None], options: FileOptions, together: Callable[[int, int], int]
) -> Iterator[list[Opening]]:
    """Open photos, and yield them: a single one of any kind, or several of one size and type.

    Jobs are taken shortly before their turn. None means that the next one is not known yet; then an
    empty list is yielded, too. With `skip_existing`, photos that other processes work
    on come last: by then, their results exist or those processes have ended. `together` takes a
    height and a width, and returns how many such images are best computed together.
    """
    runs = _runs(jobs)
    ahead: Future[list[Opening]] | None = None
    postponed: list[Job] = []
    with background_thread() as reader:
        run = next(runs, None)
        while run is not None:
            openings = ahead.result() if ahead else _open_all(run, options, postponed)
            # Keep no reference to a photo while it is computed.
            ahead = None
            following = next(runs, None)
            if following == []:
                yield []
            if following and _size(following[0]) < _SMALL:
                ahead = reader.submit(_open_all, following, options, postponed)
            while openings:
                count = _count_alike(openings, together)
                group, openings = openings[:count], openings[count:]
                yield group
            run = following
    for job in postponed:
        while not (openings := _open_all([job], options, [])):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        yield openings


def _runs(jobs: Iterable[Job | None]) -> Iterator[list[Job]]:
    """Group tiny files into runs; every other file is a run of its own, and None an empty one."""
    run: list[Job] = []
    for job in jobs:
        if job is None:
            if run:
                yield run
            run = []
            yield run
            continue
        tiny = _size(job) < _TINY
        if run and not (tiny and len(run) < _MANY):
            yield run
            run = []
        run.append(job)
        if not tiny:
            yield run
            run = []
    if run:
        yield run


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
    # More than 8 bits would show that sums are rounded differently.
    most, count = together(*one.shape[:2]) if one.dtype == np.uint8 else 1, 1
    for _, other in openings[1:most]:
        if not isinstance(other, Opened):
            break
        if (other.photo.color.shape, other.photo.color.dtype) != (one.shape, one.dtype):
            break
        count += 1
    return count


def _open_all(jobs: Sequence[Job], options: FileOptions, postponed: list[Job]) -> list[Opening]:
    """Open photos; append those that another process works on to `postponed`."""
    openings: list[Opening] = []
    for job in jobs:
        try:
            if options.skip_existing and not job.is_done and not _claim(job):
                postponed.append(job)
            # It may have been finished just before it was claimed.
            elif options.skip_existing and job.is_done:
                openings.append((job, job.skipped))
            else:
                # Decoders in C write warnings to standard error, which do not name the photo.
                with silenced_libraries():
                    openings.append((job, _open(job, options)))
        except Exception as error:
            openings.append((job, error))
    return openings


def _claim(job: Job) -> bool:
    """Claim a photo for this process; return whether that worked."""
    _refuse_links(job)
    _make_folders(job)
    return claim(job.written[0]) if job.written else True


def _open(job: Job, options: FileOptions) -> Opened | TiffImage | dict[str, Any]:
    _refuse_links(job)
    if options.skip_existing and job.target and job.target.is_file() and not job.is_in_place:
        return _compare_existing(job, options) if job.comparison else job.skipped
    refuse_existing(job, options)
    if job.comparison:
        name = str(job.comparison)
        check_writable(_COMPARISON, format_of_path(name), options.quality, name)
    format = options.format or _format_of_target(job.target)
    if job.source and job.target and format in (None, "tiff"):
        image = open_large_tiff(job.source)
        if image:
            _make_folders(job)
            return image
    photo = _read(job, options)
    format = format or result_format(photo.format)
    # Notice results that cannot be written before minutes are spent on denoising.
    check_writable(photo, format, options.quality, str(job.target or "The result"))
    _make_folders(job)
    comparison = Comparison(photo.color.shape) if job.comparison else None
    if comparison:
        comparison.add_before(photo.color)
    lost = list_losses(photo, format, options.strip_metadata)
    return Opened(photo, format, comparison, lost)


def _read(job: Job, options: FileOptions) -> Photo:
    source: Path | BinaryIO = job.source or stdin()
    name = str(job.source or "standard input")
    return read_photo(source, name, max_pixels=options.max_pixels, raw_space=options.raw_space)


def _format_of_target(target: Path | None) -> str | None:
    """Return the format of a target's extension, if there is one."""
    try:
        return format_of_path(target) if target else None
    except ImageError:
        return None


def _refuse_links(job: Job) -> None:
    for path in job.written:
        refuse_links(path, 1 + len(job.below.parts))


def refuse_existing(job: Job, options: FileOptions) -> None:
    """Raise ImageError if a result exists, before minutes are spent on denoising."""
    if options.overwrite:
        return
    for path in job.written:
        if not path.exists() or (options.skip_existing and path == job.comparison):
            continue
        if path.is_dir():
            raise ImageError(f"{path} is a folder.", "Name another output with -o.")
        if job.source and is_same_file(path, job.source):
            raise ImageError(
                f"{path}: the result would replace the photo itself.",
                "Use --overwrite to allow that, or name another output with -o.",
            )
        raise ImageError(
            f"{path} already exists.",
            "Use --overwrite to replace it, or --skip-existing to keep it.",
        )


def refuse_places(job: Job, options: FileOptions) -> None:
    """Raise ImageError if a result exists or cannot be written, long before it is there."""
    _refuse_links(job)
    refuse_existing(job, options)
    for path in job.written:
        check_folder_of(path)


def _compare_existing(job: Job, options: FileOptions) -> dict[str, Any]:
    """Draw the missing comparison of an existing result; an interruption can cause this state."""
    assert job.target
    assert job.comparison
    result = partial(read_photo, job.target, max_pixels=options.max_pixels)
    with ExitStack() as stack:
        before, metadata = _pixels_of(job.source, lambda: _read(job, options), stack)
        after, _ = _pixels_of(job.target, result, stack)
        # The format of the result may have made grey to colours.
        if before.shape[:2] != after.shape[:2]:
            raise ImageError(
                f"{job.target} cannot be compared with its photo: their sizes differ.",
                "Use --overwrite to make it anew.",
            )
        comparison = Comparison(before.shape)
        for rows in pixel_rows(before):
            comparison.add_before(before[rows, :])
            comparison.add_after(after[rows, :])
    write_comparison(comparison.picture(), metadata, job.comparison)
    return {**job.skipped, "comparison": str(job.comparison)}


def _pixels_of(
    path: Path | None, read: Callable[[], Photo], stack: ExitStack
) -> tuple[Image, Metadata]:
    """Open a photo for reading by rows if it is a large TIFF; otherwise, read it."""
    if path and (large := open_large_tiff(path)):
        return stack.enter_context(large), large.metadata
    photo = read()
    return photo.color, photo.metadata


def write_comparison(
    picture: Pixels, metadata: Metadata, path: Path, overwrite: bool = False
) -> None:
    """Write a comparison in the photo's colour space; raises as `write_photo` does."""
    # The picture is in colour, even if the photo is grey.
    icc = colour_profile(metadata.icc) if is_grey_profile(metadata.icc) else metadata.icc
    colours = Metadata(icc=icc, cicp=metadata.cicp)
    write_photo(Photo(picture, colours, "png"), path, overwrite=overwrite)


def _make_folders(job: Job) -> None:
    for path in job.written:
        make_folder_of(path)
