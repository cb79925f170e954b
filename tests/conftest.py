"""What several tests share."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import typer.testing
from weights_files import Server

from ssbsn_cli.core.model.ssbsn import SSBSN

# Threads that wait for each other make tiny networks slow wherever something else runs, too.
torch.set_num_threads(1)
# Or all commands would be made anew for each that runs.
typer.testing._get_command = cache(typer.testing._get_command)

TINY = {
    "ssbsn": {"channels": 12, "blocks": ("plain", "ss", "ss")},
    "apbsn": {"channels": 12, "blocks": ("light", "light")},
}


def make_network(family: str) -> SSBSN:
    """A small network whose weights are large enough for every layer to matter."""
    torch.manual_seed(0)
    network = SSBSN(**TINY[family])
    with torch.no_grad():
        for name, value in network.named_parameters():
            scale = 0.1 if name.endswith("bias") else (2 / value[0].numel()) ** 0.5
            value.copy_(torch.randn_like(value) * scale)
    return network.eval()


@pytest.fixture(params=sorted(TINY))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(family: str) -> SSBSN:
    return make_network(family)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server().running() as server:
        yield server


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Yield what stands for ``python`` in a command that shall start at once."""
    if sys.platform != "linux":
        yield [sys.executable]
        return
    path = tmp_path_factory.mktemp("forks") / "socket"
    script = str(Path(__file__).with_name("forks.py"))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    server = subprocess.Popen([sys.executable, script, str(path)], env=environment)
    while not path.exists():
        assert server.poll() is None
        time.sleep(0.02)
    yield [sys.executable, "-IS", script, str(path)]
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def worker(forked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what lets torchrun start its workers at once, as ``PYTHON_EXEC``."""
    path = tmp_path_factory.mktemp("worker") / "worker"
    # Instead of the option -u.
    path.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(forked)} "$@"\n')
    path.chmod(0o755)
    return path


def pytest_configure() -> None:
    # What a developer or a CI system has set must not reach the commands.
    for name in ("SSBSN_WEIGHTS_TOML", "FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the cache of the user out of all tests, and what tests put there out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSBSN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_finish() -> None:
    # PyTorch and all tests stay: nothing needs to look at them whenever garbage is collected.
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest first: or one process would be busy with them when all others are done.
    items.sort(key=lambda item: item.path.name != "test_docs.py")
