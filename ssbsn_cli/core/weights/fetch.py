"""Fetch weights, and check them before they are moved into place."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssbsn_cli.core.errors import OptionError, SsbsnError, WeightsError, explain_unreadable
from ssbsn_cli.core.runtime.download import download
from ssbsn_cli.core.runtime.storage import (
    CACHE,
    cache_dir,
    explain_unwritable,
    file_digest,
    write_atomically,
)
from ssbsn_cli.core.runtime.temporary import move_into_place, temporary_file
from ssbsn_cli.core.types import Progress
from ssbsn_cli.core.weights.registry import Entry

_BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Fetched:
    """A file of weights, its SHA-256, and its origin.

    `recorded` is whether the digest was recorded for the first time, since none is published.
    """

    path: Path
    digest: str
    status: Literal["bundled", "present", "downloaded", "copied"]
    recorded: bool = False


def local_path(entry: Entry) -> Path | None:
    """Return the file of `entry` if it exists and its digest is known; do not compare that yet."""
    path = (_BUNDLED if entry.bundled else cache_dir()) / entry.filename
    return path if path.is_file() and _expected(entry, path) else None


def verified_path(entry: Entry) -> Path:
    """Return the file of `entry` after comparing its digest.

    Raises
    ------
    WeightsError
        If the file is missing, or its digest is wrong.
    """
    again = "Install ssbsn again." if entry.bundled else f"Run: ssbsn fetch-weights {entry.name}"
    path = local_path(entry)
    if path is None:
        missing = "missing from the package" if entry.bundled else "not fetched yet"
        raise WeightsError(f"The weights {entry.name} are {missing}.", again)
    if file_digest(path) != _expected(entry, path):
        raise WeightsError(
            f"{path} is damaged or was replaced: its SHA-256 is not that of {entry.name}.", again
        )
    return path


def fetch(
    entry: Entry,
    *,
    dest: Path | None = None,
    source: Path | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Fetched:
    """Download or copy the file of `entry`, unless it already exists.

    The new file is moved into place only after these checks: its digest is the published one or
    the first one seen, it loads without running code, and its network is that of the registry.

    Parameters
    ----------
    entry : Entry
        The weights.
    dest : Path, optional
        Folder to use instead of the cache.
    source : Path, optional
        A file to copy, which was downloaded by hand.
    progress : callable
        Called with the number of received bytes and their total, which is 0 if unknown.

    Raises
    ------
    OptionError
        If `source` is given for weights inside the package.
    WeightsError
        If the file cannot be fetched, fails a check, or cannot be written. Nothing is left behind.
    """
    if entry.bundled:
        if source is not None:
            raise OptionError(
                f"The weights {entry.name} are inside the package; --from-file cannot change them.",
                "Use a file of your own with --weights PATH.",
            )
        return Fetched(verified_path(entry), str(entry.sha256), "bundled")
    if source is not None:
        _refuse_unreadable(source)
    target = (cache_dir() if dest is None else dest) / entry.filename
    try:
        expected = _expected(entry, target)
        if target.exists():
            # A file that the user gives is checked, even if the right one is there already.
            given = [target] if source is None else [target, source]
            if expected is not None and all(file_digest(each) == expected for each in given):
                return Fetched(target, expected, "present")
            _may_replace(target, expected, source, own=dest is None)
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(target.parent) as new:
            if source is None:
                digest = _first_that_works(entry, new, target, progress)
            else:
                shutil.copyfile(source, new)
                digest = _check(entry, new, target, str(source))
            if expected is None:
                # The record is written first, since a file without a record is never trusted. Each
                # file has its own, so that two processes never write the same record.
                record = f"{digest}  {target.name}\n"
                write_atomically(_record_of(target), record.encode("ascii"))
            move_into_place(new, target)
    except OSError as error:
        instead = f"choose another folder with --dest or {CACHE}"
        raise WeightsError(*explain_unwritable(target, error, instead)) from error
    return Fetched(target, digest, "copied" if source else "downloaded", expected is None)


def _refuse_unreadable(source: Path) -> None:
    if not source.is_file():
        raise WeightsError(f"There is no file {source}.", "Check the path.")
    try:
        source.open("rb").close()
    except OSError as error:
        raise WeightsError(*explain_unreadable(source, error)) from None


def _record_of(path: Path) -> Path:
    """Return the path of the record of a file's digest, which ``sha256sum -c`` can read."""
    return path.with_name(path.name + ".sha256")


def _expected(entry: Entry, path: Path) -> str | None:
    """Return the published digest, or else the recorded one if it is valid."""
    if entry.sha256:
        return entry.sha256
    try:
        text = _record_of(path).read_text("ascii")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    match = re.match(r"([0-9a-f]{64})\s", text)
    return match[1] if match else None


def _may_replace(target: Path, expected: str | None, source: Path | None, *, own: bool) -> None:
    """Refuse to replace a file that ssbsn did not write."""
    if source is not None and (own or source.samefile(target)):
        return
    if not own:
        raise WeightsError(
            f"{target} exists, and is another file.",
            "Move it away, or choose another folder with --dest.",
        )
    if expected is None:
        raise WeightsError(
            f"{target} exists, and is not a file that ssbsn fetched.",
            "Move it away, or if it is the right file, give it with --from-file.",
        )


def _by_hand(entry: Entry) -> str:
    """Return how to do by hand what `fetch` could not."""
    return (
        f"Download it by hand from {entry.page or entry.urls[0]} and run: "
        f"ssbsn fetch-weights {entry.name} --from-file PATH"
    )


def _first_that_works(entry: Entry, new: Path, target: Path, progress: Progress) -> str:
    hint = _by_hand(entry)
    problems: list[SsbsnError] = []
    for url in entry.urls:
        try:
            download(url, new, hint, largest=entry.largest_size, progress=progress)
            return _check(entry, new, target, url)
        except SsbsnError as error:
            problems.append(error)
    reasons = " ".join(dict.fromkeys(map(str, problems)))
    raise WeightsError(f"{entry.name} cannot be fetched. {reasons}", problems[-1].hint)


def _check(entry: Entry, new: Path, target: Path, origin: str) -> str:
    """Return the digest of a new file if it matches `entry`, else raise WeightsError."""
    # PyTorch takes seconds to import, so it is only imported when there is something to load.
    from ssbsn_cli.core.weights.checkpoints import is_web_page, load_checkpoint

    with new.open("rb") as file:
        if is_web_page(file.read(512)):
            raise WeightsError(
                f"{origin} is a web page, not weights; Google Drive sends one when too many "
                "people download a file, or to ask about a virus scan.",
                _by_hand(entry),
            )
    digest = file_digest(new)
    expected = _expected(entry, target)
    if expected not in (None, digest):
        hint = "It is damaged or not the file you want: fetch it again or from somewhere else."
        if entry.sha256 is None:
            hint = (
                "If the publisher replaced the file and you trust the new one, delete "
                f"{_record_of(target)} and run this again."
            )
        raise WeightsError(f"{origin} has the SHA-256 {digest}, not {expected}: refused.", hint)
    try:
        network, descriptor = load_checkpoint(new, entry.usage)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(new), origin), error.hint) from None
    count = sum(parameter.numel() for parameter in network.parameters())
    if (descriptor.architecture, count) != (entry.architecture, entry.parameters):
        raise WeightsError(
            f"{origin} is a network {descriptor.architecture} of {count:,} parameters, not "
            f"{entry.architecture} of {entry.parameters:,}.",
            _by_hand(entry),
        )
    return digest
