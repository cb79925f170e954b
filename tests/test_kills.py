"""Kills and interrupts at random moments: nothing is damaged, and nothing stays behind."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COMMAND = [sys.executable, "-m", "ssbsn_cli", "denoise", "in"]
TIMES = 20

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (300, 400 + number, 3), np.uint8)
        Image.fromarray(noise).save(f"in/{number}.png", compress_level=1)
    return tmp_path


def leftovers():
    return list(Path().rglob(".ssbsn-*"))


def test_the_run_after_a_kill_goes_on_and_cleans_up(photos):
    command = [*COMMAND, "-o", "out", "--compare", "seen", "--skip-existing", "--quiet"]
    killed, moments = 0, random.Random(0)
    while killed < TIMES:
        process = subprocess.Popen(command)
        while not Path("out").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 2))
        killed += process.poll() is None
        process.kill()
        process.wait()
        if len(list(Path("out").glob("[!.]*"))) > 9:
            for path in Path("out").glob("[!.]*"):
                path.unlink()
    assert subprocess.run(command).returncode == 0
    assert not leftovers()
    for folder in ("out", "seen"):
        results = list(Path(folder).iterdir())
        assert len(results) == 12
        for path in results:
            with Image.open(path) as image:
                image.load()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [(), ("--ensemble",), ("--weights", "ssbsn-photo")])
def test_an_interrupt_ends_the_command_at_once_wherever_it_is(photos, number, options):
    moments = random.Random(1)
    for _ in range(TIMES // 4):
        process = subprocess.Popen(
            [*COMMAND, "-o", "out", "--overwrite", *options], stderr=subprocess.PIPE, text=True
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
