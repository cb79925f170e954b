"""Match noisy photos with their clean counterparts by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: How the names of SIDD's photos begin.
SIDD = re.compile(r"\d{4}_(NOISY|GT)_SRGB_\d{3}", re.IGNORECASE)
#: Names of folders of noisy photos, and of sibling folders of clean ones, all in lower case.
FOLDERS = {"noisy": ("clean", "gt", "reference"), "rn": ("cl",)}
_ENDS = {"noisy": ("clean", "gt"), "real": ("mean",), "n": ("cl",)}
_CLEAN_ENDS = tuple(end for ends in _ENDS.values() for end in ends)

# The folders below the named one, and the file name without extension, all in lower case.
Key = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """The files of a noisy photo and its clean counterpart."""

    noisy: Path
    clean: Path


def match_names(root: Path, files: Sequence[Path]) -> list[Pair]:
    """Return the pairs among photos below `root`, in the order of the noisy ones."""
    names: dict[Key, list[Path]] = {}
    for file in files:
        names.setdefault(key_of(root, file), []).append(file)
    pairs = []
    for noisy in files:
        for key in _partners(key_of(root, noisy)):
            if clean := names.get(key):
                pairs.append(Pair(noisy, best_of(clean, noisy)))
                break
    return pairs


def key_of(root: Path, file: Path) -> Key:
    """Return the key of a photo below `root`; above it, "noisy" may hold a whole data set."""
    return tuple(part.lower() for part in file.relative_to(root).with_suffix("").parts)


def best_of(files: Sequence[Path], like: Path) -> Path:
    """Return the first file of the same format, or else the first file."""
    return next((f for f in files if f.suffix.lower() == like.suffix.lower()), files[0])


def _partners(noisy: Key) -> Iterator[Key]:
    """Yield where the clean counterpart of a noisy photo may be, the likeliest place first."""
    *folders, stem = noisy
    beside = [
        (*folders[:i], clean, *folders[i + 1 :])
        for i, folder in enumerate(folders)
        for clean in FOLDERS.get(folder, ())
    ]
    sidd = SIDD.match(stem)
    base, _, end = stem.rpartition("_")
    if sidd:
        renamed = [f"{stem[: sidd.start(1)]}gt{stem[sidd.end(1) :]}"] if sidd[1] == "noisy" else []
        elsewhere = renamed
    else:
        renamed = [f"{base}_{clean}" for clean in _ENDS.get(end, ()) if base]
        plain = [base] if renamed else [f"{stem}_{clean}" for clean in _CLEAN_ENDS]
        elsewhere = [stem, *renamed, *plain]
    for names, places in ((renamed, [folders]), (elsewhere, beside)):
        for place in places:
            for name in names:
                yield (*place, name)
