"""The data sets that can be evaluated, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets import dnd, folder, nind, sidd, side_by_side
from ssbsn_cli.core.evaluation.datasets.added_noise import (
    SYNTHETIC_NEEDS,
    AddedNoise,
    open_synthetic,
)
from ssbsn_cli.core.evaluation.datasets.demo import Demo
from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Sample
from ssbsn_cli.core.runtime.storage import cache_dir
from ssbsn_cli.core.weights.registry import suggest

_FETCHED_NEEDS = "Add --fetch to download it, or give --data its folder of pairs X_real and X_mean."


def _named(name: str, title: str) -> Callable[[Sequence[Path]], Dataset]:
    """Return what opens pairs under a name of their own."""
    return lambda data: replace(side_by_side.open_pairs(data), name=name, title=title)


_OPENERS: Mapping[str, tuple[Callable[[Sequence[Path]], Dataset], str]] = {
    "sidd-val": (sidd.open_validation, sidd.VALIDATION_NEEDS),
    "sidd-benchmark": (sidd.open_benchmark, sidd.BENCHMARK_NEEDS),
    "dnd": (dnd.open_dnd, dnd.NEEDS),
    "nind": (nind.open_nind, nind.NEEDS),
    "cc15": (_named("cc15", "CC15"), _FETCHED_NEEDS),
    "polyu": (_named("polyu", "PolyU"), _FETCHED_NEEDS),
    "pairs": (side_by_side.open_pairs, side_by_side.NEEDS),
    "folder": (folder.open_folder, folder.FOLDER_NEEDS),
}
DATASETS = (*_OPENERS, "synthetic", "demo")
# Whatever the user has: there is no usual place for it.
_NAMELESS = ("pairs", "folder", "synthetic")


@dataclass(frozen=True)
class _First:
    """The first samples of a data set."""

    whole: Dataset
    limit: int

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def title(self) -> str:
        return self.whole.title

    @property
    def protocol(self) -> str:
        return f"{self.whole.protocol} Only the first {self.limit} of {len(self.whole)}."

    @property
    def referenced(self) -> bool:
        return self.whole.referenced

    def __len__(self) -> int:
        return self.limit

    def __iter__(self) -> Iterator[Sample]:
        return islice(self.whole, self.limit)


def open_dataset(
    name: str, data: Sequence[Path], limit: int | None = None, added: AddedNoise | None = None
) -> Dataset:
    """Open a data set.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    data : sequence of Path
        Its files or folders; if there are none, the folder of the data set's name in the user's
        cache. None for "demo". For "pairs", patterns with ``*`` in them, too.
    limit : int, optional
        How many samples of it to take at most: its first ones.
    added : AddedNoise, optional
        For "synthetic": what its photographs get.

    Returns
    -------
    Dataset
        Its files are there, but for damages that show only when they are read.

    Raises
    ------
    OptionError
        There is no such data set, or its files are missing, damaged or of something else.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"A limit of {limit} leaves no photo.", "Give a number above 0.")
    dataset = _open(name, data, added)
    return dataset if limit is None or limit >= len(dataset) else _First(dataset, limit)


def _open(name: str, data: Sequence[Path], added: AddedNoise | None) -> Dataset:
    if (added is None) == (name == "synthetic"):
        raise OptionError(
            "--noise and the data set synthetic go together.",
            SYNTHETIC_NEEDS if added is None else "Add --dataset synthetic, or drop --noise.",
        )
    if name == "demo":
        if data:
            raise OptionError("The data set demo brings its own photos.", "Drop --data.")
        return Demo()
    if name not in DATASETS:
        raise OptionError(f"There is no data set called {name!r}.", suggest(name, DATASETS))
    needs = needs_of(name)
    if not data and name in _NAMELESS:
        raise OptionError(f"The data set {name} needs to know where its files are.", needs)
    if not data and not home_of(name).is_dir():
        raise OptionError(
            f"The data set {name} is not in {home_of(name)}, and --data names no other place.",
            needs,
        )
    if added:
        return open_synthetic(data, added)
    opener, _ = _OPENERS[name]
    return opener(data or [home_of(name)])


def home_of(name: str) -> Path:
    """Return the folder in which a data set is looked for if no other is named."""
    return cache_dir() / "datasets" / name


def needs_of(name: str) -> str:
    """Return what a user is told to do if the files of a data set are missing.

    Raises
    ------
    OptionError
        There is no such data set.
    """
    if name in _OPENERS:
        return _OPENERS[name][1]
    if name == "synthetic":
        return SYNTHETIC_NEEDS
    if name in DATASETS:
        return "It needs no files."
    raise OptionError(f"There is no data set called {name!r}.", suggest(name, DATASETS))
