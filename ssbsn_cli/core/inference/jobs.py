"""Find the files to denoise and the places of the results, ahead of denoising."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.finding import Finder, Found, PassedOver, is_same_file
from ssbsn_cli.core.inference.placing import Naming, Placing
from ssbsn_cli.core.inference.settings import STREAM

# Denoising starts after this many photos are planned, or all of them, or after this many seconds.
# So contradictions among the first photos are found before any work is done.
_FIRST = 10_000
_SECONDS = 1.0
_SECONDS_BETWEEN_LOOKS = 0.2
_FOLDERS = 1024


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to denoise.

    Parameters
    ----------
    source : Path or None
        The photo; None is standard input.
    target : Path or None
        Where the result goes; None is standard output.
    comparison : Path, optional
        Where the comparison, a picture of before and after, goes.
    below : Path
        The last folders of these paths, which the user did not name. Links in it are refused.
    """

    source: Path | None
    target: Path | None
    comparison: Path | None = None
    below: Path = Path()

    @property
    def written(self) -> list[Path]:
        """The files that the job writes."""
        return [path for path in (self.target, self.comparison) if path is not None]

    @property
    def is_in_place(self) -> bool:
        """Whether the result would replace the photo."""
        if not (self.source and self.target):
            return False
        return is_same_file(self.source, self.target)

    @property
    def is_done(self) -> bool:
        """Whether all files that the job writes exist, and the result is not the photo itself."""
        exist = bool(self.written) and all(map(os.path.isfile, self.written))
        return exist and not self.is_in_place

    @property
    def names(self) -> dict[str, str]:
        """The photo and its result, as in JSON."""
        return {"input": str(self.source or STREAM), "output": str(self.target or STREAM)}

    @property
    def skipped(self) -> dict[str, Any]:
        """The outcome if the job is skipped, as plain values for JSON."""
        return {**self.names, "skipped": True}


# The basis of a job: the photo, its folder below the input, and whether its extension is kept. A
# million of these may wait for their turn.
_Record = tuple[str | None, str, bool]


class Plan:
    """The jobs of a command, which a separate thread finds and names; iterate once.

    Iterating yields a `Job` for each photo, in the order of the inputs and by name in folders.
    In between, it yields `PassedOver` for other files, OSError for unreadable folders, and None
    whenever nothing is known yet, so that nobody waits for photos that are still to be listed. It
    raises OptionError as soon as it knows that a file would be written twice, or over a photo.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders, or "-" for standard input.
    naming : Naming
        Where results go.
    listed : iterable of str, optional
        More files and folders. The thread takes each when it is its turn.
    recursive : bool
        Whether to include subfolders, whose tree is kept below the output.
    shard : (int, int)
        The number of a shard, from 1, and the number of shards: only photos in that shard count. A
        photo is in the same shard on every machine, whatever other photos there are: its path below
        the named folder decides, or its name if the user named the photo itself.
    overwrite : bool
        Whether results may replace files. All photos are then found before the first job is
        yielded, so that no result replaces a photo that is yet to be read.

    Raises
    ------
    OptionError
        If the options contradict each other.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        naming: Naming,
        *,
        listed: Iterable[str] | None = None,
        recursive: bool = False,
        shard: tuple[int, int] = (1, 1),
        overwrite: bool = False,
    ) -> None:
        self._placing = Placing(naming, inputs, listed is not None)
        self._found = Finder(recursive, self._placing.folders).find(inputs, listed or ())
        self._shard, self._overwrite = shard, overwrite
        # Paths are kept as 64-bit hashes, since there may be millions: a map from each file that is
        # written to its photo, and the set of all photos.
        self._written: dict[int, int] = {}
        self._read: set[int] = set()
        self._real_folder = lru_cache(_FOLDERS)(os.path.realpath)
        self._count = 0
        #: The number of photos in other shards, so far.
        self.elsewhere = 0
        self._enough, self._all = Event(), Event()
        self._failure: Exception | None = None
        self._waiting: SimpleQueue[_Record | PassedOver | OSError | None] = SimpleQueue()
        Thread(target=self._fill, daemon=True).start()

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to standard output."""
        return self._placing.to_stdout

    @property
    def total(self) -> int | None:
        """The number of photos; None while they are still being found."""
        return self._count if self._all.is_set() else None

    def __iter__(self) -> Iterator[Job | PassedOver | OSError | None]:
        self._enough.wait(None if self._overwrite else _SECONDS)
        while True:
            try:
                each = None if self._failure else self._waiting.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except Empty:
                yield None
                continue
            if self._failure:
                raise self._failure
            if each is None:
                return
            yield self._job(*each) if isinstance(each, tuple) else each

    def _fill(self) -> None:
        try:
            for each in self._plan():
                if isinstance(each, tuple):
                    self._count += 1
                self._waiting.put(each)
                if self._count >= _FIRST and not self._overwrite:
                    self._enough.set()
        except Exception as error:
            self._failure = error
        self._written.clear()
        self._read.clear()
        self._all.set()
        self._enough.set()
        self._waiting.put(None)

    def _plan(self) -> Iterator[_Record | PassedOver | OSError]:
        for found in self._found:
            if not isinstance(found, Found):
                yield found
                continue
            if ending := self._placing.is_result(found):
                yield PassedOver(Path(found.path or ""), f"a result, by {ending!r} in its name")
                continue
            self._placing.check(found)
            record = found.path, found.below, self._placing.needs_extension(found)
            if self._would_replace_link(found, record):
                yield PassedOver(Path(found.path or ""), "a link, and results replace no links")
            elif self._is_of_this_command(found):
                yield PassedOver(Path(found.path or ""), "a result of this command")
            elif self._is_new(found, record):
                if self._is_in_shard(found):
                    yield record
                else:
                    self.elsewhere += 1

    def _job(self, source: str | None, below: str, keep_extension: bool) -> Job:
        target = self._placing.target(source, below, keep_extension)
        comparison = self._placing.comparison(source, below)
        return Job(_path(source), _path(target), _path(comparison), Path(below))

    def _would_replace_link(self, found: Found, record: _Record) -> bool:
        target = self._placing.target(*record)
        if not (found.is_link and found.path and target):
            return False
        return self._real(found.path) == self._real(target)

    def _is_of_this_command(self, found: Found) -> bool:
        """Return whether a photo in a list is a result; the list may grow while results appear."""
        if not found.is_listed or self._overwrite or not found.path:
            return False
        # A photo may be denoised in place.
        file = hash(self._real(found.path))
        return self._written.get(file, file) != file

    def _is_new(self, found: Found, record: _Record) -> bool:
        """Return whether a photo was not named before; refuse contradictions to earlier photos."""
        source = found.path
        photo = hash(source and self._real(source))
        target = self._placing.target(*record)
        files = (target, self._placing.comparison(*record[:2]))
        written = [(path, hash(self._real(path))) for path in files if path]
        if target and self._written.get(written[0][1]) == photo:
            return False
        read = {photo, hash(os.path.realpath(source))} if source and found.is_link else {photo}
        if any(file in self._written for file in read):
            raise _read_and_written(str(source))
        self._read |= read
        for path, file in written:
            if file in self._written:
                other = "its comparison" if self._written[file] == photo else "another photo"
                raise OptionError(
                    f"{path} would be written twice, for {source or 'standard input'} and for "
                    f"{other}.",
                    "Name different outputs, or use two commands. --recursive keeps subfolders.",
                )
            self._written[file] = photo
            # In place, a link's target may be named instead of the link.
            if file in self._read and not (file in read and path == target):
                raise _read_and_written(path)
        return True

    def _real(self, path: str) -> str:
        # Links in folders are followed, but no result is written through a link that is a file.
        folder, name = os.path.split(path)
        return os.path.join(self._real_folder(folder), name)

    def _is_in_shard(self, found: Found) -> bool:
        number, count = self._shard
        name = STREAM
        if found.path:
            name = os.path.join(found.below, os.path.basename(found.path))
        return zlib.crc32(os.fsencode(name)) % count == number - 1


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _read_and_written(path: str) -> OptionError:
    return OptionError(f"{path} is both an input and an output.", "Name another output.")
