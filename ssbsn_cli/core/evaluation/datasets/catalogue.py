"""The data sets for evaluation, by name: find, fetch and open them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from ssbsn_cli.core.errors import OptionError, SsbsnError, suggest
from ssbsn_cli.core.evaluation.datasets import added_noise, dnd, photo_files, sidd
from ssbsn_cli.core.evaluation.datasets.added_noise import AddedNoise
from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Result
from ssbsn_cli.core.runtime.download import download
from ssbsn_cli.core.runtime.storage import CACHE, cache_dir, explain_unwritable, file_digest
from ssbsn_cli.core.runtime.temporary import move_into_place, temporary_file
from ssbsn_cli.core.types import Notify, Progress

_FETCHED_NEEDS = "Add --fetch to download it, or give --data its folder of pairs X_real and X_mean."


class Submission(NamedTuple):
    """How results are submitted to a benchmark; `check` refuses unsuitable paths."""

    check: Callable[[Path], None]
    write: Callable[[Path, Iterable[Result], bool], None]


class _Entry(NamedTuple):
    """How paths are opened, and the hint for users if files are missing."""

    open: Callable[..., Dataset]
    needs: str
    submission: Submission | None = None


DATASETS = {
    "sidd-val": _Entry(sidd.open_validation, sidd.VALIDATION_NEEDS),
    "sidd-benchmark": _Entry(
        sidd.open_benchmark,
        sidd.BENCHMARK_NEEDS,
        Submission(sidd.check_submission, sidd.write_submission),
    ),
    "dnd": _Entry(dnd.open_dnd, dnd.NEEDS, Submission(dnd.check_submission, dnd.write_submission)),
    "nind": _Entry(photo_files.open_nind, photo_files.NIND_NEEDS),
    "cc15": _Entry(partial(photo_files.open_pairs, name="cc15", title="CC15"), _FETCHED_NEEDS),
    "polyu": _Entry(partial(photo_files.open_pairs, name="polyu", title="PolyU"), _FETCHED_NEEDS),
    "pairs": _Entry(photo_files.open_pairs, photo_files.PAIRS_NEEDS),
    "folder": _Entry(photo_files.open_folder, photo_files.FOLDER_NEEDS),
    "synthetic": _Entry(added_noise.open_synthetic, added_noise.SYNTHETIC_NEEDS),
    "demo": _Entry(added_noise.open_demo, "It needs no files."),
}
# The user's own photos, which have no default place.
_NAMELESS = ("pairs", "folder", "synthetic")


def open_dataset(
    name: str, data: Sequence[Path], limit: int | None = None, added: AddedNoise | None = None
) -> Dataset:
    """Open one of `DATASETS`; some damage to its files shows only when they are read.

    Parameters
    ----------
    data : sequence of Path
        Its files or folders; by default the folder with the data set's name in the user's cache.
        "demo" takes none. "pairs" also takes patterns with ``*``.
    limit : int, optional
        The most samples to take, from the first.
    added : AddedNoise, optional
        For "synthetic": the noise of its photos.

    Raises
    ------
    OptionError
        There is no such data set, or its files are missing, damaged or of another kind.
    """
    entry = _find(name)
    if not data and name in _NAMELESS:
        raise OptionError(f"The data set {name} needs to know where its files are.", entry.needs)
    if not data and name != "demo":
        data = [_home_of(name)]
        if not data[0].is_dir():
            raise OptionError(
                f"The data set {name} is not in {data[0]}, and --data was not given.",
                entry.needs,
            )
    dataset = entry.open(data, added) if added else entry.open(data)
    return dataset.first(limit)


def _home_of(name: str) -> Path:
    return cache_dir() / "datasets" / name


def _find(name: str) -> _Entry:
    if name not in DATASETS:
        raise OptionError(f"There is no data set called {name!r}.", suggest(name, DATASETS))
    return DATASETS[name]


def find_submission(name: str) -> Submission:
    """Return how results on a data set are submitted; raise an OptionError if it takes none."""
    known = {key: entry.submission for key, entry in DATASETS.items() if entry.submission}
    if name not in known:
        raise OptionError(
            f"The data set {name} takes no submissions.", f"Only {' and '.join(known)} do."
        )
    return known[name]


class Address(NamedTuple):
    """Where a data set is published: `base` and the name of one of its `files` make a URL.

    The title, the web page and the terms are for people. `files` maps names to SHA-256 digests.
    """

    title: str
    page: str
    terms: str
    base: str
    files: Mapping[str, str]


def addresses() -> dict[str, Address]:
    """Return the addresses of the data sets that can be fetched, by name."""
    text = (files(__package__) / "addresses.toml").read_text("utf-8")
    return {name: Address(**facts) for name, facts in tomllib.loads(text).items()}


def fetch_dataset(name: str, notify: Notify, progress: Progress) -> None:
    """Download missing files of one of `DATASETS` into the user's cache, and check all files.

    Correct files are kept, others are replaced. `progress` counts files.

    Raises
    ------
    OptionError
        It has no stable public address.
    SsbsnError
        A file cannot be downloaded or written, or has a wrong digest. Those before it are kept.
    """
    needs, known = _find(name).needs, addresses()
    if name not in known:
        raise OptionError(
            f"The data set {name} cannot be fetched: it has no stable public address.",
            f"{needs} {' and '.join(known)} can be fetched.",
        )
    address, home = known[name], _home_of(name)
    notify(f"{address.title}, from {address.page}: {address.terms}.")
    hint = f"Try again later; what is in {home} is kept. Or download it from {address.page}."
    try:
        home.mkdir(parents=True, exist_ok=True)
        for done, (file, digest) in enumerate(address.files.items()):
            progress(done, len(address.files))
            place = home / file
            if place.is_file() and file_digest(place) == digest:
                continue
            with temporary_file(home) as new:
                download(address.base + file, new, hint)
                if file_digest(new) != digest:
                    raise SsbsnError(
                        f"{address.base}{file} is not the file of {name} that is known here: its "
                        "digest differs.",
                        f"See {address.page}; if the file changed, give your own with --data.",
                    )
                move_into_place(new, place)
    except OSError as error:
        instead = f"choose another place with {CACHE}"
        raise SsbsnError(*explain_unwritable(f"A file in {home}", error, instead)) from error
    progress(len(address.files), len(address.files))
