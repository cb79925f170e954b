"""The types of an evaluation: samples, data sets that yield them, and results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError, explain_unreadable
from ssbsn_cli.core.types import white_of


@dataclass(frozen=True, eq=False)
class Sample:
    """A noisy photo or a part of one.

    Parameters
    ----------
    name : str
        Unique in its data set even if case is ignored, always the same, and usable as a file name
        without its extension.
    noisy : numpy.ndarray
        (H, W, 3) RGB, C-contiguous: uint8, uint16 with white at 65535, or float32 with white at 1.
    references : tuple of numpy.ndarray
        Clean photos of the same size and any of these types; empty if secret or missing.
    place : tuple of int, optional
        In a benchmark that takes submissions, the numbers of the image and its block, from 1.
    group : str
        The part of the data set that the sample is scored with, if the data set has parts.
    """

    name: str
    noisy: NDArray[Any]
    references: tuple[NDArray[Any], ...] = ()
    place: tuple[int, int] | None = None
    group: str = ""

    def reference(self) -> NDArray[Any]:
        """Return the picture that results are compared with.

        Returns
        -------
        array
            (H, W, 3) with white at 255: a single reference, as uint8 if it has that type; the mean
            of several, as float64; or the noisy photo if there are none. The mean is not
            rounded, which would add noise of 1/12 of a squared level to every score.
        """
        pictures = [_to_255(picture) for picture in self.references or (self.noisy,)]
        if len(pictures) == 1:
            return pictures[0]
        mean: NDArray[np.float64] = np.mean(pictures, axis=0, dtype=np.float64)
        return mean


def _to_255(picture: NDArray[Any]) -> NDArray[Any]:
    if picture.dtype == np.uint8:
        return picture
    return picture.astype(np.float64) * (255 / white_of(picture.dtype))


@dataclass(frozen=True)
class Dataset:
    """Samples that are read one at a time, in the same order every time.

    Parameters
    ----------
    name, title : str
        Its names on the command line and in texts.
    comparison : str
        A sentence that says what is compared with what.
    referenced : bool
        Whether its samples have references; either all or none have.
    size : int
        The number of samples.
    read : callable
        Reads the samples one by one; a file that cannot be read is an `SsbsnError`.
    """

    name: str
    title: str
    comparison: str
    referenced: bool
    size: int
    read: Callable[[], Iterator[Sample]]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Sample]:
        return self.read()

    def first(self, limit: int | None) -> Dataset:
        """Return a data set of the first `limit` samples, or this one if it has no more."""
        if limit is None or limit >= self.size:
            return self
        comparison = f"{self.comparison} Only the first {limit} of {self.size}."
        return replace(
            self, comparison=comparison, size=limit, read=lambda: islice(self.read(), limit)
        )


@dataclass(frozen=True, eq=False)
class Result:
    """One sample denoised by one method, and its scores by the names of metrics.

    Parameters
    ----------
    seconds : float, optional
        How long it took; None for the noisy photo.
    peak : int, optional
        Additional bytes of memory that the method needed, if known.
    pixels : numpy.ndarray, optional
        If requested: (H, W, 3) uint8, or float32 in [0, 1] for samples of floats.
    """

    method: str
    sample: Sample
    scores: dict[str, float]
    seconds: float | None
    peak: int | None
    pixels: NDArray[Any] | None


def whole_benchmark(results: Iterable[Result], images: int, blocks: int) -> Iterator[Result]:
    """Pass on the results for a submission; raise ValueError if a block is missing or misplaced."""
    for (image, block), result in zip(np.ndindex(images, blocks), results, strict=True):
        if result.sample.place != (image + 1, block + 1):
            raise ValueError(f"image {image + 1}, block {block + 1} is missing")
        yield result


def find_file(data: Sequence[Path], name: str, hint: str) -> Path:
    """Find the file `name` that identifies a data set; of several, the least deep one.

    `data` is the file itself, files in its folder, or folders that hold it at most two levels down.
    `hint` is the hint of errors, which says which file goes where.

    Raises
    ------
    OptionError
        There is no such file, or it cannot be read.
    """
    for path in data:
        if not path.exists():
            raise OptionError(f"{path} does not exist.", hint)
        folder = path if path.is_dir() else path.parent
        # rglob takes minutes to search whole data sets, and skips links.
        for pattern in (name, f"*/{name}", f"*/*/{name}") if folder is path else (name,):
            if found := sorted(folder.glob(pattern)):
                # Without this check, libraries would call an unreadable file damaged.
                try:
                    found[0].open("rb").close()
                except OSError as error:
                    raise OptionError(*explain_unreadable(found[0], error)) from error
                return found[0]
    places = ", ".join(str(path) for path in data)
    raise OptionError(f"There is no {name} in {places}.", hint)


def number_alike(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Add numbers to names that are taken or have occurred before, ignoring case."""
    seen = {name.casefold() for name in taken}
    result = []
    for name in names:
        unique, number = name, 1
        while unique.casefold() in seen:
            number += 1
            unique = f"{name}-{number}"
        seen.add(unique.casefold())
        result.append(unique)
    return result
