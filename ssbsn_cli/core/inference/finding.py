"""Which photos the inputs of a command stand for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.imaging import PHOTO_EXTENSIONS, is_photo_name

STREAM = "-"
# Goes between the stem and the extension of results that lie beside their photos.
DEFAULT_SUFFIX = "_denoised"


@dataclass(frozen=True, slots=True)
class Found:
    """A photo.

    Parameters
    ----------
    path : Path or None
        Its file; None is standard input.
    below : Path
        Its folder, relative to the input that led there.
    """

    path: Path | None
    below: Path = Path()


@dataclass
class Finder:
    """Goes through inputs, and notes what it leaves out.

    Parameters
    ----------
    recursive : bool
        Whether to go into subfolders. Links to folders are never followed.
    skip : Path or None
        A folder that is not gone into.
    suffix : str
        How the stems of results end, beside `DEFAULT_SUFFIX`.
    passed_over : list of (Path, str)
        Files and folders that are left out, and why.
    unreadable : list of OSError
        Folders that cannot be read.
    """

    recursive: bool
    skip: Path | None
    suffix: str
    passed_over: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[OSError] = field(default_factory=list)

    def find(self, inputs: Sequence[str]) -> Iterator[Found]:
        """Yield the photos in the order of the inputs, those of a folder sorted by name."""
        for text in inputs:
            path = Path(text)
            if text == STREAM:
                yield Found(None)
            elif is_folder(path):
                yield from self._find_in(path)
            else:
                yield Found(path)

    def _find_in(self, folder: Path) -> Iterator[Found]:
        folders, photos = 0, 0
        for path, below in self._walk(folder):
            if is_folder(path):
                folders += 1
            elif not is_photo_name(path):
                self.passed_over.append((path, "not a photo by its name"))
            elif is_special(path):
                self.passed_over.append((path, "not a regular file"))
            elif suffix := self._suffix_of_result(path):
                self.passed_over.append((path, f"a result, by {suffix!r} in its name"))
            else:
                photos += 1
                yield Found(path, below)
        if folders and not photos and not self.recursive:
            self.passed_over.append((folder, "it holds only folders; --recursive goes into them"))

    def _walk(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        """Yield what is in a folder, sorted by name, and where below it; hidden names are not."""
        # Not by recursion: folders may lie in each other more deeply than Python allows that.
        waiting = [(iter(self._list(folder)), Path())]
        while waiting:
            entries, below = waiting[-1]
            path = next(entries, None)
            if path is None:
                waiting.pop()
                continue
            if self.recursive and is_folder(path):
                if path.is_symlink():
                    self.passed_over.append((path, "a link to a folder; name it to go into it"))
                    continue
                if not self._is_skipped(path):
                    waiting.append((iter(self._list(path)), below / path.name))
            yield path, below

    def _list(self, folder: Path) -> list[Path]:
        try:
            return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        except OSError as error:
            self.unreadable.append(error)
            return []

    def _is_skipped(self, path: Path) -> bool:
        try:
            return self.skip is not None and path.samefile(self.skip)
        except OSError:
            # It does not exist yet.
            return False

    def _suffix_of_result(self, path: Path) -> str | None:
        """Return the suffix of the result of another photo that is still beside it."""
        for suffix in {self.suffix, DEFAULT_SUFFIX} - {""}:
            stem = path.stem.removesuffix(suffix)
            if stem in ("", path.stem):
                continue
            extensions = {path.suffix, *PHOTO_EXTENSIONS, *map(str.upper, PHOTO_EXTENSIONS)}
            if any(path.with_name(stem + extension).exists() for extension in extensions):
                return suffix
        return None


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder, or a link to one."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a device or the like."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        return False


def read_names(content: bytes, separator: bytes) -> list[str]:
    """Return the names that a list of inputs holds.

    Parameters
    ----------
    content : bytes
        Names in the encoding of the system's file names.
    separator : bytes
        What ends each: a line feed, or the NUL of ``find -print0``. Empty names are left out.

    Raises
    ------
    OptionError
        No name can hold a NUL, or none may stand for standard input.
    """
    names = [os.fsdecode(name) for name in content.split(separator) if name]
    if any("\0" in name for name in names):
        raise OptionError("A name in the list of inputs holds a NUL.", "Add -0 to read such lists.")
    if STREAM in names:
        raise OptionError("A list of inputs cannot name standard input.", "Give - alone.")
    return names
