"""What an evaluation passes around: samples, the data sets that yield them, and results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import white_of


@dataclass(frozen=True, eq=False)
class Sample:
    """A noisy photograph or a part of one.

    Parameters
    ----------
    name : str
        Unique in its data set whatever the case of letters, the same every time, and fit to be a
        file name without its extension.
    noisy : numpy.ndarray
        (H, W, 3) RGB, C-contiguous: uint8, uint16 with white at 65535, or float32 with white at 1.
    references : tuple of numpy.ndarray
        Clean photographs of the same size, each of any of these types; empty if they are secret
        or nobody took one.
    place : tuple of int, optional
        In a benchmark that takes submissions, the numbers of the image and of the block in it,
        both from 1.
    group : str
        The part of the data set that the sample belongs to and is scored with, if it has parts.
    """

    name: str
    noisy: NDArray[Any]
    references: tuple[NDArray[Any], ...] = ()
    place: tuple[int, int] | None = None
    group: str = ""

    def reference(self) -> NDArray[Any]:
        """Return what results are compared with.

        Returns
        -------
        array
            (H, W, 3) with white at 255: the one reference, as uint8 if it is that; the mean of
            several, as float64; or the noisy photograph if there are none. The mean is not
            rounded: that would add noise of 1/12 of a squared level to every score.
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
        What the command line calls it, and what people call it.
    protocol : str
        What is compared with what, in a sentence.
    referenced : bool
        Whether its samples have references: all or none.
    size : int
        The number of samples.
    read : callable
        Reads the samples one by one; a file that cannot be read is an `SsbsnError`.
    """

    name: str
    title: str
    protocol: str
    referenced: bool
    size: int
    read: Callable[[], Iterator[Sample]]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Sample]:
        return self.read()

    def first(self, limit: int | None) -> Dataset:
        """Return a data set of the first samples; the same one if it has no more."""
        if limit is None or limit >= self.size:
            return self
        protocol = f"{self.protocol} Only the first {limit} of {self.size}."
        return replace(self, protocol=protocol, size=limit, read=lambda: islice(self.read(), limit))


@dataclass(frozen=True, eq=False)
class Result:
    """One sample denoised by one method, and its scores by the names of metrics.

    Parameters
    ----------
    seconds : float, optional
        How long it took; None for the noisy photograph.
    peak : int, optional
        Bytes of memory that the method needed beyond what was held before, if that can be told.
    pixels : numpy.ndarray, optional
        If they were asked for: (H, W, 3) uint8, or for samples of floats float32 in [0, 1].
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
    """Find the file `name` that a data set is known by; the least deep one if there are several.

    `data` is the file itself, files beside it, or folders that hold it, at most two folders deep.
    The hint of errors says which file goes where.

    Raises
    ------
    OptionError
        There is none, or it may not be read.
    """
    for path in data:
        if not path.exists():
            raise OptionError(f"{path} does not exist.", hint)
        folder = path if path.is_dir() else path.parent
        # rglob takes minutes to walk through whole data sets, and skips links.
        for pattern in (name, f"*/{name}", f"*/*/{name}") if folder is path else (name,):
            if found := sorted(folder.glob(pattern)):
                # Whatever is wrong, the libraries would call the file damaged.
                try:
                    found[0].open("rb").close()
                except OSError as error:
                    raise OptionError(
                        f"{found[0]} cannot be read: {error.strerror}.",
                        "Check its permissions and its disk.",
                    ) from error
                return found[0]
    places = ", ".join(str(path) for path in data)
    raise OptionError(f"There is no {name} in {places}.", hint)


def number_alike(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Add numbers to names that are taken or occur before, whatever the case of letters."""
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
