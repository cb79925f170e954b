"""Open photographs before they are denoised: some ahead of their turn, alike ones together."""

from __future__ import annotations

from collections import deque
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

# Larger files than the first wait for their turn: their pixels may need all of the memory. One
# file below it is opened ahead, and of those below the second as many as may be computed together.
_SMALL, _TINY = 8 << 20, 1 << 19
_MANY = 16


@dataclass
class Opened:
    """A photograph that can be denoised and whose result can be written.

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


def open_groups(
    jobs: Sequence[Job], options: FileOptions, together: Callable[[int, int], int]
) -> Iterator[list[tuple[Job, Opened | TiffImage | Exception]]]:
    """Open photographs, and group what is best computed together.

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
        The next jobs, in order: one of any kind, or several photographs of one size and type.
    """
    waiting = deque(jobs)
    ahead: deque[tuple[Job, Future[Opened | TiffImage]]] = deque()
    with ThreadPoolExecutor(1) as reader:

        def look_ahead() -> None:
            while waiting and len(ahead) < _how_many_ahead(waiting[0]):
                job = waiting.popleft()
                ahead.append((job, reader.submit(_open, job, options)))

        while waiting or ahead:
            job, opening = ahead.popleft() if ahead else (waiting.popleft(), None)
            look_ahead()
            try:
                opened = opening.result() if opening else _open(job, options)
            except Exception as error:
                yield [(job, error)]
                continue
            group: list[tuple[Job, Opened | TiffImage | Exception]] = [(job, opened)]
            if isinstance(opened, Opened):
                most = together(*opened.photo.pixels.shape[:2])
                while len(group) < most and ahead and _alike(ahead[0][1], opened):
                    job, opening = ahead.popleft()
                    group.append((job, opening.result()))
                    look_ahead()
            yield group


def _how_many_ahead(job: Job) -> int:
    """Return how many photographs may be open at once for this one to be opened, too."""
    try:
        size = job.source.stat().st_size if job.source and job.source.is_file() else _SMALL
    except OSError:
        return 0
    return _MANY if size < _TINY else int(size < _SMALL)


def _alike(opening: Future[Opened | TiffImage], first: Opened) -> bool:
    if opening.exception():
        return False
    opened = opening.result()
    if not isinstance(opened, Opened):
        return False
    one, other = opened.photo.color, first.photo.color
    return one.shape == other.shape and one.dtype == other.dtype


def _open(job: Job, options: FileOptions) -> Opened | TiffImage:
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
    return Opened(photo, format, comparison)


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
