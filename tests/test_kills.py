"""Kills and interrupts at random moments: nothing is damaged, and nothing stays behind."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from training_runs import TINY
from weights_files import tiny_checkpoint, tiny_facts, write_registry

DENOISE = "denoise in -o out --skip-existing --quiet"
COMMANDS = {
    "denoise": f"{DENOISE} --compare seen",
    "adapt": f"{DENOISE} --adapt 0.05 --keep-adapted run",
    "cluster": f"{DENOISE} --cluster local:2",
    "train": "train --data in --config tiny.toml --out run --resume --quiet",
    "eval": "eval --dataset folder --data in --report page.html --overwrite --quiet",
    "info": "info in/0.png in/1.png --report page.html --overwrite --quiet",
    "fetch-weights": "fetch-weights tiny --quiet",
}
MADE = ("out", "seen", "run", "page.html", "cache")
# How often each command is killed.
TIMES = int(os.environ.get("KILLS", "20"))

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSBSN_CACHE", str(tmp_path / "cache"))
    Path("in").mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (240, 320 + number, 3), np.uint8)
        Image.fromarray(noise).save(f"in/{number}.png", compress_level=1)
    return tmp_path


@pytest.fixture
def slow_server(server, tmp_path, monkeypatch):
    """What `fetch-weights tiny` downloads, a little at a time."""
    content = tiny_checkpoint(tmp_path / "tiny.pth").read_bytes()

    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        # The client is gone when it was killed.
        with contextlib.suppress(OSError):
            for start in range(0, len(content), 4096):
                handler.wfile.write(content[start : start + 4096])
                time.sleep(0.05)

    server.answers["/tiny"] = trickle
    lab = write_registry(tmp_path, tiny=tiny_facts(urls=[server.url("/tiny")]))
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(lab))


def leftovers():
    return list(Path().rglob(".ssbsn-*"))


def originals():
    return {p: hashlib.sha256(p.read_bytes()).digest() for p in Path("in").iterdir()}


def assert_whole():
    """Whatever has its name is complete."""
    for path in Path().rglob("*"):
        if any(part.startswith(".") for part in path.parts):
            continue
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def remove_results():
    for path in map(Path, MADE):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def wait_for_workers(group):
    """Wait until no process of a group is left."""
    deadline = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            assert time.monotonic() < deadline, "a process stays behind"
            time.sleep(0.1)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_damages_nothing_and_the_next_run_cleans_up(photos, slow_server, name):
    Path("tiny.toml").write_text(TINY.replace("steps = 6", "steps = 60"))
    command = [sys.executable, "-m", "ssbsn_cli", *COMMANDS[name].split()]
    before = originals()
    killed, lasting, moments = 0, math.inf, random.Random(name)
    while killed < TIMES:
        if anew := moments.random() < 0.5 or lasting == math.inf:
            remove_results()
        start = time.monotonic()
        process = subprocess.Popen(command, start_new_session=True)
        try:
            # The first run shows how long it takes.
            wait = None if lasting == math.inf else moments.uniform(0, lasting)
            assert process.wait(wait) == 0
            lasting = min(lasting, time.monotonic() - start) if anew else lasting
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        wait_for_workers(process.pid)
        assert originals() == before
        assert_whole()
    assert subprocess.run(command).returncode == 0
    assert originals() == before
    assert_whole()
    assert not leftovers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [(), ("--ensemble",), ("--weights", "ssbsn-photo")])
def test_an_interrupt_ends_the_command_at_once_wherever_it_is(photos, number, options):
    moments = random.Random(1)
    for _ in range(TIMES // 4):
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ssbsn_cli",
                "denoise",
                "in",
                "-o",
                "out",
                "--overwrite",
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        # Before, Python itself answers.
        time.sleep(moments.uniform(0.5, 8))
        ended = process.poll() is not None
        start = time.monotonic()
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - start < 3
        assert ended or process.returncode in (128 + number, -number)
        assert "Traceback" not in told
        assert not leftovers()
