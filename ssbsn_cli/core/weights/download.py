"""One download over HTTP, by pooch: retries, and failures in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.weights.registry import Entry

_RETRIES = 2
_CHUNK = 1 << 16


class Bar(Protocol):
    """A progress bar as pooch drives it; pooch sets `total` when a download begins."""

    total: int

    def update(self, count: int) -> None:
        """Advance by `count` bytes."""

    def reset(self) -> None:
        """Go back to the start."""

    def close(self) -> None:
        """Note that the download is complete."""


def by_hand(entry: Entry) -> str:
    """Return how a person can do by hand what `fetch` could not."""
    return (
        f"Download it by hand from {entry.page or entry.urls[0]} and run: "
        f"ssbsn fetch-weights {entry.name} --from-file PATH"
    )


def download(
    url: str, path: Path, hint: str, *, bar: Bar | None = None, timeout: float = 30.0
) -> None:
    """Download one file, trying again if the connection is to blame.

    Parameters
    ----------
    url : str
        What to download.
    path : Path
        Where to; a file that is there is removed first. Nothing stays there after an error.
    hint : str
        What the user can do if it fails.
    bar : Bar, optional
        Progress bar.
    timeout : float
        Seconds to wait for the server to answer or go on.

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
        chunk_size=_CHUNK,
        timeout=timeout,
        hooks={"response": lambda response, *_args, **_kwargs: responses.append(response)},
    )

    def attempt(url: str, output: str, _: pooch.Pooch) -> None:
        try:
            get(url, output, None)
        except requests.RequestException as error:
            if _may_pass(error):
                raise
            # pooch does not try again after any other kind of error.
            raise WeightsError(_explain(url, error), hint) from None
        finally:
            for response in responses:
                response.close()

    # It reports each attempt as a log message.
    pooch.get_logger().setLevel("ERROR")
    file = path.name
    # pooch would take it for the download.
    path.unlink(missing_ok=True)
    # The digest is checked later, since a wrong one is no reason to download again.
    keeper = pooch.create(
        path.parent, base_url="", registry={file: None}, urls={file: url}, retry_if_failed=_RETRIES
    )
    try:
        keeper.fetch(file, downloader=attempt)
    except requests.RequestException as error:
        raise WeightsError(_explain(url, error), hint) from None


def _may_pass(error: Exception) -> bool:
    import requests

    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        return status == 429 or status >= 500
    passing = requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
    return isinstance(error, passing) and not isinstance(error, requests.exceptions.SSLError)


def _explain(url: str, error: Exception) -> str:
    import requests

    host = urlsplit(url).netloc
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{url}: the server answered {error.response.status_code} {error.response.reason}"
    # A read that times out midway is a ConnectionError, which only its text tells.
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
