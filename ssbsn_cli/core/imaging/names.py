"""The names of photos, and those that mark the results of other photos."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path, PurePath

from ssbsn_cli.core.imaging.formats import PHOTO_EXTENSIONS

# Goes between the stem and the extension of results in the folders of their photos.
DEFAULT_SUFFIX = "_denoised"
# Goes between a photo's name and the extension of its comparison.
COMPARE_SUFFIX = "_compare"


def split_name(name: str) -> tuple[str, str]:
    """Return the stem and the extension of a file's name, as `pathlib` defines them."""
    stem, extension = os.path.splitext(name)
    return (stem, extension) if extension != "." else (name, "")


def is_photo_name(path: PurePath | str) -> bool:
    """Return whether a file is a photo by its name; hidden files are not. It need not exist."""
    name = os.path.basename(path)
    return not name.startswith(".") and split_name(name)[1].lower() in PHOTO_EXTENSIONS


def alike(stem: str, names: Sequence[str]) -> list[str]:
    """Return the photos with this stem among sorted names."""
    prefix = f"{stem}."
    start = end = bisect_left(names, prefix)
    while end < len(names) and names[end].startswith(prefix):
        end += 1
    return [
        name for name in names[start:end] if split_name(name)[0] == stem and is_photo_name(name)
    ]


def result_ending(name: str, names: Sequence[str], suffix: str = "") -> str | None:
    """Return the ending that marks a file as a result of another one, if it is one.

    Parameters
    ----------
    name : str
        The file's name.
    names : sequence of str
        The sorted names in its folder, among which the other one must be.
    suffix : str
        An ending of results besides `DEFAULT_SUFFIX`.
    """
    stem = split_name(name)[0]
    for ending in {suffix, DEFAULT_SUFFIX, COMPARE_SUFFIX} - {""}:
        rest = stem.removesuffix(ending)
        others = alike(rest, names) if ending != COMPARE_SUFFIX else []
        # The rest may be a photo's whole name, with its extension.
        if rest not in ("", stem) and (others or rest in alike(split_name(rest)[0], names)):
            return ending
    return None


def without_results(files: Sequence[Path]) -> list[Path]:
    """Leave out the results of other files in the same folder; the files must be sorted."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file.name)
    return [file for file in files if not result_ending(file.name, folders[file.parent])]
