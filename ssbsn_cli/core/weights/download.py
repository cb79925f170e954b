"""One download over HTTP: retries, and failures in plain words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.weights.registry import Entry

ATTEMPTS = 3
CHUNK = 1 << 16


class Bar(Protocol):
    """A progress bar as pooch drives it; pooch sets `total` when a download begins."""

    total: int

    def update(self, count: int) -> None:
        """Go on by `count` bytes."""

    def reset(self) -> None:
        """Go back to the start."""

    def close(self) -> None:
        """Learn that the download is complete."""


def by_hand(entry: Entry) -> str:
    """Return how a person can do what `fetch` could not."""
    return (
        f"Download it by hand from {entry.page or entry.urls[0]} and run: "
        f"ssbsn fetch-weights {entry.name} --from-file PATH"
    )


def download(
    url: str, path: Path, hint: str, *, bar: Bar | None, timeout: float, pause: float
) -> None:
    """Download one file, trying again if the connection is to blame.

    Parameters
    ----------
    url : str
        What to download.
    path : Path
        Where to, overwritten; half a file may stay after an error.
    hint : str
        What the user can do if it fails.
    bar : Bar or None
        Progress bar.
    timeout : float
        Seconds to wait for the server to answer or go on.
    pause : float
        Seconds to wait before the first retry; later ones wait longer.

    Raises
    ------
    WeightsError
        If the server cannot be reached or does not send the file.
    OSError
        If the file cannot be written.
    """
    import pooch
    import requests

    # pooch closes no connection when it fails.
    responses: list[requests.Response] = []
    get = pooch.HTTPDownloader(
        progressbar=bar or False,
        chunk_size=CHUNK,
        timeout=timeout,
        hooks={"response": lambda response, *_args, **_kwargs: responses.append(response)},
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            get(url, str(path), None)
            return
        except requests.RequestException as error:
            if attempt == ATTEMPTS or not _may_pass(error):
                raise WeightsError(_explain(url, error), hint) from None
        finally:
            for response in responses:
                response.close()
        time.sleep(pause * attempt)


def _may_pass(error: Exception) -> bool:
    import requests

    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        return status == 429 or status >= 500
    return isinstance(
        error,
        requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError,
    ) and not isinstance(error, requests.exceptions.SSLError)


def _explain(url: str, error: Exception) -> str:
    import requests

    host = urlsplit(url).netloc
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{url}: the server answered {error.response.status_code} {error.response.reason}"
    # A read that times out midway comes as ConnectionError; only its text tells.
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"{host} took too long to answer"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{host} could not prove who it is (TLS)"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{host} cannot be reached through the proxy"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"the connection to {host} broke off"
    if isinstance(error, requests.ConnectionError):
        return f"{host} cannot be reached: offline, or the server is down"
    return f"{url}: {error}"
