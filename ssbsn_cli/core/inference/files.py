"""Denoise photographs from file to file, also TIFFs too large for memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    check_writable,
    encode_photo,
    stored_dtype,
    write_photo,
)
from ssbsn_cli.core.imaging.compare import RowComparison
from ssbsn_cli.core.imaging.photo import Pixels
from ssbsn_cli.core.imaging.tiff_stream import TiffImage
from ssbsn_cli.core.imaging.writing import write_rows
from ssbsn_cli.core.inference.denoiser import Denoiser, describe_speed
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.opening import Opened, open_groups
from ssbsn_cli.core.inference.settings import FileOptions
from ssbsn_cli.core.runtime.process import stdout
from ssbsn_cli.core.types import Progress


def denoise_large(
    denoiser: Denoiser,
    image: TiffImage,
    job: Job,
    target: Path,
    options: FileOptions,
    progress: Progress,
) -> dict[str, Any]:
    """Denoise rows as they are read, write them as they are done, whole or not at all.

    Parameters
    ----------
    denoiser : Denoiser
        The network.
    image : TiffImage
        The photograph; closed at the end.
    job : Job
        Where it is from, and where a picture of before and after goes.
    target : Path
        Where the result goes.
    options : FileOptions
        How to write.
    progress : callable
        Called with the number of tiles done and their total.

    Returns
    -------
    dict
        As `denoise_file` returns it; the time is that of reading and writing, too.

    Raises
    ------
    ImageError
        If the photograph is damaged or the result cannot be written.
    DeviceError
        If the device's memory is too small.
    """
    start = time.perf_counter()
    picture = RowComparison(image.shape) if job.comparison else None
    # One pixel stands for all: only the number of channels and their type matter.
    check_writable(Photo(image[:1, :1]), "tiff", options.quality, str(target))
    rows = denoiser.stream(image, progress)
    write_rows(
        _watch(rows, image, picture) if picture else rows,
        image,
        target,
        overwrite=options.overwrite,
        strip_metadata=options.strip_metadata,
    )
    speed = describe_speed(image, time.perf_counter() - start)
    if picture and job.comparison:
        photo = Photo(picture.picture(), Metadata(), "png")
        write_photo(photo, job.comparison, overwrite=options.overwrite)
    height, width, channels = image.shape
    return {
        "input": str(job.source),
        "output": str(target),
        "width": width,
        "height": height,
        "channels": channels,
        "dtype": str(image.dtype),
        **denoiser.describe(),
        **speed,
    }


def _watch(rows: Iterator[Pixels], image: TiffImage, picture: RowComparison) -> Iterator[Pixels]:
    """Pass rows on and show them, beside what they were, to a picture of before and after."""
    top = 0
    for after in rows:
        picture.add(image[top : top + len(after), :], after)
        top += len(after)
        yield after


def denoise_files(
    denoiser: Denoiser,
    jobs: Sequence[Job],
    options: FileOptions,
    begin: Callable[[Job], None] = lambda _: None,
    progress: Progress = lambda _done, _of: None,
) -> Iterator[tuple[Job, dict[str, Any] | Exception]]:
    """Denoise photographs, reading the next and writing the last while one is computed.

    Small photographs of one size are computed together.

    Parameters
    ----------
    denoiser : Denoiser
        The network.
    jobs : sequence of Job
        From where to where.
    options : FileOptions
        How to write.
    begin : callable, optional
        Told of each job before its photograph is computed.
    progress : callable, optional
        Called with the number of tiles done and their total.

    Yields
    ------
    job : Job
        Each, in order, once its result is written.
    outcome : dict or Exception
        What `denoise_file` returns or raises.
    """
    with ThreadPoolExecutor(1) as writer:
        last: list[tuple[Job, Future[dict[str, Any]]]] = []
        for group in open_groups(jobs, options, denoiser.batch_size):
            for job, _ in group:
                begin(job)
            results = _compute(denoiser, group, options, progress, writer)
            for job, outcome in last:
                yield job, _outcome_of(outcome)
            last = [(job, outcome) for (job, _), outcome in zip(group, results, strict=True)]
            # Who watches is told of what is done already.
            while last and last[0][1].done():
                job, outcome = last.pop(0)
                yield job, _outcome_of(outcome)
        for job, outcome in last:
            yield job, _outcome_of(outcome)


def denoise_file(
    denoiser: Denoiser,
    job: Job,
    options: FileOptions,
    progress: Progress = lambda _done, _of: None,
) -> dict[str, Any]:
    """Read a photograph, denoise it, and write the result whole or not at all.

    Parameters
    ----------
    denoiser : Denoiser
        The network.
    job : Job
        From where to where.
    options : FileOptions
        How to write.
    progress : callable, optional
        Called with the number of tiles done and their total.

    Returns
    -------
    dict
        What was done, as plain values for JSON: ``input``, ``output``, ``width``, ``height``,
        ``channels``, ``dtype`` (of the output) and all of `Denoiser.describe` and
        `Denoiser.denoise_in_place`.

    Raises
    ------
    ImageError
        If the photograph cannot be read or the result cannot be written.
    DeviceError
        If the device's memory is too small.
    """
    ((_, outcome),) = denoise_files(denoiser, [job], options, progress=progress)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _outcome_of(future: Future[dict[str, Any]]) -> dict[str, Any] | Exception:
    try:
        return future.result()
    except Exception as error:
        return error


def _compute(
    denoiser: Denoiser,
    group: Sequence[tuple[Job, Opened | TiffImage | Exception]],
    options: FileOptions,
    progress: Progress,
    writer: ThreadPoolExecutor,
) -> list[Future[dict[str, Any]]]:
    """Denoise a group that was opened; its results are being written when this returns."""
    outcomes: list[Future[dict[str, Any]]] = [Future() for _ in group]
    photos: dict[int, Opened] = {}
    for i, (job, opened) in enumerate(group):
        try:
            if isinstance(opened, Exception):
                raise opened
            _prepare_folders(job)
            if isinstance(opened, Opened):
                photos[i] = opened
                continue
            assert job.target
            with opened:
                facts = denoise_large(denoiser, opened, job, job.target, options, progress)
            outcomes[i].set_result(facts)
        except Exception as error:
            outcomes[i].set_exception(error)
    try:
        pixels = [opened.photo.pixels for opened in photos.values()]
        if len(photos) == 1:
            speed = denoiser.denoise_in_place(pixels[0], progress)
        elif photos:
            speed = denoiser.denoise_together(pixels, progress)
        for i, opened in photos.items():
            job, facts = group[i][0], {**denoiser.describe(), **speed}
            if job.target:
                outcomes[i] = writer.submit(_write, opened, job, options, facts)
            else:
                # Nobody may be reading there, and a thread that waits cannot be interrupted.
                outcomes[i].set_result(_write(opened, job, options, facts))
    except Exception as error:
        for i in photos:
            outcomes[i].set_exception(error)
    return outcomes


def _write(opened: Opened, job: Job, options: FileOptions, facts: dict[str, Any]) -> dict[str, Any]:
    photo, format = opened.photo, opened.format
    if job.target is None:
        data = encode_photo(
            photo, format, quality=options.quality, strip_metadata=options.strip_metadata
        )
        stdout().write(data)
        stdout().flush()
    else:
        write_photo(
            photo,
            job.target,
            format=format,
            quality=options.quality,
            overwrite=options.overwrite,
            strip_metadata=options.strip_metadata,
        )
    if opened.comparison and job.comparison:
        picture = Photo(opened.comparison.picture(photo.color), Metadata(), "png")
        write_photo(picture, job.comparison, overwrite=options.overwrite)
    return {
        "input": str(job.source or "-"),
        "output": str(job.target or "-"),
        "width": photo.pixels.shape[1],
        "height": photo.pixels.shape[0],
        "channels": photo.pixels.shape[2],
        "dtype": str(stored_dtype(photo, format)),
        **facts,
    }


def _prepare_folders(job: Job) -> None:
    """Make the folders of the results; notice what cannot be written before it is computed."""
    for path in job.written:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise ImageError(
                f"{path} cannot be written: you may not write in its folder.",
                "Choose a folder that you may write to.",
            )
