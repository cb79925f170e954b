"""Pairs of noisy and clean photographs, found in one folder or given folder by folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssbsn_cli.core.data.layouts import absolute, survey
from ssbsn_cli.core.data.pairs import find_pairs
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.folder import Files, Photos
from ssbsn_cli.core.imaging import is_photo_name

NEEDS = (
    "Give --data a folder in which noisy/ and clean/ hold files of the same names, or --data "
    "NOISY --data CLEAN with two or more folders or patterns such as 'a/*_real.png' and "
    "'a/*_mean.png'."
)
_PROTOCOL = (
    "Every noisy photo as a whole against the clean one, or against the mean of several clean ones."
)
_CLEAN = ("clean", "gt", "reference")

_Key = tuple[str, ...]
_Index = dict[_Key, list[Path]]


def open_pairs(data: Sequence[Path]) -> Photos:
    """Open pairs, with one reference or more; photos without a partner are left out.

    Parameters
    ----------
    data : sequence of Path
        Either one folder as `find_pairs` takes it, where the folders ``clean``, ``gt`` and
        ``reference`` beside ``noisy`` all count. Or the noisy photographs and then, one or more
        times, the clean ones, each as a folder or a pattern. Then photographs of a scene have the
        same path below their folders, without extension; of patterns, the same text in place of
        each ``*``, which stands for anything within one name. Case does not matter.

    Raises
    ------
    OptionError
        There are no pairs.
    """
    if len(data) == 1 and "*" in data[0].name and not data[0].exists():
        raise OptionError(f"{data[0]} is a pattern for one side of pairs only.", NEEDS)
    files = _found(data[0]) if len(data) == 1 else _given(data)
    return Photos("pairs", "Pairs of photos", _PROTOCOL, tuple(files))


def _found(path: Path) -> list[Files]:
    pairs = find_pairs(path)
    root = absolute(path)
    index = _index((_key(root, file), file) for file in survey(path)[2])
    return [
        Files(root, pair.noisy, (pair.clean, *_others(root, pair.noisy, pair.clean, index)))
        for pair in pairs
    ]


def _others(root: Path, noisy: Path, clean: Path, index: _Index) -> list[Path]:
    """Return the photos of the same name in the other folders of clean photos."""
    *folders, stem = _key(root, clean)
    *beside, _ = _key(root, noisy)
    differ = [i for i, pair in enumerate(zip(folders, beside, strict=False)) if pair[0] != pair[1]]
    if len(folders) != len(beside) or len(differ) != 1:
        return []
    (place,) = differ
    if beside[place] != "noisy" or folders[place] not in _CLEAN:
        return []
    keys = [
        (*folders[:place], other, *folders[place + 1 :], stem)
        for other in _CLEAN
        if other != folders[place]
    ]
    return [_best(index[key], clean) for key in keys if key in index]


def _given(data: Sequence[Path]) -> list[Files]:
    if len({absolute(path) for path in data}) < len(data):
        raise OptionError("The same photos are given as --data twice.", NEEDS)
    (root, noisy), *clean = [_side(path) for path in data]
    files = []
    for key, photos in noisy.items():
        for photo in photos:
            references = [_best(side[key], photo) for _, side in clean if key in side]
            if references:
                files.append(Files(root, photo, tuple(references)))
    if not files:
        names = " and ".join(str(path) for path in data)
        raise OptionError(f"No photos in {names} have the same names.", NEEDS)
    return sorted(files, key=lambda file: file.noisy)


def _side(path: Path) -> tuple[Path, _Index]:
    """Return a folder and its photos by what those of other folders must share."""
    if path.is_dir():
        root = absolute(path)
        matches = [(_key(root, file), file) for file in survey(path)[2]]
    elif path.exists():
        raise OptionError(f"{path} is a file, not a folder or a pattern with *.", NEEDS)
    elif "*" in str(path):
        root, matches = _match(absolute(path))
    else:
        raise OptionError(f"{path} does not exist.", NEEDS)
    index = _index(matches)
    if not index:
        raise OptionError(f"There are no photos in {path}.", NEEDS)
    return root, index


def _match(pattern: Path) -> tuple[Path, list[tuple[_Key, Path]]]:
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if "*" in part)
    root = Path(*parts[:first])
    if any("**" in part for part in parts):
        raise OptionError(f"{pattern} contains **.", NEEDS)
    # The other signs of glob patterns, [ and ?, stand for themselves.
    below = "/".join(parts[first:])
    files = sorted(root.glob(re.sub(r"([\[?])", r"[\1]", below)))
    name = re.compile(re.escape(below).replace(r"\*", "([^/]*)"), re.IGNORECASE)
    found = []
    for file in files:
        if match := name.fullmatch(file.relative_to(root).as_posix()):
            found.append((tuple(part.lower() for part in match.groups()), file))
    return root, found


def _index(files: Iterable[tuple[_Key, Path]]) -> _Index:
    index: _Index = {}
    for key, file in files:
        if is_photo_name(file):
            index.setdefault(key, []).append(file)
    return index


def _key(root: Path, file: Path) -> _Key:
    return tuple(part.lower() for part in file.relative_to(root).with_suffix("").parts)


def _best(files: Sequence[Path], like: Path) -> Path:
    """Return the file of the same format, if there is one."""
    return next((f for f in files if f.suffix.lower() == like.suffix.lower()), files[0])
