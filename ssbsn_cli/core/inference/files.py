"""Denoise one photograph from file to file."""

from __future__ import annotations

import os
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
from ssbsn_cli.core.imaging.tiff_stream import open_large_tiff
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.engine import Progress
from ssbsn_cli.core.inference.file_options import FileOptions
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.large import denoise_large
from ssbsn_cli.core.streams import stdin, stdout


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
    _refuse_existing(job, options)
    format = options.format or _format_of_target(job.target)
    if job.source and job.target and format in (None, "tiff"):
        image = open_large_tiff(job.source)
        if image:
            with image:
                _prepare_folders(job)
                return denoise_large(denoiser, image, job, job.target, options, progress)
    if job.source is None:
        photo = read_photo(stdin().read(), name="standard input")
    else:
        photo = read_photo(job.source)
    format = format or photo.format
    # What cannot be written is noticed before minutes are spent on denoising.
    check_writable(photo, format, options.quality, str(job.target or "The result"))
    _prepare_folders(job)
    comparison = Comparison(photo.color) if job.comparison else None
    speed = denoiser.denoise_in_place(photo.pixels, progress)

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
    if comparison and job.comparison:
        picture = Photo(comparison.draw(photo.color), Metadata(), "png")
        write_photo(picture, job.comparison, overwrite=options.overwrite)
    return {
        "input": str(job.source or "-"),
        "output": str(job.target or "-"),
        "width": photo.pixels.shape[1],
        "height": photo.pixels.shape[0],
        "channels": photo.pixels.shape[2],
        "dtype": str(stored_dtype(photo, format)),
        **denoiser.describe(),
        **speed,
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
