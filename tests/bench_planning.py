"""Plan a million empty files: seconds until the first photo and until all, and memory.

    python tests/bench_planning.py [--files N] [--folders N]

The files are made in a temporary directory. Each way to name them is measured in a process of
its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssbsn_cli.core.inference.finding import read_names
from ssbsn_cli.core.inference.jobs import Job, Plan
from ssbsn_cli.core.inference.placing import Naming

WAYS = ("folder", "list", "folder, --overwrite", "list, --format tiff")


def plan(way: str, root: Path) -> None:
    """Plan all files and print three figures, without taking a job before all are planned."""
    start, busy = time.perf_counter(), time.process_time()
    listed = None
    if way.startswith("list"):
        listed = read_names((root / "list").open("rb", buffering=0), b"\0")
    planned = Plan(
        [] if listed else [str(root / "photos")],
        Naming(
            output=None if listed else str(root / "clean"),
            format="tiff" if "tiff" in way else None,
        ),
        listed=listed,
        recursive=True,
        overwrite="overwrite" in way,
    )
    told = iter(planned)
    first = next(told)
    until_first = time.perf_counter() - start
    while planned.total is None:
        time.sleep(0.01)
    until_all = time.perf_counter() - start
    busy = time.process_time() - busy
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e6 / 1024
    )
    assert sum(isinstance(each, Job) for each in (first, *told)) == planned.total
    figures = (
        planned.total,
        f"{until_first:.2f}",
        f"{until_all:.1f}",
        f"{busy:.1f}",
        f"{peak:.0f}",
    )
    sys.stdout.write(" ".join(map(str, figures)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10**6)
    parser.add_argument("--folders", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        plan(arguments.way, arguments.root)
        return
    table = Table(
        "named by", "photos", "seconds to the first", "to all", "of the processor", "peak RSS in MB"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with (root / "list").open("wb") as names:
            for number in range(arguments.files):
                path = root / "photos" / f"{number % arguments.folders:05}" / f"IMG_{number:07}.jpg"
                if number < arguments.folders:
                    path.parent.mkdir(parents=True)
                path.touch()
                names.write(bytes(path) + b"\0")
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--root", folder]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            table.add_row(way, *result.stdout.split())
    Console().print(table)


if __name__ == "__main__":
    main()
