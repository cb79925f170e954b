"""Every command and every Python snippet of the README and docs works as it stands."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from weights_files import Server, tiny_checkpoint, tiny_facts

from ssbsn_cli.core.inference import denoiser
from ssbsn_cli.core.weights.registry import entries

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLS = "python3 -m venv"


def blocks(language):
    """Return each fenced block of that language as a test parameter."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(fence.findall(page.read_text()))
    ]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A user's home with photos, and a server that publishes the named weights."""
    for name in ("photo.png", "photo.jpg", "photos/a.png", "photos/b.jpg", "photos/sub/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(name))
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    shim = tmp_path / "bin" / "ssbsn"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ssbsn_cli "$@"\n')
    shim.chmod(0o755)

    downloads = tmp_path / "Downloads"
    downloads.mkdir()
    weights = tiny_checkpoint(downloads / "SSBSN_SIDD.pth")
    with Server().running() as server:
        server.answers["/weights"] = weights.read_bytes()
        lines = []
        for name, entry in entries().items():
            if not entry.bundled:
                facts = tiny_facts(filename=entry.filename, urls=[server.url("/weights")])
                lines += [f"[{name}]", *(f"{key} = {value!r}" for key, value in facts.items())]
        (tmp_path / "registry.toml").write_text("\n".join(lines))
        environment = {
            "HOME": tmp_path,
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": 1,
            "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": ROOT,
            "SSBSN_CACHE": tmp_path / "cache",
            "SSBSN_WEIGHTS_TOML": tmp_path / "registry.toml",
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, str(value))
        monkeypatch.chdir(tmp_path)
        yield tmp_path


@pytest.mark.skipif(shutil.which("bash") is None, reason="the docs speak to a Unix shell")
@pytest.mark.parametrize("block", blocks("sh"))
def test_commands_work(world, block):
    if block.startswith(INSTALLS):
        assert "run_readme" in (ROOT / ".ci" / "run").read_text()
        return
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], capture_output=True, text=True, timeout=300
    )
    if "--device cuda" in block and not torch.cuda.is_available():
        assert result.returncode == 3
        assert "CUDA" in result.stderr
    else:
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("block", blocks("python"))
def test_snippets_work(block):
    noisy = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    names = {"noisy": noisy}
    exec(block, names)
    assert names["clean"].shape == noisy.shape


def test_examples_in_docstrings_work():
    result = doctest.testmod(denoiser)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
