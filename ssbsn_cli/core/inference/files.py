"""Denoise photographs from file to file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    check_writable,
    encode_photo,
    format_of_path,
    read_photo,
    stored_dtype,
    write_photo,
)
from ssbsn_cli.core.imaging.compare import Comparison
from ssbsn_cli.core.imaging.tiff_stream import TiffImage, open_large_tiff
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.engine import Progress
from ssbsn_cli.core.inference.file_options import FileOptions
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.large import denoise_large
from ssbsn_cli.core.streams import stdin, stdout

# Larger files than this wait for their turn: their pixels may need all of the memory.
_SMALL = 8 << 20


@dataclass
class _Opened:
    """A photograph that can be denoised and whose result can be written."""

    photo: Photo
    format: str
    comparison: Comparison | None


def denoise_files(
    denoiser: Denoiser,
    jobs: Sequence[Job],
    options: FileOptions,
    begin: Callable[[Job], None] = lambda _: None,
    progress: Progress = lambda _done, _of: None,
) -> Iterator[tuple[Job, dict[str, Any] | Exception]]:
    """Denoise photographs, reading the next and writing the last while one is computed.

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
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        written: tuple[Job, Future[dict[str, Any]]] | None = None
        ahead: Future[_Opened | TiffImage] | None = None
        for job, following in zip_longest(jobs, jobs[1:]):
            begin(job)
            opening, ahead = ahead, None
            if following and _is_small(following):
                ahead = reader.submit(_open, following, options)
            outcome: Future[dict[str, Any]] = Future()
            try:
                opened = opening.result() if opening else _open(job, options)
                outcome = _compute(denoiser, opened, job, options, progress, writer)
            except Exception as error:
                outcome.set_exception(error)
            if written:
                yield written[0], _outcome_of(written[1])
            written = job, outcome
            if outcome.done():
                yield job, _outcome_of(outcome)
                written = None
        if written:
            yield written[0], _outcome_of(written[1])


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


def _is_small(job: Job) -> bool:
    """Tell whether a photograph may be in memory beside others, and will not keep one waiting."""
    try:
        return bool(job.source and job.source.is_file() and job.source.stat().st_size < _SMALL)
    except OSError:
        return False


def _outcome_of(future: Future[dict[str, Any]]) -> dict[str, Any] | Exception:
    try:
        return future.result()
    except Exception as error:
        return error


def _open(job: Job, options: FileOptions) -> _Opened | TiffImage:
    _refuse_existing(job, options)
    format = options.format or _format_of_target(job.target)
    if job.source and job.target and format in (None, "tiff"):
        image = open_large_tiff(job.source)
        if image:
            return image
    if job.source is None:
        photo = read_photo(stdin().read(), name="standard input")
    else:
        photo = read_photo(job.source)
    format = format or photo.format
    # What cannot be written is noticed before minutes are spent on denoising.
    check_writable(photo, format, options.quality, str(job.target or "The result"))
    comparison = Comparison(photo.color) if job.comparison else None
    return _Opened(photo, format, comparison)


def _compute(
    denoiser: Denoiser,
    opened: _Opened | TiffImage,
    job: Job,
    options: FileOptions,
    progress: Progress,
    writer: ThreadPoolExecutor,
) -> Future[dict[str, Any]]:
    """Denoise what was opened; the result is being written when this returns."""
    _prepare_folders(job)
    done: Future[dict[str, Any]] = Future()
    if isinstance(opened, TiffImage):
        assert job.target
        with opened:
            done.set_result(denoise_large(denoiser, opened, job, job.target, options, progress))
        return done
    speed = denoiser.denoise_in_place(opened.photo.pixels, progress)
    facts = {**denoiser.describe(), **speed}
    if job.target:
        return writer.submit(_write, opened, job, options, facts)
    # Nobody may be reading there, and a thread that waits cannot be interrupted.
    done.set_result(_write(opened, job, options, facts))
    return done


def _write(
    opened: _Opened, job: Job, options: FileOptions, facts: dict[str, Any]
) -> dict[str, Any]:
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
        picture = Photo(opened.comparison.draw(photo.color), Metadata(), "png")
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


def _format_of_target(target: Path | None) -> str | None:
    """Return what a target's extension asks for; a name without a known one leaves it open."""
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
