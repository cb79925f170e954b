"""Find the noisy photos of a data set, and their clean counterparts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssbsn_cli.core.errors import OptionError, explain_unreadable
from ssbsn_cli.core.imaging import is_photo_name
from ssbsn_cli.core.imaging.names import without_results

# Only the last two patterns are anchored at their ends: the names of cropped or denoised copies of
# a clean photo start with its name, and these copies are clean, too.
_SIDD = re.compile(r"\d{4}_(NOISY|GT)_SRGB_\d{3}", re.IGNORECASE)
_NIND = re.compile(r"NIND[_ ](.+)[_ ]ISO(H?)(\d+)", re.IGNORECASE)
_PREP = re.compile(r"\d+_\d+_\d+\.png\Z", re.IGNORECASE)
_DND = re.compile(r"\d{4}\.mat\Z", re.IGNORECASE)

_UNDERSTOOD = (
    "Give a folder of photos, or SIDD Medium (0001_NOISY_SRGB_010.PNG), NIND "
    "(NIND_scene_ISO6400.jpg, at least two ISOs of a scene), DND (images_srgb/0001.mat) or "
    "AP-BSN's dataset/prep (RN/0_0_0.png)."
)
_PUBLISHED = {
    "sidd": "SIDD Medium holds photos by smartphones, with a clean one for each. Download it from "
    "https://abdokamel.github.io/sidd/, or name a folder of your own photos.",
    "nind": "NIND holds photos of scenes at several ISOs. Download it from "
    "https://commons.wikimedia.org/wiki/Natural_Image_Noise_Dataset, or name a folder of your own "
    "photos.",
    "dnd": "DND holds 50 noisy photos. Download it from https://noise.visinf.tu-darmstadt.de/, or "
    "name a folder of your own photos.",
}
# Names of sibling folders, and endings of file names, all in lower case.
_FOLDERS = {"noisy": ("clean", "gt", "reference"), "rn": ("cl",)}
_ENDS = {"noisy": ("clean", "gt"), "real": ("mean",), "n": ("cl",)}
_TAKE = re.compile(r"\A-\d+")
_CLEAN_ENDS = tuple(end for ends in _ENDS.values() for end in ends)

_PAIRS_UNDERSTOOD = (
    "Give SIDD Medium (0001_NOISY_SRGB_010.PNG beside 0001_GT_SRGB_010.PNG), NIND (at least two "
    "ISOs of a scene), AP-BSN's dataset/prep (RN/0_0_0.png and CL/0_0_0.png), two folders noisy "
    "and clean (or gt, or reference) with files of the same names, or files named a_noisy.png and "
    "a_clean.png (or _gt; _real and _mean; _N and _CL)."
)

# The folders below the named one, and the file name without extension, all in lower case.
Key = tuple[str, ...]


@dataclass(frozen=True)
class NoisyPhotos:
    """The noisy photos of a data set, sorted and never empty.

    `kind` is "sidd", "nind", "prep", "dnd" or "folder". Clean photos, and files that are not
    photos by their names, are `passed_over`.
    """

    kind: str
    photos: list[Path]
    passed_over: list[Path] = field(default_factory=list)


def find_photos(path: Path) -> NoisyPhotos:
    """Find the noisy photos of a data set, and no clean ones.

    Parameters
    ----------
    path : Path
        A folder, which is searched recursively except for hidden files: SIDD Medium, NIND, DND
        or AP-BSN's ``dataset/prep``, or any part of one of them. In any other folder, every
        photo counts as noisy, except for results beside it. So does a single file.

    Returns
    -------
    NoisyPhotos
        The noisy photos of NIND are those above the lowest ISO of their scene.

    Raises
    ------
    OptionError
        There are no noisy photos, or there are several data sets.
    """
    _refuse_missing(path)
    if path.is_file():
        kind = "dnd" if path.suffix.lower() == ".mat" else "folder"
        if kind == "folder" and not is_photo_name(path):
            raise OptionError(f"{path} does not have the name of a photo.", _UNDERSTOOD)
        return NoisyPhotos(kind, [path])
    kind, of_kind, files = survey(path)
    photos = _noisy(kind, of_kind)
    if not photos:
        what = "photos" if kind == "folder" else "noisy photos"
        raise OptionError(f"There are no {what} in {path}.", _UNDERSTOOD)
    return NoisyPhotos(kind, photos, sorted(set(files) - set(photos)))


def _refuse_missing(path: Path) -> None:
    """Raise an OptionError if a path is missing; name the source of a known data set."""
    if not path.exists():
        known = (told for name, told in _PUBLISHED.items() if name in path.name.lower())
        raise OptionError(f"{path} does not exist.", next(known, "Check the spelling of the path."))


def survey(path: Path) -> tuple[str, list[Path], list[Path]]:
    """Recognise the data set in a folder, which is searched recursively except for hidden files.

    Returns its kind as in `NoisyPhotos`, the files of that kind, noisy or not, and all files. Both
    lists are sorted, and their paths are absolute.

    Raises OptionError if a folder cannot be read, or there are several data sets.
    """
    files = sorted(_walk(absolute(path)))
    by_kind: dict[str, list[Path]] = {}
    for file in files:
        if kind_of_file := _kind(file):
            by_kind.setdefault(kind_of_file, []).append(file)
    kinds = sorted(by_kind.keys() - {"folder"}) or ["folder"]
    if len(kinds) > 1:
        raise OptionError(
            f"{path} holds several data sets: {', '.join(kinds)}.",
            "Name the folder of each of them by itself.",
        )
    return kinds[0], by_kind.get(kinds[0], []), files


def absolute(path: Path) -> Path:
    """Return a path with the names of all parents, which "." and ".." hide; layouts need them."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise OptionError(*explain_unreadable(error.filename, error)) from error

    seen = set()
    # Data sets are often assembled from links, which may be circular.
    for folder, below, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _kind(file: Path) -> str | None:
    """Return the kind of data set that a file belongs to; None if it is not a photo."""
    if file.parent.name == "images_srgb" and _DND.match(file.name):
        return "dnd"
    if not is_photo_name(file):
        return None
    if _SIDD.match(file.name):
        return "sidd"
    if _NIND.match(file.name):
        return "nind"
    # Next to RN (real noisy) and CL (clean) there may be SN (synthetic noise).
    if file.parent.name in ("RN", "CL", "SN") and _PREP.match(file.name):
        return "prep"
    return "folder"


def _noisy(kind: str, files: Sequence[Path]) -> list[Path]:
    if kind == "sidd":
        matches = ((file, _SIDD.match(file.name)) for file in files)
        return [file for file, match in matches if match and match[1].upper() == "NOISY"]
    if kind == "prep":
        return [file for file in files if file.parent.name == "RN"]
    if kind == "nind":
        return sorted(file for _, noisy in _nind_scenes(files) for file in noisy)
    return without_results(files)


def _nind_scenes(files: Sequence[Path]) -> list[tuple[list[Path], list[Path]]]:
    """Return, for each scene of NIND, its photos at its lowest ISO, and all others."""
    scenes: dict[str, list[Path]] = {}
    isos: dict[Path, tuple[bool, int]] = {}
    for file in files:
        match = _NIND.match(file.name)
        assert match is not None
        scenes.setdefault(match[1], []).append(file)
        # H1, H2 and so on are above all numbers. ISO200-2 is another take at ISO 200.
        isos[file] = bool(match[2]), int(match[3])
    split = []
    for scene in scenes.values():
        lowest = min(isos[file] for file in scene)
        clean = [file for file in scene if isos[file] == lowest]
        split.append((clean, [file for file in scene if isos[file] > lowest]))
    return split


@dataclass(frozen=True)
class Pair:
    """The files of a noisy photo and its clean counterpart."""

    noisy: Path
    clean: Path


def find_pairs(path: Path) -> list[Pair]:
    """Find the pairs of a data set, sorted by the noisy file; other photos are left out.

    Case does not matter, and the two files may have different formats.

    Parameters
    ----------
    path : Path
        A folder, which is searched recursively except for hidden files: SIDD Medium; NIND, where
        the lowest ISO of a scene is the clean counterpart of all others; AP-BSN's ``dataset/prep``;
        or any other folder, where two folders called ``noisy`` and ``clean``, ``gt`` or
        ``reference`` hold files of the same names, or where names end in ``_noisy`` and ``_clean``
        or ``_gt``, ``_real`` and ``_mean``, or ``_N`` and ``_CL``.

    Raises
    ------
    OptionError
        There are no pairs, or there are several data sets.
    """
    _refuse_missing(path)
    if not path.is_dir():
        raise OptionError(f"{path} is a file, not a folder of pairs of photos.", _PAIRS_UNDERSTOOD)
    kind, files, _ = survey(path)
    pairs: list[Pair] = []
    if kind == "nind":
        pairs = _by_iso(files)
    elif kind != "dnd":
        pairs = _by_name(absolute(path), files)
    if not pairs:
        raise OptionError(
            f"There are no pairs of a noisy and a clean photo in {path}.", _PAIRS_UNDERSTOOD
        )
    return pairs


def _by_iso(files: Sequence[Path]) -> list[Pair]:
    pairs = []
    for clean, noisy in _nind_scenes(files):
        for file in noisy:
            # A crop matches the crop of the same part; of several takes ("-2" etc.), the first one.
            if same := [other for other in clean if _part(other) == _part(file)]:
                pairs.append(Pair(file, min(same, key=lambda f: (len(f.name), f))))
    return sorted(pairs, key=lambda pair: pair.noisy)


def _part(file: Path) -> str:
    """Return the rest of a NIND photo's name, after its ISO and its take."""
    match = _NIND.match(file.stem)
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
        for clean in _FOLDERS.get(folder, ())
    ]
    sidd = _SIDD.match(stem)
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
