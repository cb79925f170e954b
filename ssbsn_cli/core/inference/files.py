"""Denoise photos from file to file, including TIFFs that are too large for memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    check_writable,
    encode_photo,
    list_losses,
    stored_dtype,
    write_photo,
)
from ssbsn_cli.core.imaging.compare import Comparison
from ssbsn_cli.core.imaging.photo import Pixels
from ssbsn_cli.core.imaging.tiff_stream import TiffImage
from ssbsn_cli.core.imaging.writing import write_rows
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.opening import Opened, Opening, Outcome, open_groups, write_comparison
from ssbsn_cli.core.inference.settings import FileOptions
from ssbsn_cli.core.runtime.process import write_out
from ssbsn_cli.core.runtime.temporary import give_up_claim
from ssbsn_cli.core.runtime.threads import background_thread
from ssbsn_cli.core.types import Progress


def denoise_files(
    denoiser: Denoiser,
    jobs: Iterable[Job | None],
    options: FileOptions,
    begin: Callable[[Job], None] = lambda _: None,
    progress: Progress = lambda _done, _of: None,
) -> Generator[tuple[Job, Outcome]]:
    """Denoise photos; the next is read and the last is written while one is computed.

    Small photos of one size are computed together. Results are written atomically.

    Parameters
    ----------
    denoiser : Denoiser
        The network.
    jobs : iterable of Job or None
        From file to file; taken shortly before their turn. None: the next is not known yet.
    options : FileOptions
        How to write.
    begin : callable, optional
        Called with each job before its photo is computed.
    progress : callable, optional
        Called with the number of tiles done and their total.

    Yields
    ------
    job : Job
        Each job after its result is written; in order, except for photos that others had claimed.
    outcome : dict or Exception
        What was done, as plain values for JSON: ``input``, ``output``, ``comparison`` (if there is
        one), ``width``, ``height``, ``channels``, ``dtype`` (of the output), ``left_out`` (metadata
        of the photo that the result lacks), everything from `Denoiser.describe`, ``enlarged`` (how
        many times the photo was enlarged, or None), ``seconds`` and ``megapixels_per_second``. If
        the result existed, only ``input``, ``output`` and ``skipped``, and ``comparison`` if that
        was missing. Or what went wrong: ImageError if the photo cannot be read or the result cannot
        be written, DeviceError if the device's memory is too small; other errors are defects.
    """
    with background_thread() as writer:
        last: list[tuple[Job, Outcome | Future[Outcome]]] = []
        for group in open_groups(jobs, options, denoiser.batch_size):
            for job, _ in group:
                begin(job)
            outcomes = _compute(denoiser, group, options, progress, writer) if group else []
            for job, outcome in last:
                yield job, _conclude(job, outcome, options)
            last = [(job, outcome) for (job, _), outcome in zip(group, outcomes, strict=True)]
            # Report finished jobs now, since the next photo may take minutes.
            while last and _is_done(last[0][1]):
                job, outcome = last.pop(0)
                yield job, _conclude(job, outcome, options)
        for job, outcome in last:
            yield job, _conclude(job, outcome, options)


def _is_done(outcome: Outcome | Future[Outcome]) -> bool:
    return not isinstance(outcome, Future) or outcome.done()


def _conclude(job: Job, outcome: Outcome | Future[Outcome], options: FileOptions) -> Outcome:
    """Wait for a job, and give up the claim on its files."""
    result = outcome.result() if isinstance(outcome, Future) else outcome
    if options.skip_existing and job.written:
        give_up_claim(job.written[0])
        # Another program may have made them in the meantime.
        if isinstance(result, ImageError) and job.is_done:
            return job.skipped
    return result


def _attempt(work: Callable[..., dict[str, Any]], *arguments: Any) -> Outcome:
    try:
        return work(*arguments)
    except Exception as error:
        return error


def _write_and_release(
    opened: Opened, job: Job, options: FileOptions, facts: dict[str, Any]
) -> Outcome:
    """Write results, and let processes that wait for them continue."""
    outcome = _attempt(_write, opened, job, options, facts)
    give_up_claim(job.written[0])
    return outcome


def _compute(
    denoiser: Denoiser,
    group: Sequence[Opening],
    options: FileOptions,
    progress: Progress,
    writer: ThreadPoolExecutor,
) -> Sequence[Outcome | Future[Outcome]]:
    """Denoise an opened group; its results may still be on their way to the disk."""
    job, first = group[0]
    if isinstance(first, Exception | dict):
        return [first]
    if isinstance(first, TiffImage):
        return [_attempt(_denoise_large, denoiser, first, job, options, progress)]
    photos = cast("list[Opened]", [opened for _, opened in group])
    pixels = [opened.photo.pixels for opened in photos]
    start, failed = time.perf_counter(), False
    try:
        denoiser.denoise_in_place(pixels, progress)
    except Exception as error:
        if len(group) == 1:
            return [error]
        failed = True
    if failed:
        # If one photo is at fault, only that one fails. The error, which would hold the memory of
        # all of them, is gone by now.
        return [
            outcome
            for one in group
            for outcome in _compute(denoiser, [one], options, progress, writer)
        ]
    speed = _describe_speed(pixels[0].shape, (time.perf_counter() - start) / len(pixels))
    facts = [_describe_work(denoiser, number) | speed for number in range(len(group))]
    if job.target is None:
        # If nobody reads from standard output, writing waits, and a thread cannot be interrupted.
        return [_attempt(_write, photos[0], job, options, *facts)]
    return [
        writer.submit(_write_and_release, opened, job, options, of_photo)
        for (job, _), opened, of_photo in zip(group, photos, facts, strict=True)
    ]


def _denoise_large(
    denoiser: Denoiser, image: TiffImage, job: Job, options: FileOptions, progress: Progress
) -> dict[str, Any]:
    """Denoise rows while they are read, and write them when they are done."""
    assert job.target
    start = time.perf_counter()
    changed = job.source.stat() if job.source and options.keep_time else None
    with image:
        picture = Comparison(image.shape) if job.comparison else None
        # One pixel is enough: only the number of channels and their type matter.
        one = Photo(image[:1, :1], image.metadata)
        check_writable(one, "tiff", options.quality, str(job.target))
        rows = denoiser.stream(image, progress)
        write_rows(
            _watch(rows, image, picture) if picture else rows,
            image,
            job.target,
            overwrite=options.overwrite,
            strip_metadata=options.strip_metadata,
        )
    _keep_time(job.target, changed)
    speed = _describe_speed(image.shape, time.perf_counter() - start)
    if picture:
        _add_comparison(picture.picture(), image.metadata, job, options)
    lost = list_losses(one, "tiff", options.strip_metadata)
    facts = _describe(job, image.shape, str(image.dtype), lost)
    return facts | _describe_work(denoiser) | speed


def _watch(rows: Iterator[Pixels], image: TiffImage, picture: Comparison) -> Iterator[Pixels]:
    """Pass rows on, and add each, before and after, to a comparison."""
    top = 0
    for after in rows:
        picture.add_before(image[top : top + len(after), :])
        picture.add_after(after)
        top += len(after)
        yield after


def _write(opened: Opened, job: Job, options: FileOptions, facts: dict[str, Any]) -> dict[str, Any]:
    photo, format = opened.photo, opened.format
    changed = job.source.stat() if job.source and options.keep_time else None
    if job.target is None:
        data = encode_photo(
            photo, format, quality=options.quality, strip_metadata=options.strip_metadata
        )
        write_out(data)
    else:
        write_photo(
            photo,
            job.target,
            format=format,
            quality=options.quality,
            overwrite=options.overwrite,
            strip_metadata=options.strip_metadata,
        )
        _keep_time(job.target, changed)
    if opened.comparison:
        opened.comparison.add_after(photo.color)
        _add_comparison(opened.comparison.picture(), photo.metadata, job, options)
    dtype = str(stored_dtype(photo, format))
    return _describe(job, photo.pixels.shape, dtype, opened.lost) | facts


def _add_comparison(picture: Pixels, metadata: Metadata, job: Job, options: FileOptions) -> None:
    assert job.comparison
    # With this option, a comparison may exist without its result.
    if not (options.skip_existing and job.comparison.exists()):
        write_comparison(picture, metadata, job.comparison, options.overwrite)


def _keep_time(path: Path, changed: os.stat_result | None) -> None:
    """Give a result the modification time of its photo."""
    if changed:
        os.utime(path, ns=(changed.st_atime_ns, changed.st_mtime_ns))


def _describe(job: Job, shape: tuple[int, ...], dtype: str, lost: Sequence[str]) -> dict[str, Any]:
    height, width, channels = shape
    return {
        **job.names,
        "comparison": str(job.comparison) if job.comparison else None,
        "width": width,
        "height": height,
        "channels": channels,
        "dtype": dtype,
        "left_out": list(lost),
    }


def _describe_work(denoiser: Denoiser, number: int = 0) -> dict[str, Any]:
    """Describe how a photo of the latest ones was denoised."""
    enlarged = denoiser.enlargements[number]
    return denoiser.describe() | {"enlarged": round(float(enlarged), 2) if enlarged > 1 else None}


def _describe_speed(shape: tuple[int, ...], seconds: float) -> dict[str, Any]:
    megapixels = shape[0] * shape[1] / 1e6
    return {
        "seconds": round(seconds, 3),
        "megapixels_per_second": float(f"{megapixels / seconds:.4g}"),
    }
