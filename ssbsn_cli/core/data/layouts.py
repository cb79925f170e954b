"""Which files of a data set are noisy photographs, told from how it is laid out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.imaging import is_photo_name

# Only the last two patterns are anchored at their ends: cut or denoised copies of a clean photo
# carry its name plus something, and are clean, too.
SIDD = re.compile(r"\d{4}_(NOISY|GT)_SRGB_\d{3}", re.IGNORECASE)
NIND = re.compile(r"NIND[_ ](.+)[_ ]ISO(H?)(\d+)", re.IGNORECASE)
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


@dataclass(frozen=True)
class NoisyPhotos:
    """The noisy photographs of a data set, sorted and never empty.

    `kind` is "sidd", "nind", "prep", "dnd" or "folder". Clean photographs, and files that are not
    photos by their names, are `passed_over`.
    """

    kind: str
    photos: list[Path]
    passed_over: list[Path] = field(default_factory=list)


def find_photos(path: Path) -> NoisyPhotos:
    """Find the noisy photographs of a data set, and no clean ones.

    Parameters
    ----------
    path : Path
        A directory, searched with all directories below it but without hidden files: SIDD Medium,
        NIND, DND or AP-BSN's ``dataset/prep``, or any part of one of them. Of NIND, photographs
        above the lowest ISO of their scene are noisy. In any other directory, every photograph
        counts as noisy. So does a single file, whatever its name.

    Raises
    ------
    OptionError
        There is nothing to train on, or there are several data sets, which cannot be one.
    """
    refuse_missing(path)
    if path.is_file():
        kind = "dnd" if path.suffix.lower() == ".mat" else "folder"
        if kind == "folder" and not is_photo_name(path):
            raise OptionError(f"{path} is not a photo by its name.", _UNDERSTOOD)
        return NoisyPhotos(kind, [path])
    kind, of_kind, files = survey(path)
    photos = _noisy(kind, of_kind)
    if not photos:
        raise OptionError(f"There are no noisy photos in {path}.", _UNDERSTOOD)
    taken = set(photos)
    return NoisyPhotos(kind, photos, [file for file in files if file not in taken])


def refuse_missing(path: Path) -> None:
    """Raise an OptionError if a path does not exist; say where the data set in its name is from."""
    if not path.exists():
        known = (told for name, told in _PUBLISHED.items() if name in path.name.lower())
        raise OptionError(f"{path} does not exist.", next(known, "Check the spelling of the path."))


def survey(path: Path) -> tuple[str, list[Path], list[Path]]:
    """Tell what kind of data set a directory holds, with all below it but without hidden files.

    Returns its kind as in `NoisyPhotos`, the files of that kind, noisy or not, and all files; both
    are sorted, and their paths absolute.

    Raises
    ------
    OptionError
        A directory cannot be read, or there are several data sets.
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
    """Return a path with the names of all parents, which tell layouts; "." and ".." hide them."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise OptionError(
            f"{error.filename} cannot be read: {error.strerror}.", "Change its permissions first."
        ) from error

    seen = set()
    # Data sets are often put together from links, which may lead in circles.
    for directory, below, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(directory, name) for name in names if not name.startswith("."))


def _kind(file: Path) -> str | None:
    """Return the kind of data set that a file belongs to; None if it is no photograph."""
    if file.parent.name == "images_srgb" and _DND.match(file.name):
        return "dnd"
    if not is_photo_name(file):
        return None
    if SIDD.match(file.name):
        return "sidd"
    if NIND.match(file.name):
        return "nind"
    # Beside RN (real noisy) and CL (clean) there may be SN, synthetic noise.
    if file.parent.name in ("RN", "CL", "SN") and _PREP.match(file.name):
        return "prep"
    return "folder"


def _noisy(kind: str, files: Sequence[Path]) -> list[Path]:
    if kind == "sidd":
        matches = ((file, SIDD.match(file.name)) for file in files)
        return [file for file, match in matches if match and match[1].upper() == "NOISY"]
    if kind == "prep":
        return [file for file in files if file.parent.name == "RN"]
    if kind == "nind":
        return sorted(file for _, noisy in nind_scenes(files) for file in noisy)
    return list(files)


def nind_scenes(files: Sequence[Path]) -> list[tuple[list[Path], list[Path]]]:
    """Return, for each scene of NIND, its photos at its lowest ISO, and all others."""
    scenes: dict[str, list[Path]] = {}
    isos: dict[Path, tuple[bool, int]] = {}
    for file in files:
        match = NIND.match(file.name)
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
