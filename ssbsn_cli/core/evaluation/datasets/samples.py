"""What is evaluated: noisy photographs, and clean ones to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError


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


class Dataset(Protocol):
    """Samples that are read one at a time, in the same order every time."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def protocol(self) -> str:
        """What is compared with what, in a sentence."""

    @property
    def referenced(self) -> bool:
        """Whether its samples have references: all or none."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __iter__(self) -> Iterator[Sample]:
        """Read the samples one by one; a file that cannot be read is an `SsbsnError`."""


def find_file(data: Sequence[Path], name: str, hint: str) -> Path:
    """Find a file that a data set is known by; the least deep one if there are several.

    Parameters
    ----------
    data : sequence of Path
        The file itself, files beside it, or folders that hold it, at most two folders deep.
    name : str
        Its name.
    hint : str
        What errors say to do: which file goes where.

    Raises
    ------
    OptionError
        There is none, or it may not be read.
    """
    for path in data:
        if not path.exists():
            raise OptionError(f"{path} does not exist.", hint)
        folder = path if path.is_dir() else path.parent
        # Not rglob, which takes minutes to walk through whole data sets, and skips links.
        for pattern in (name, f"*/{name}", f"*/*/{name}") if folder is path else (name,):
            if found := sorted(folder.glob(pattern)):
                return _readable(found[0])
    places = ", ".join(str(path) for path in data)
    raise OptionError(f"There is no {name} in {places}.", hint)


def _readable(path: Path) -> Path:
    # The libraries would call it damaged whatever is wrong.
    try:
        path.open("rb").close()
    except OSError as error:
        raise OptionError(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions and its disk."
        ) from error
    return path


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
