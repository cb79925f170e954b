"""Denoise a TIFF too large for memory, from file to file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssbsn_cli.core.imaging import Metadata, Photo, check_writable, write_photo
from ssbsn_cli.core.imaging.compare import RowComparison
from ssbsn_cli.core.imaging.photo import Pixels
from ssbsn_cli.core.imaging.tiff_stream import TiffImage
from ssbsn_cli.core.imaging.writing import write_rows
from ssbsn_cli.core.inference.denoiser import Denoiser, describe_speed
from ssbsn_cli.core.inference.engine import Progress
from ssbsn_cli.core.inference.file_options import FileOptions
from ssbsn_cli.core.inference.jobs import Job


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
        photo = Photo(picture.draw(), Metadata(), "png")
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
