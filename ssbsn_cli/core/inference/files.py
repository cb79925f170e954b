"""Denoise one photograph from file to file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    encode_photo,
    format_of_path,
    is_photo_name,
    read_photo,
    stored_dtype,
    write_photo,
)
from ssbsn_cli.core.imaging.compare import Comparison
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.engine import Progress
from ssbsn_cli.core.inference.jobs import Job


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How results are written.

    Parameters
    ----------
    format : str, optional
        Format of the result; by default that of its name, or of the photograph.
    quality : int
        Of JPEG and WebP, 1 to 100.
    overwrite : bool
        Whether files may be replaced, the photograph itself included.
    strip_metadata : bool
        Whether to leave out EXIF, XMP and ICC.
    compare : Path, optional
        Where a picture of before and after goes.
    """

    format: str | None = None
    quality: int = 95
    overwrite: bool = False
    strip_metadata: bool = False
    compare: Path | None = None


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
    if job.source is None:
        photo = read_photo(sys.stdin.buffer.read(), name="standard input")
    else:
        photo = read_photo(job.source)
    format = options.format or _format_of_target(job.target) or photo.format
    comparison = Comparison(photo.color) if options.compare else None
    speed = denoiser.denoise_in_place(photo.pixels, progress)

    if job.target is None:
        data = encode_photo(
            photo, format, quality=options.quality, strip_metadata=options.strip_metadata
        )
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_photo(
            photo,
            job.target,
            format=format,
            quality=options.quality,
            overwrite=options.overwrite,
            strip_metadata=options.strip_metadata,
        )
    if comparison and options.compare:
        picture = Photo(comparison.draw(photo.color), Metadata(), "png")
        options.compare.parent.mkdir(parents=True, exist_ok=True)
        write_photo(picture, options.compare, overwrite=options.overwrite)
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


def _format_of_target(target: Path | None) -> str | None:
    return format_of_path(target) if target and is_photo_name(target) else None


def _refuse_existing(job: Job, options: FileOptions) -> None:
    """Notice what cannot be written before minutes are spent on denoising."""
    if options.overwrite:
        return
    for path in (job.target, options.compare):
        if path is None or not path.exists():
            continue
        if job.source and job.source.exists() and path.samefile(job.source):
            raise ImageError(
                f"{path}: the result would replace the photo itself.",
                "Use --overwrite to allow that, or name another output with -o.",
            )
        raise ImageError(
            f"{path} already exists.", "Use --overwrite to replace it or --skip-existing."
        )
