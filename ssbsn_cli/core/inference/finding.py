"""Find, one by one, the photos that the inputs of a command stand for."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from ssbsn_cli.core.errors import OptionError, explain_unreadable
from ssbsn_cli.core.imaging.names import is_photo_name
from ssbsn_cli.core.inference.settings import STREAM
from ssbsn_cli.core.runtime.process import stdin

# These may lead to a regular file, but are not its name.
_STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/")
# How many bytes of a list are read at once, and of how many folders the names are remembered.
_CHUNK = 1 << 16
_FOLDERS = 8
# How the lists of PowerShell begin.
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Found:
    """A photo, as strings: a million paths would take too much memory.

    Parameters
    ----------
    path : str or None
        Its file; None is standard input.
    below : str
        Its folder, relative to the input that led there.
    is_link, is_nameless : bool
        Whether it is a link; whether its name is not that of a photo, as of pipes and devices.
    is_listed : bool
        Whether a list names it.
    beside : callable
        Returns the sorted names in its folder that count: if the command line names the photo,
        those that it names; if a folder or a list led to it, all of them.
    """

    path: str | None
    below: str = ""
    is_link: bool = False
    is_nameless: bool = False
    is_listed: bool = False
    beside: Callable[[], Sequence[str]] = tuple


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or a folder that is skipped, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Finder:
    """Searches inputs for photos; if `recursive`, also in subfolders, except for those in `skip`.

    Links to folders are only followed if they are inputs.
    """

    recursive: bool
    skip: Sequence[Path]

    def find(
        self, inputs: Sequence[str], listed: Iterable[str] = ()
    ) -> Iterator[Found | PassedOver | OSError]:
        """Search inputs in the given order, and folders in the order of names.

        `inputs` are photos, folders, or `STREAM`. `listed` are more photos and folders; each is
        taken when it is its turn. Yields photos, files and folders that are skipped, and why a
        folder cannot be read.
        """
        named = defaultdict(list)
        for text in inputs:
            folder, name = os.path.split(Path(text))
            named[folder].append(name)
        for names in named.values():
            names.sort()
        for text in inputs:
            if text == STREAM:
                yield Found(None)
            else:
                yield from self._find(text, named.__getitem__)
        list_folder = lru_cache(_FOLDERS)(_names_in)
        for text in listed:
            yield from self._find(text, list_folder, is_listed=True)

    def _find(
        self, text: str, names_in: Callable[[str], Sequence[str]], is_listed: bool = False
    ) -> Iterator[Found | PassedOver | OSError]:
        path, mode, is_link = str(Path(text)), 0, False
        try:
            mode = os.lstat(path).st_mode
            is_link = stat.S_ISLNK(mode)
            mode = os.stat(path).st_mode if is_link else mode
        except (OSError, ValueError):
            # Reading it will show what is wrong, also with a link that leads nowhere.
            mode = 0
        if stat.S_ISDIR(mode):
            yield from self._find_in(path)
            return
        is_nameless = bool(mode) and not stat.S_ISREG(mode)
        is_nameless |= os.path.abspath(path).startswith(_STREAMS)
        beside = partial(names_in, os.path.dirname(path))
        yield Found(path, "", is_link, is_nameless, is_listed, beside)

    def _find_in(self, root: str) -> Iterator[Found | PassedOver | OSError]:
        # Without recursion: folders may be nested more deeply than Python can recurse.
        waiting = [self._list(root, "")]
        while waiting:
            each = next(waiting[-1], None)
            if each is None:
                waiting.pop()
            elif isinstance(each, tuple):
                waiting.append(self._list(*each))
            else:
                yield each

    def _list(
        self, root: str, below: str
    ) -> Iterator[Found | PassedOver | OSError | tuple[str, str]]:
        """Yield what is in a folder; of subfolders to go into, only `root` and `below`."""
        names: list[str] = []
        unusual: set[str] = set()
        try:
            with os.scandir(root) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        names.append(entry.name)
                        if not entry.is_file(follow_symlinks=False):
                            unusual.add(entry.name)
        except OSError as error:
            yield error
            return
        names.sort()
        for name in names:
            path, is_unusual = os.path.join(root, name), name in unusual
            if is_unusual and os.path.isdir(path):
                if self._is_skipped(path):
                    continue
                if not self.recursive:
                    yield PassedOver(Path(path), "a folder; --recursive goes into it")
                elif os.path.islink(path):
                    yield PassedOver(Path(path), "a link to a folder; name it to go into it")
                else:
                    yield path, os.path.join(below, name)
            elif not is_photo_name(name):
                yield PassedOver(Path(path), "its name is not that of a photo")
            elif is_unusual and is_special(path):
                yield PassedOver(Path(path), "not a regular file")
            else:
                # Anything that is neither a file nor a folder nor special is a link.
                yield Found(path, below, is_unusual, beside=lambda: names)

    def _is_skipped(self, path: str) -> bool:
        return any(is_same_file(each, path) for each in self.skip)


def is_same_file(path: str | Path, other: str | Path) -> bool:
    """Return whether two paths lead to one file; paths that cannot be reached lead to none."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or os.curdir))
    except OSError:
        return []


def is_special(path: str) -> bool:
    """Return whether a path is a pipe, a device or the like."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def read_list(path: Path, separator: bytes) -> Iterator[str]:
    """Open a list of inputs, a file or ``-``, and return its names as by `read_names`.

    Raises
    ------
    OptionError
        It cannot be opened.
    """
    opened: contextlib.AbstractContextManager[Any]
    if str(path) == STREAM:
        buffered = stdin()
        opened = contextlib.nullcontext(getattr(buffered, "raw", buffered))
    else:
        try:
            opened = path.open("rb", buffering=0)
        except OSError as error:
            raise OptionError(*explain_unreadable(f"The list {path}", error)) from None

    def names() -> Iterator[str]:
        with opened as stream:
            yield from read_names(stream, separator)

    return names()


def read_names(stream: BinaryIO, separator: bytes) -> Iterator[str]:
    """Yield the names in a list of inputs as soon as they arrive.

    Parameters
    ----------
    stream : binary file
        Names in the encoding of the system's file names. It should be unbuffered; otherwise,
        another thread that closes it would wait for more names.
    separator : bytes
        The end of each name: a line feed, or the NUL of ``find -print0``. Empty names are skipped.

    Raises
    ------
    OptionError
        A name contains a NUL, is too long, or stands for standard input; or the list is in UTF-16.
    """
    # On Windows, lines end with a carriage return and a line feed.
    ending = b"\r" if separator == b"\n" else b""
    rest = b""
    begun = False
    while chunk := stream.read(_CHUNK):
        if not begun and chunk.startswith(_UTF16):
            raise OptionError("The list of inputs is in UTF-16.", "Save it as UTF-8.")
        if not begun:
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        begun = True
        *names, rest = (rest + chunk).split(separator)
        names = [name.removesuffix(ending) for name in names]
        yield from map(_check_name, filter(None, names))
        # Any file may be given as a list, and no system has such long names.
        if len(rest) > _CHUNK:
            raise OptionError(
                "A name in the list of inputs is too long.",
                "Give a text file with a path on each line, or add -0 if paths end in a NUL.",
            )
    if rest := rest.removesuffix(ending):
        yield _check_name(rest)


def _check_name(encoded: bytes) -> str:
    name = os.fsdecode(encoded)
    if "\0" in name:
        raise OptionError(
            "A name in the list of inputs holds a NUL.",
            "Give a text file with a path on each line, or add -0 if paths end in a NUL.",
        )
    if name == STREAM:
        raise OptionError("A list of inputs cannot name standard input.", "Give - alone.")
    return name
