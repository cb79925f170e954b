"""Denoise many tiny photos on a cluster whose workers are killed all the time; check all results.

    python tests/bench_cluster.py [--photos N] [--workers N] [--every SECONDS]

`--every 0` kills none, which shows what a cluster costs for each photo.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table


def make_photos(folder: Path, number: int) -> None:
    for index in range(number):
        path = folder / f"{index // 1000:04}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(path, compress_level=1)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the workers of a command with a cluster of its own."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def run(folder: Path, workers: int, every: float) -> tuple[float, int]:
    """Denoise ``in`` to ``out``; return the seconds and how many workers were killed."""
    command = [
        sys.executable,
        "-m",
        "ssbsn_cli",
        "denoise",
        "in",
        "-ro",
        "out",
        "--json",
        "--quiet",
    ]
    killed, moments = 0, random.Random(0)
    start = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--cluster", f"local:{workers}"], cwd=folder, stdout=log
        )
        while process.poll() is None:
            time.sleep(moments.uniform(0.5, 1.5) * (every or 1))
            # Before the first result, nothing but the start is disturbed.
            if every and (folder / "out").exists() and (alive := workers_of(process)):
                moments.choice(alive).kill()
                killed += 1
    assert process.returncode == 0, f"exit code {process.returncode}"
    return time.monotonic() - start, killed


def check(folder: Path) -> None:
    """Compare results with photos: all are there, whole, and reported once."""
    photos = sorted(path.relative_to(folder / "in") for path in (folder / "in").rglob("*.png"))
    results = sorted(path.relative_to(folder / "out") for path in (folder / "out").rglob("[!.]*.*"))
    assert results == photos
    for path in results:
        with Image.open(folder / "out" / path) as image:
            image.load()
            assert image.size == (16, 16)
    records = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    reported = sorted(Path(record["input"]).relative_to("in") for record in records)
    assert reported == photos
    assert not any("error" in record for record in records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=5, help="seconds between kills")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder / "in", arguments.photos)
        seconds, killed = run(folder, arguments.workers, arguments.every)
        check(folder)
    table = Table("photos", "workers", "killed", "seconds", "ms a photo")
    each = f"{1000 * seconds / arguments.photos:.1f}"
    table.add_row(
        str(arguments.photos), str(arguments.workers), str(killed), f"{seconds:.0f}", each
    )
    Console().print(table)


if __name__ == "__main__":
    main()
