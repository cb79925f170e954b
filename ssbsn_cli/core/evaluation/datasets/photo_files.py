"""Data sets of photo files: noisy photos alone, pairs with clean photos, and NIND."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssbsn_cli.core.data.layouts import (
    Side,
    absolute,
    find_pairs,
    find_photos,
    survey,
)
from ssbsn_cli.core.data.matching import FOLDERS, Key, best_of, key_of
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Sample, number_alike
from ssbsn_cli.core.imaging import is_photo_name
from ssbsn_cli.core.types import count_of

FOLDER_NEEDS = "Give --data photos or folders of noisy photos."
PAIRS_NEEDS = (
    "Give --data a folder in which noisy/ and clean/ hold files of the same names, or --data "
    "NOISY --data CLEAN with two or more folders or patterns such as 'a/*_real.png' and "
    "'a/*_mean.png'."
)
NIND_NEEDS = (
    "Give --data a folder of files such as NIND_scene_ISO200.jpg and NIND_scene_ISO6400.jpg, at "
    "least two ISOs of a scene, from "
    "https://commons.wikimedia.org/wiki/Natural_Image_Noise_Dataset."
)
# Some systems do not allow these in file names.
_UNFIT = re.compile(r'[\\:*?"<>|\x00-\x1f]')

_Index = dict[Key, list[Path]]


class _Files(NamedTuple):
    """A noisy photo at or below the folder `root` that the user named, and its clean photos."""

    root: Path
    noisy: Path
    references: tuple[Path, ...] = ()


def open_folder(data: Sequence[Path], side: Side = "noisy") -> Dataset:
    """Open photos, or one side of folders of them as in `find_photos`, with nothing to compare.

    Raises
    ------
    OptionError
        There are none.
    """
    files = []
    for path in data:
        root = absolute(path) if path.is_dir() else path.parent
        files += [_Files(root, photo) for photo in find_photos(path, side).photos]
    comparison = "Every photo as a whole; there is nothing to compare it with."
    return Dataset("folder", "Noisy photos", comparison, False, len(files), partial(_read, files))


def open_nind(data: Sequence[Path]) -> Dataset:
    """Open folders of NIND: every photo except those of the lowest ISO, which are the references.

    Raises
    ------
    OptionError
        A folder holds something else, or only one ISO of each scene.

    References
    ----------
    .. [1] B. Brummer and C. De Vleeschouwer, "Natural Image Noise Dataset", CVPR Workshops 2019.
    """
    files: list[_Files] = []
    for path in data:
        if not path.is_dir():
            raise OptionError(f"There is no folder {path}.", NIND_NEEDS)
        if survey(path)[0] != "nind":
            raise OptionError(f"There are no photos of NIND in {path}.", NIND_NEEDS)
        root = absolute(path)
        files += [_Files(root, pair.noisy, (pair.clean,)) for pair in find_pairs(path)]
    comparison = "Every photo as a whole against the one of its scene at the lowest ISO."
    return Dataset("nind", "NIND", comparison, True, len(files), partial(_read, files))


def open_pairs(
    data: Sequence[Path], name: str = "pairs", title: str = "Pairs of photos"
) -> Dataset:
    """Open pairs, with one reference or more; photos without a partner are left out.

    Parameters
    ----------
    data : sequence of Path
        Either one folder as for `find_pairs`, where the folders ``clean``, ``gt`` and ``reference``
        next to ``noisy`` all count. Or the noisy photos followed by one or more sets of clean
        ones, each as a folder or a pattern. Matching photos then have the same path below
        their folders, without extension, or the same text in place of each ``*`` of the patterns,
        which stands for anything within one name. Case does not matter.
    name, title : str
        Of the data set.

    Raises
    ------
    OptionError
        There are no pairs.
    """
    if len(data) == 1 and "*" in data[0].name and not data[0].exists():
        raise OptionError(f"{data[0]} is a pattern for one side of pairs only.", PAIRS_NEEDS)
    files, photos = _found(data[0]) if len(data) == 1 else _given(data)
    comparison = (
        "Every noisy photo as a whole against the clean one, or against the mean of several clean "
        "ones."
    )
    if alone := len(photos - {path for file in files for path in (file.noisy, *file.references)}):
        comparison += f" Left out: {count_of(alone, 'photo')} without a partner."
    return Dataset(name, title, comparison, True, len(files), partial(_read, files))


def _read(all_files: Sequence[_Files]) -> Iterator[Sample]:
    for name, files in zip(_flat_names(all_files), all_files, strict=True):
        noisy = read_pixels(files.noisy)
        references = tuple(read_pixels(path) for path in files.references)
        for path, reference in zip(files.references, references, strict=True):
            if reference.shape != noisy.shape:
                sizes = [f"{p.shape[1]}x{p.shape[0]}" for p in (noisy, reference)]
                raise OptionError(
                    f"{files.noisy} has {sizes[0]} pixels, but {path} has {sizes[1]}.",
                    "Give both the same size, or take them out of the data set.",
                )
        # Each folder directly below the root is a separate data set.
        *folders, _ = files.noisy.relative_to(files.root).parts
        yield Sample(name, noisy, references, group=folders[0] if folders else "")


def _flat_names(files: Sequence[_Files]) -> list[str]:
    """Name samples by their files: the folders below the root and the name without extension.

    Equal names get their extensions, and if that is not enough, numbers.
    """
    plain = [
        _UNFIT.sub("_", "_".join(file.noisy.relative_to(file.root).with_suffix("").parts))
        for file in files
    ]
    # Some file systems ignore case.
    alike = Counter(name.casefold() for name in plain)
    return number_alike(
        name + file.noisy.suffix.lower().replace(".", "_") if alike[name.casefold()] > 1 else name
        for file, name in zip(files, plain, strict=True)
    )


def _found(path: Path) -> tuple[list[_Files], set[Path]]:
    """Find pairs in one folder, with the other clean photos of each scene, and all its photos."""
    pairs = find_pairs(path)
    root = absolute(path)
    index = _index((key_of(root, file), file) for file in survey(path)[2])
    files = [
        _Files(root, pair.noisy, (pair.clean, *_others(root, pair.noisy, pair.clean, index)))
        for pair in pairs
    ]
    return files, {photo for photos in index.values() for photo in photos}


def _others(root: Path, noisy: Path, clean: Path, index: _Index) -> list[Path]:
    """Return the photos of the same name in other folders of clean photos."""
    *folders, _ = key_of(root, noisy)
    ours = key_of(root, clean)
    for place, folder in enumerate(folders):
        keys = [
            (*folders[:place], name, *folders[place + 1 :], ours[-1]) for name in FOLDERS["noisy"]
        ]
        if folder == "noisy" and ours in keys:
            return [best_of(index[key], clean) for key in keys if key != ours and key in index]
    return []


def _given(data: Sequence[Path]) -> tuple[list[_Files], set[Path]]:
    """Pair the photos of the first side with those of the others; return all photos, too."""
    if len({absolute(path) for path in data}) < len(data):
        raise OptionError("The same photos are given as --data twice.", PAIRS_NEEDS)
    (root, noisy), *clean = sides = [_side(path) for path in data]
    files = []
    for key, photos in noisy.items():
        for photo in photos:
            references = [best_of(side[key], photo) for _, side in clean if key in side]
            if references:
                files.append(_Files(root, photo, tuple(references)))
    if not files:
        names = " and ".join(str(path) for path in data)
        raise OptionError(f"No photos in {names} have the same names.", PAIRS_NEEDS)
    every = {photo for _, side in sides for photos in side.values() for photo in photos}
    return sorted(files, key=lambda file: file.noisy), every


def _side(path: Path) -> tuple[Path, _Index]:
    """Return a folder and its photos, by the keys that must match those of other folders."""
    if path.is_dir():
        root = absolute(path)
        matches = [(key_of(root, file), file) for file in survey(path)[2]]
    elif path.exists():
        raise OptionError(f"{path} is a file, not a folder or a pattern with *.", PAIRS_NEEDS)
    elif "*" in str(path):
        root, matches = _match(absolute(path))
    else:
        raise OptionError(f"{path} does not exist.", PAIRS_NEEDS)
    index = _index(matches)
    if not index:
        raise OptionError(f"There are no photos in {path}.", PAIRS_NEEDS)
    return root, index


def _match(pattern: Path) -> tuple[Path, list[tuple[Key, Path]]]:
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if "*" in part)
    root = Path(*parts[:first])
    if any("**" in part for part in parts):
        raise OptionError(f"{pattern} contains **.", PAIRS_NEEDS)
    below = parts[first:]
    # Only * is special, and globs would mind the case.
    name = re.compile(re.escape("/".join(below)).replace(r"\*", "([^/]*)"), re.IGNORECASE)
    found = []
    for file in sorted(root.glob("/".join("*" for _ in below))):
        if match := name.fullmatch(file.relative_to(root).as_posix()):
            found.append((tuple(part.lower() for part in match.groups()), file))
    return root, found


def _index(files: Iterable[tuple[Key, Path]]) -> _Index:
    index: _Index = {}
    for key, file in files:
        if is_photo_name(file):
            index.setdefault(key, []).append(file)
    return index
