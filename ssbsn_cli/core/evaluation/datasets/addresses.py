"""Download the data sets that have a stable public address."""

from __future__ import annotations

import errno
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.runtime.storage import file_digest
from ssbsn_cli.core.types import Notify, Progress
from ssbsn_cli.core.weights.download import download


@dataclass(frozen=True)
class Address:
    """Where a data set is published.

    Parameters
    ----------
    title : str
        What people call it.
    page : str
        For people.
    terms : str
        What it may be used for.
    base : str
        What the URLs of its files begin with.
    files : mapping of str to str
        SHA-256 by the rest of the URL, which is the file's name.
    """

    title: str
    page: str
    terms: str
    base: str
    files: Mapping[str, str]


def addresses() -> dict[str, Address]:
    """Return the data sets that can be fetched, by name."""
    text = (files(__package__) / "addresses.toml").read_text("utf-8")
    return {name: Address(**facts) for name, facts in tomllib.loads(text).items()}


def fetch_dataset(
    name: str,
    address: Address,
    home: Path,
    notify: Notify,
    progress: Progress = lambda _done, _of: None,
    *,
    timeout: float = 30.0,
) -> None:
    """Download what is missing of a data set, and check all of it.

    Parameters
    ----------
    name : str
        Of the data set.
    address : Address
        Where it is.
    home : Path
        Its folder; made if missing. Files that are there and right stay, others are replaced.
    notify : callable
        Told, in a sentence, what a user should know.
    progress : callable
        Called with the number of files that are there and their total.
    timeout : float
        Seconds to wait for a server to answer or go on.

    Raises
    ------
    WeightsError
        A file cannot be downloaded. Those before it are kept.
    SsbsnError
        A file is not what it was when its digest was taken, or cannot be written.
    """
    notify(f"{address.title}, from {address.page}: {address.terms}.")
    hint = f"Try again later; what is in {home} is kept. Or download it from {address.page}."
    try:
        home.mkdir(parents=True, exist_ok=True)
        for done, (file, digest) in enumerate(address.files.items()):
            progress(done, len(address.files))
            target = home / file
            if target.is_file() and file_digest(target) == digest:
                continue
            with tempfile.TemporaryDirectory(dir=home, prefix=".fetch-") as directory:
                new = Path(directory) / file
                url = address.base + file
                download(url, new, hint, timeout=timeout)
                if file_digest(new) != digest:
                    raise SsbsnError(
                        f"{url} is not the file of {name} that is known here: its digest differs.",
                        f"See {address.page}; if the file changed, give your own with --data.",
                    )
                new.replace(target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise SsbsnError(
            f"{home}: {error.strerror or error}.",
            ("Free some space" if full else "Check the path and its permissions")
            + ", or choose another place with SSBSN_CACHE.",
        ) from None
    progress(len(address.files), len(address.files))


def find_address(name: str, needs: str) -> Address:
    """Return where a data set is.

    Raises
    ------
    OptionError
        It has no stable public address; `needs` says what to do.
    """
    known = addresses()
    if name not in known:
        raise OptionError(
            f"The data set {name} has no address that it could be fetched from.",
            f"{needs} Those that can be fetched are {', '.join(known)}.",
        )
    return known[name]
