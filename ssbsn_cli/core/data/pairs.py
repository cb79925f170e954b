"""Finding pairs of photographs that show the same, once noisy and once clean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbsn_cli.core.data.layouts import NIND, SIDD, absolute, nind_scenes, refuse_missing, survey
from ssbsn_cli.core.errors import OptionError

# Names of folders side by side, and ends of names of files, all in lower case.
_FOLDERS = {"noisy": ("clean", "gt", "reference"), "rn": ("cl",)}
_ENDS = {"noisy": ("clean", "gt"), "real": ("mean",), "n": ("cl",)}
_TAKE = re.compile(r"\A-\d+")
_CLEAN_ENDS = tuple(end for ends in _ENDS.values() for end in ends)

_UNDERSTOOD = (
    "Give SIDD Medium (0001_NOISY_SRGB_010.PNG beside 0001_GT_SRGB_010.PNG), NIND (at least two "
    "ISOs of a scene), AP-BSN's dataset/prep (RN/0_0_0.png and CL/0_0_0.png), two folders noisy "
    "and clean (or gt, or reference) with files of the same names, or files named a_noisy.png and "
    "a_clean.png (or _gt; _real and _mean; _N and _CL)."
)

# Folders below the one that was named, and the name without extension, all in lower case.
Key = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """The files of a noisy and a clean photograph of the same."""

    noisy: Path
    clean: Path


def find_pairs(path: Path) -> list[Pair]:
    """Find the pairs of a data set, sorted by the noisy file; others are left out.

    Upper and lower case are the same, and the two files may have different formats.

    Parameters
    ----------
    path : Path
        A directory, searched with all directories below it but without hidden files: SIDD Medium;
        NIND, where the lowest ISO of a scene is the clean photograph of all others; AP-BSN's
        ``dataset/prep``; or any other, where two folders called ``noisy`` and ``clean``, ``gt`` or
        ``reference`` hold files of the same names, or where names end in ``_noisy`` and ``_clean``
        or ``_gt``, ``_real`` and ``_mean``, or ``_N`` and ``_CL``.

    Raises
    ------
    OptionError
        There are no pairs, or there are several data sets.
    """
    refuse_missing(path)
    if not path.is_dir():
        raise OptionError(f"{path} is a file, not a folder of pairs of photos.", _UNDERSTOOD)
    kind, files, _ = survey(path)
    if kind == "nind":
        pairs = _by_iso(files)
    elif kind == "dnd":
        pairs = []
    else:
        pairs = _by_name(absolute(path), files)
    if not pairs:
        raise OptionError(
            f"There are no pairs of a noisy and a clean photo in {path}.", _UNDERSTOOD
        )
    return pairs


def _by_iso(files: Sequence[Path]) -> list[Pair]:
    pairs = []
    for clean, noisy in nind_scenes(files):
        for file in noisy:
            # A crop belongs to the crop of the same part. Of several takes, "-2" and so on, the
            # first is as good as any.
            if same := [other for other in clean if _part(other) == _part(file)]:
                pairs.append(Pair(file, min(same, key=lambda f: (len(f.name), f))))
    return sorted(pairs, key=lambda pair: pair.noisy)


def _part(file: Path) -> str:
    """Return what the name of a NIND photo has after its ISO and its take."""
    match = NIND.match(file.stem)
    assert match is not None
    return _TAKE.sub("", file.stem[match.end() :])


def _by_name(root: Path, files: Sequence[Path]) -> list[Pair]:
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
    """Return what a photograph is found by: "noisy" above the root may hold a whole data set."""
    return tuple(part.lower() for part in file.relative_to(root).with_suffix("").parts)


def best_of(files: Sequence[Path], like: Path) -> Path:
    """Return the file of the same format, if there is one."""
    return next((f for f in files if f.suffix.lower() == like.suffix.lower()), files[0])


def _partners(noisy: Key) -> Iterator[Key]:
    """Yield where the clean photograph of a noisy one may be, the likeliest place first."""
    *folders, stem = noisy
    beside = [
        (*folders[:i], clean, *folders[i + 1 :])
        for i, folder in enumerate(folders)
        for clean in _FOLDERS.get(folder, ())
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
