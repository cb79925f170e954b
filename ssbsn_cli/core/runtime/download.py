"""Download a file over HTTP, with limits, retries and plain error messages."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.types import Progress

if TYPE_CHECKING:
    import requests

_TRIES = 3
_PAUSE = 1.0
_PART = 1 << 16
# Seconds to wait for the server's answer, and for each further part.
_PATIENCE = 30.0
_LARGEST = 2 << 30
# A part of the contents (the first one is empty), and the total size if known, else 0.
_Part: TypeAlias = tuple[bytes, int]
# None marks the end.
_Parts: TypeAlias = "queue.Queue[_Part | Exception | None]"


def download(
    url: str,
    path: Path,
    hint: str,
    *,
    largest: int = _LARGEST,
    progress: Progress = lambda _done, _of: None,
) -> None:
    """Download one file; try again if the connection fails.

    Parameters
    ----------
    url : str
        The file's address. A redirect from https to an address without it is refused.
    path : Path
        The place of the file. An existing file is overwritten, and after an error, a part of the
        new one may be left there.
    hint : str
        What the user can do if it fails.
    largest : int
        The most bytes that the file may have.
    progress : callable
        Called with the number of received bytes and their total, which is 0 if unknown.

    Raises
    ------
    SsbsnError
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
                        raise SsbsnError(
                            f"{url} is larger than {largest:,} bytes, which is what it may have.",
                            hint,
                        )
                    file.write(part)
                    progress(file.tell(), total)
            return
        except _TransferError as error:
            problem = error
            if not error.may_pass:
                break
    raise SsbsnError(f"{problem}.", hint)


class _TransferError(Exception):
    """A failure between here and a server; `may_pass` is whether to try again."""

    def __init__(self, url: str, cause: Exception) -> None:
        said, self.may_pass = _explain(url, cause)
        super().__init__(said)


def _receive(url: str) -> Generator[_Part]:
    """Yield the parts of a file.

    A thread waits for the server. The timeout of requests restarts with every byte, so a server
    that only sends a byte from time to time would never be given up.
    """
    parts: _Parts = queue.Queue(maxsize=3)
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
        # The thread may be waiting for room in the queue.
        with contextlib.suppress(queue.Empty):
            while True:
                parts.get_nowait()


def _fill(url: str, parts: _Parts, unwanted: threading.Event) -> None:
    """Put the parts of a file into a queue, or the error."""
    try:
        # It takes long to import.
        import requests

        with requests.Session() as session:
            if url.startswith("https:"):
                del session.adapters["http://"]
            with session.get(
                url,
                stream=True,
                timeout=_PATIENCE,
                # A compressed transfer could inflate to any size.
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
    """Close a redirect; requests would read all of its contents, however long."""
    if response.is_redirect:
        response.close()


def _explain(url: str, error: Exception) -> tuple[str, bool]:
    """Return what went wrong, and whether it may pass."""
    import requests
    import urllib3

    host = urlsplit(url).netloc
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            answer = f"{response.status_code} {response.reason}"[:100]
            busy = response.status_code == 429 or response.status_code >= 500
            return f"{url}: the server answered {answer}", busy
        case queue.Empty() | requests.Timeout() | urllib3.exceptions.TimeoutError():
            return f"{host} took too long to answer", True
        case requests.exceptions.SSLError():
            return f"{host} could not prove who it is (TLS)", False
        case requests.exceptions.InvalidSchema():
            return f"{url} leads on to an address without https", False
        case requests.exceptions.ProxyError():
            return f"{host} cannot be reached through the proxy", True
        case urllib3.exceptions.ProtocolError():
            return f"The connection to {host} was lost", True
        case requests.ConnectionError():
            late = "timed out" in str(error)
            offline = "cannot be reached: offline, or the server is down"
            return f"{host} {'took too long to answer' if late else offline}", True
    return f"{url}: {str(error)[:200]}", False
