"""Small checkpoints and an unreliable server for the tests of weights."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.weights.registry import Entry

TINY_BLOCKS = ("plain", "ss")


def author_network(channels: int = 4, blocks: Sequence[Any] = TINY_BLOCKS) -> SSBSN:
    """A network for images in [0, 255], whose masked convolutions have nonzero centre taps."""
    torch.manual_seed(channels + len(blocks))
    network = SSBSN(channels, blocks)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return network.eval()


def author_state(network: SSBSN, prefix: str = "") -> dict[str, torch.Tensor]:
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    for branch in ("branch1", "branch2"):
        weight = state[f"{prefix}bsn.{branch}.body.0.weight"]
        mask = torch.ones_like(weight)
        mask[..., weight.shape[2] // 2, weight.shape[3] // 2] = 0
        state[f"{prefix}bsn.{branch}.body.0.mask"] = mask
    return state


def save_author_checkpoint(path: Path, state: dict[str, Any], **options: Any) -> Path:
    """Write a checkpoint as the authors' training does."""
    weights = {"denoiser": state}
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1}]}
    content = {"epoch": 20, "model_weight": weights, "optimizer_weight": {"denoiser": optimizer}}
    torch.save(content, path, **options)
    return path


def tiny_checkpoint(path: Path, **options: Any) -> Path:
    return save_author_checkpoint(path, author_state(author_network()), **options)


def tiny_facts(**changes: Any) -> dict[str, Any]:
    """What a registry says about `tiny_checkpoint`."""
    return {
        "filename": "tiny.pth",
        "page": "https://example.org/tiny",
        "parameters": sum(p.numel() for p in author_network().parameters()),
        "architecture": "ssbsn",
        "value_range": 255.0,
        "refine": "r3",
        "training_data": "none",
        "licence": "none",
        **changes,
    }


def write_registry(folder: Path, **entries: dict[str, Any]) -> Path:
    lines = []
    for name, facts in entries.items():
        lines += [f"[{name}]", *(f"{key} = {value!r}" for key, value in facts.items())]
    path = folder / "lab.toml"
    path.write_text("\n".join(lines))
    return path


def tiny_entry(*urls: str, **changes: Any) -> Entry:
    return Entry(name="tiny", urls=urls, **tiny_facts(**changes))


class Evil:
    """Runs a shell command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


class Server:
    """A server whose `answers` are bytes, a status to send, or a function of the handler."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | int | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                answer = outer.answers.get(self.path, 404)
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    self.send_error(answer)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    @property
    def sent(self) -> int:
        """Bytes that an answer noted to have sent."""
        return int(getattr(self._server, "sent", 0))

    @contextmanager
    def running(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def redirect_to(path: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def break_off(content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Promise all of `content` and send half of it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])

    return answer
