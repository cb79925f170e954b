"""Download the data sets that have a stable public address."""

from __future__ import annotations

import errno
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.types import Notify, Progress
from ssbsn_cli.core.weights.download import download


@dataclass(frozen=True)
class Address:
    """Where a data set is published.

    Parameters
    ----------
    title, page, terms : str
        For people: its name, its web page, and what it may be used for.
    base : str
        The beginning of the URLs of its files.
    files : mapping of str to str
        The SHA-256 of each file by its name, which is the rest of its URL.
    """

    title: str
    page: str
    terms: str
    base: str
    files: Mapping[str, str]


def addresses() -> dict[str, Address]:
    """Return the addresses of the data sets that can be fetched, by name."""
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
        The data set.
    address : Address
        Where it is published.
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
        A file has another digest than the known one, or cannot be written.
    """
    import pooch

    notify(f"{address.title}, from {address.page}: {address.terms}.")
    hint = f"Try again later; what is in {home} is kept. Or download it from {address.page}."

    def downloader(url: str, path: str, _: object) -> None:
        download(url, Path(path), hint, timeout=timeout)

    # It would announce every file.
    pooch.get_logger().setLevel("WARNING")
    digests = {file: f"sha256:{digest}" for file, digest in address.files.items()}
    store = pooch.create(home, address.base, registry=digests)
    try:
        home.mkdir(parents=True, exist_ok=True)
        for done, file in enumerate(digests):
            progress(done, len(digests))
            store.fetch(file, downloader=downloader)
    except ValueError:
        raise SsbsnError(
            f"{address.base}{file} is not the file of {name} that is known here: its digest "
            "differs.",
            f"See {address.page}; if the file changed, give your own with --data.",
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise SsbsnError(
            f"{home}: {error.strerror or error}.",
            ("Free some space" if full else "Check the path and its permissions")
            + ", or choose another place with SSBSN_CACHE.",
        ) from None
    progress(len(digests), len(digests))


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
            f"The data set {name} cannot be fetched: it has no stable public address.",
            f"{needs} {' and '.join(known)} can be fetched.",
        )
    return known[name]
