"""Read damaged files of every format, and count what comes of it.

``python tests/fuzz.py --files 100000 --seconds 3600 --seed 1 --keep found`` prints a table, and
keeps the files that did harm. Each must give an answer or a sentence: no traceback, no crash, no
more than 10 s of CPU, no more than 500 MB above the 4 kB of pixels that there are, and no other
size than the file's header says. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from mutations import mutate

OUTCOMES = ("answer", "sentence", "traceback", "crash", "hang", "memory", "shape")
HARMFUL = OUTCOMES[2:]
CPU_SECONDS = 10
# A process that computes nothing for so long hangs, too; so does one on a machine that is busy.
WALL_SECONDS = 120
MOST_MEMORY = 500 << 20
# What ends a process before it takes the memory of others.
HIGHEST_MEMORY = 6 << 30

Seeds = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Finding:
    """What came of one file: its number, its format, its content, the outcome and its words."""

    number: int
    kind: str
    content: bytes
    outcome: str
    words: str


def damaged(seeds: Seeds, seed: int, number: int) -> tuple[str, bytes]:
    """Make the file of a number, the same for the same seeds."""
    generator = random.Random(f"{seed}/{number}")
    kind, content = seeds[number % len(seeds)]
    donor = generator.choice([other for of, other in seeds if of == kind])
    return kind, mutate(content, donor, generator)


def fuzz(seeds: Seeds, files: int, seconds: float, seed: int, processes: int) -> Iterator[Finding]:
    """Yield what comes of each file, until there are enough or the time is over."""
    context = get_context("spawn")
    numbers = iter(range(files))
    workers: dict[connection.Connection, _Worker] = {}
    for _ in range(processes):
        worker = _Worker(context)
        workers[worker.pipe] = worker
    # They are ready now: loading libraries does not count.
    deadline = time.monotonic() + seconds
    try:
        for worker in workers.values():
            worker.begin(next(numbers, None), seeds, seed)
        while any(worker.busy for worker in workers.values()):
            ready = connection.wait(list(workers), timeout=1)
            for pipe, worker in list(workers.items()):
                if pipe in ready or worker.is_late():
                    finding = worker.end()
                    if finding is None:
                        continue
                    yield finding
                    if not worker.process.is_alive():
                        del workers[pipe]
                        worker.stop()
                        worker = _Worker(context)
                        workers[worker.pipe] = worker
                    over = time.monotonic() > deadline
                    worker.begin(None if over else next(numbers, None), seeds, seed)
    finally:
        for worker in workers.values():
            worker.stop()


class _Worker:
    """A process that reads files, and its current file."""

    def __init__(self, context: Any) -> None:
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()
        other.close()
        # The first message says that the libraries are loaded.
        self.pipe.recv()
        self.busy = False

    def begin(self, number: int | None, seeds: Seeds, seed: int) -> None:
        self.busy = number is not None
        if number is not None:
            self._number = number
            self._kind, self._content = damaged(seeds, seed, number)
            self._began = time.monotonic()
            self.pipe.send((self._kind, self._content))

    def is_late(self) -> bool:
        return self.busy and time.monotonic() - self._began > WALL_SECONDS

    def end(self) -> Finding | None:
        if not self.busy:
            return None
        try:
            outcome, words = self.pipe.recv() if self.pipe.poll() else ("hang", "no CPU in use")
        except (EOFError, ConnectionResetError):
            self.process.join(10)
            code = self.process.exitcode or 0
            # The kernel sends SIGKILL at the hard limit.
            outcome = "hang" if -code in (signal.SIGXCPU, signal.SIGKILL) else "crash"
            words = f"exit code {code}"
        if outcome == "hang" and self.process.is_alive():
            self.process.kill()
            self.process.join()
        return Finding(self._number, self._kind, self._content, outcome, words)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: connection.Connection) -> None:
    """Read one file after the other, in a separate process."""
    import resource

    # Loaded before the clock starts.
    import ssbsn_cli.core.imaging
    import ssbsn_cli.core.weights.checkpoints  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (HIGHEST_MEMORY, HIGHEST_MEMORY))
    with Path(os.devnull).open("wb") as nowhere, tempfile.TemporaryDirectory() as directory:
        # What libraries print themselves; `denoise` drops it, too.
        os.dup2(nowhere.fileno(), 2)
        pipe.send("ready")
        while True:
            try:
                kind, content = pipe.recv()
            except EOFError:
                return
            used = resource.getrusage(resource.RUSAGE_SELF)
            limit = int(used.ru_utime + used.ru_stime) + CPU_SECONDS + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            path = Path(directory) / f"file.{kind}"
            path.write_bytes(content)
            pipe.send(_read(kind, path))


def _read(kind: str, path: Path) -> tuple[str, str]:
    """Read one file, and return the outcome and what was said."""
    from ssbsn_cli.core.errors import SsbsnError
    from ssbsn_cli.core.imaging import read_photo
    from ssbsn_cli.core.runtime.device import PeakMemory
    from ssbsn_cli.core.weights.checkpoints import load_checkpoint

    shape: tuple[int, ...] = ()
    outcome, words = "answer", ""
    with PeakMemory("cpu") as memory:
        try:
            if kind in ("pth", "safetensors"):
                load_checkpoint(path)
            else:
                shape = read_photo(path).pixels.shape[:2]
        except SsbsnError as error:
            outcome, words = "sentence", f"{error} {error.hint}"
        except BaseException as error:
            outcome, words = "traceback", repr(error)[:300]
    if memory.bytes is not None and memory.bytes > MOST_MEMORY + path.stat().st_size:
        return "memory", f"{memory.bytes >> 20} MB; {words}"
    if outcome == "answer" and shape and not _is_claimed(path, shape):
        return "shape", f"{shape}"
    return outcome, words


def _is_claimed(path: Path, shape: tuple[int, ...]) -> bool:
    """Return whether a file's header claims a height and a width, upright or turned."""
    from PIL import Image
    from seeds import HEIGHT, WIDTH

    if sorted(shape) == sorted((HEIGHT, WIDTH)):
        return True
    try:
        with Image.open(path) as image:
            return sorted(shape) == sorted(image.size)
    except Exception:
        # Pillow cannot read it, so there is no second opinion.
        return True


def table(counts: Counter[tuple[str, str]]) -> str:
    """Return the counts by format and outcome, as lines of text."""
    kinds = sorted({kind for kind, _ in counts})
    lines = ["format".ljust(12) + "".join(each.rjust(11) for each in ("files", *OUTCOMES))]
    for kind in (*kinds, "all"):
        own = Counter(dict.fromkeys(OUTCOMES, 0))
        for (other, outcome), count in counts.items():
            own[outcome] += count if kind in (other, "all") else 0
        numbers = (own.total(), *(own[each] for each in OUTCOMES))
        lines.append(kind.ljust(12) + "".join(str(each).rjust(11) for each in numbers))
    return "\n".join(lines)


def make_seeds(formats: set[str] | None = None) -> Seeds:
    """Return undamaged files of some formats, or of all."""
    from seeds import photo_seeds, weight_seeds

    every = [*photo_seeds(), *weight_seeds()]
    return [(kind, content) for kind, content in every if not formats or kind in formats]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--formats", nargs="*", help="such as jpeg tiff pth; all if not given")
    parser.add_argument("--keep", type=Path, help="folder for the files that did harm")
    options = parser.parse_args()
    seeds = make_seeds(set(options.formats or ()))
    counts: Counter[tuple[str, str]] = Counter()
    for each in fuzz(seeds, options.files, options.seconds, options.seed, options.processes):
        counts[each.kind, each.outcome] += 1
        if each.outcome in HARMFUL:
            sys.stdout.write(f"{each.number} {each.kind} {each.outcome}: {each.words}\n")
            sys.stdout.flush()
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                name = f"{each.outcome}-{options.seed}-{each.number}.{each.kind}"
                (options.keep / name).write_bytes(each.content)
    sys.stdout.write(f"{table(counts)}\n")
    sys.exit(any(outcome in HARMFUL for _, outcome in counts))


if __name__ == "__main__":
    main()
