"""One download over HTTP: limits, another try if it may help, and failures in plain words."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.types import Progress

if TYPE_CHECKING:
    import requests

_TRIES = 3
_PAUSE = 1.0
_PART = 1 << 16
# Seconds to wait for the server to answer, and for each further part.
_PATIENCE = 30.0
_LARGEST = 2 << 30
# A part of the content, the first one empty, and the size of all if known, else 0.
_Part: TypeAlias = tuple[bytes, int]
# None comes at the end.
_Parts: TypeAlias = "queue.Queue[_Part | Exception | None]"


def download(
    url: str,
    path: Path,
    hint: str,
    *,
    largest: int = _LARGEST,
    progress: Progress = lambda _done, _of: None,
) -> None:
    """Download one file, trying again if the connection is to blame.

    Parameters
    ----------
    url : str
        What to download. A redirect from https to an address without it is refused.
    path : Path
        Where to. What is there is overwritten, and part of the file may be there after an error.
    hint : str
        What the user can do if it fails.
    largest : int
        Most bytes that the file may have.
    progress : callable
        Called with the number of bytes that are here, and their total, or 0 if it is unknown.

    Raises
    ------
    WeightsError
        If the server cannot be reached, does not send the file, or sends too much or too slowly.
    OSError
        If the file cannot be written.
    """
    for attempt in range(_TRIES):
        time.sleep(attempt * _PAUSE)
        try:
            with path.open("wb") as file, contextlib.closing(_receive(url)) as parts:
                for part, total in parts:
                    if max(total, file.tell() + len(part)) > largest:
                        raise WeightsError(
                            f"{url}: is larger than {largest:,} bytes, which is what it may have",
                            hint,
                        )
                    file.write(part)
                    progress(file.tell(), total)
            return
        except _TransferError as error:
            problem = error
            if not error.may_pass:
                break
    raise WeightsError(str(problem), hint)


class _TransferError(Exception):
    """What went wrong between here and a server; `may_pass` tells whether to try again."""

    def __init__(self, url: str, cause: Exception) -> None:
        super().__init__(_explain(url, cause))
        self.may_pass = _may_pass(cause)


def _receive(url: str) -> Generator[_Part]:
    """Yield the parts of a file.

    A thread waits for the server. The timeout of requests starts anew with every byte, so a server
    that sends one now and then would never be given up.
    """
    parts: _Parts = queue.Queue(maxsize=2)
    unwanted = threading.Event()
    threading.Thread(target=_fill, args=(url, parts, unwanted), daemon=True).start()
    try:
        while part := parts.get(timeout=_PATIENCE):
            if isinstance(part, Exception):
                raise _TransferError(url, part)
            yield part
    except queue.Empty as error:
        raise _TransferError(url, error) from None
    finally:
        unwanted.set()
        # The thread may be waiting for room to put what it has at hand.
        with contextlib.suppress(queue.Empty):
            while True:
                parts.get_nowait()


def _fill(url: str, parts: _Parts, unwanted: threading.Event) -> None:
    """Put the parts of a file into a queue, or what went wrong."""
    try:
        # pooch brings it along; it takes long to import.
        import requests

        with requests.Session() as session:
            if url.startswith("https:"):
                del session.adapters["http://"]
            with session.get(
                url,
                stream=True,
                timeout=_PATIENCE,
                # What is compressed on the way could inflate to any size.
                headers={"Accept-Encoding": "identity"},
                hooks={"response": _ignore_content_of_redirect},
            ) as response:
                response.raise_for_status()
                total = response.raw.length_remaining or 0
                parts.put((b"", total))
                while part := response.raw.read(_PART, decode_content=False):
                    parts.put((part, total))
                    if unwanted.is_set():
                        break
        parts.put(None)
    except Exception as error:
        parts.put(error)


def _ignore_content_of_redirect(response: requests.Response, **_: object) -> None:
    """Close a response that leads on; requests would read all of it, however long."""
    if response.is_redirect:
        response.close()


def _may_pass(error: Exception) -> bool:
    import requests
    import urllib3

    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        return status == 429 or status >= 500
    return isinstance(
        error,
        queue.Empty
        | requests.ConnectionError
        | requests.Timeout
        | urllib3.exceptions.ProtocolError
        | urllib3.exceptions.TimeoutError,
    ) and not isinstance(error, requests.exceptions.SSLError)


def _explain(url: str, error: Exception) -> str:
    import requests
    import urllib3

    host = urlsplit(url).netloc
    if isinstance(error, requests.HTTPError) and error.response is not None:
        answer = f"{error.response.status_code} {error.response.reason}"
        return f"{url}: the server answered {answer[:100]}"
    if isinstance(
        error, queue.Empty | requests.Timeout | urllib3.exceptions.TimeoutError
    ) or "timed out" in str(error):
        return f"{host} took too long to answer"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{host} could not prove who it is (TLS)"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"{url}: leads on to an address without https"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{host} cannot be reached through the proxy"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return f"the connection to {host} broke off"
    if isinstance(error, requests.ConnectionError):
        return f"{host} cannot be reached: offline, or the server is down"
    return f"{url}: {str(error)[:200]}"
