"""Find the noisy photos of a data set, and their clean counterparts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssbsn_cli.core.data.matching import SIDD, Pair, match_names
from ssbsn_cli.core.errors import OptionError, explain_unreadable
from ssbsn_cli.core.imaging import is_photo_name
from ssbsn_cli.core.imaging.names import without_results
from ssbsn_cli.core.runtime.storage import real_path

# `SIDD` and this one are not anchored at their ends: the names of cropped or denoised copies of a
# clean photo start with its name, and these copies are clean, too.
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
_TAKE = re.compile(r"\A-\d+")

_PAIRS_UNDERSTOOD = (
    "Give SIDD Medium (0001_NOISY_SRGB_010.PNG beside 0001_GT_SRGB_010.PNG), NIND (at least two "
    "ISOs of a scene), AP-BSN's dataset/prep (RN/0_0_0.png and CL/0_0_0.png), two folders noisy "
    "and clean (or gt, or reference) with files of the same names, or files named a_noisy.png and "
    "a_clean.png (or _gt; _real and _mean; _N and _CL)."
)

# Files in the folder of every run of a training.
_RUN = {"metrics.jsonl", "config.toml"}

Side = Literal["noisy", "clean"]


@dataclass(frozen=True)
class FoundPhotos:
    """The photos of one side of a data set, sorted and never empty.

    `kind` is "sidd", "nind", "prep", "dnd" or "folder". Photos of the other side, and files without
    the name of a photo, are `passed_over`.
    """

    kind: str
    photos: list[Path]
    passed_over: list[Path] = field(default_factory=list)


def find_photos(path: Path, side: Side = "noisy") -> FoundPhotos:
    """Find the photos of one side of a data set, and none of the other side.

    Parameters
    ----------
    path : Path
        A folder, which is searched recursively except for hidden files and the runs of trainings:
        SIDD Medium, NIND, DND or AP-BSN's ``dataset/prep``, or any part of one of them. In any
        other folder, every photo counts, except for results beside it. So does a single file.
    side : {"noisy", "clean"}
        "clean" leaves out photos that have a clean counterpart as in `find_pairs`.

    Returns
    -------
    FoundPhotos
        The noisy photos of NIND are those above the lowest ISO of their scene.

    Raises
    ------
    OptionError
        There are no such photos, or there are several data sets.
    """
    _refuse_missing(path)
    if path.is_file():
        kind = "dnd" if path.suffix.lower() == ".mat" else "folder"
        if kind == "folder" and not is_photo_name(path):
            raise OptionError(f"{path} does not have the name of a photo.", _UNDERSTOOD)
        return FoundPhotos(kind, [path])
    kind, of_kind, files = survey(path)
    photos = _on_side(side, kind, of_kind, absolute(path))
    if not photos:
        what = "photos" if kind == "folder" else f"{side} photos"
        raise OptionError(f"There are no {what} in {path}.", _UNDERSTOOD)
    return FoundPhotos(kind, photos, sorted(set(files) - set(photos)))


def _refuse_missing(path: Path) -> None:
    """Raise an OptionError if a path is missing; name the source of a known data set."""
    if not path.exists():
        known = (told for name, told in _PUBLISHED.items() if name in path.name.lower())
        raise OptionError(f"{path} does not exist.", next(known, "Check the spelling of the path."))


def survey(path: Path) -> tuple[str, list[Path], list[Path]]:
    """Recognise the data set in a folder, searched except for hidden files and runs of trainings.

    Returns its kind as in `FoundPhotos`, the files of that kind, noisy or not, and all files. Both
    lists are sorted, and their paths are absolute.

    Raises OptionError if a folder cannot be read, it is itself the folder of a run, or there are
    several data sets.
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
    return real_path(path) if ".." in path.parts else path.absolute()


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
        # The previews of a training are no photos to learn from.
        if _RUN.issubset(names):
            if Path(folder) == root:
                raise OptionError(
                    f"{root} is the folder of a training run, whose previews are no photos.",
                    "Name a folder of photos alone.",
                )
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _kind(file: Path) -> str | None:
    """Return the kind of data set that a file belongs to; None if it is not a photo."""
    if file.parent.name == "images_srgb" and _DND.match(file.name):
        return "dnd"
    if not is_photo_name(file):
        return None
    if SIDD.match(file.name):
        return "sidd"
    if _NIND.match(file.name):
        return "nind"
    # Next to RN (real noisy) and CL (clean) there may be SN (synthetic noise).
    if file.parent.name in ("RN", "CL", "SN") and _PREP.match(file.name):
        return "prep"
    return "folder"


def _on_side(side: Side, kind: str, files: Sequence[Path], root: Path) -> list[Path]:
    clean = side == "clean"
    if kind == "sidd":
        name = "GT" if clean else "NOISY"
        matches = ((file, SIDD.match(file.name)) for file in files)
        return [file for file, match in matches if match and match[1].upper() == name]
    if kind == "prep":
        return [file for file in files if file.parent.name == ("CL" if clean else "RN")]
    if kind == "nind":
        sides = (low if clean else others for low, others in _nind_scenes(files))
        return sorted(file for photos in sides for file in photos)
    if clean and kind == "dnd":
        return []
    paired = {pair.noisy for pair in match_names(root, files)} if clean else set()
    return [file for file in without_results(files) if file not in paired]


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
        pairs = match_names(absolute(path), files)
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
