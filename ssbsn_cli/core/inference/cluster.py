"""Denoise photos on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssbsn_cli import __version__
from ssbsn_cli.core.errors import DeviceError, ImageError, OptionError, WeightsError
from ssbsn_cli.core.inference.connecting import check_versions, connect, count_workers_here
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import ALL_GPUS, FileOptions, Settings
from ssbsn_cli.core.types import Notify, count_of

if TYPE_CHECKING:
    from distributed import Client, Future

    from ssbsn_cli.core.inference.denoiser import Denoiser
    from ssbsn_cli.core.inference.opening import Outcome

# Photos per task: a worker reads one and writes another while it computes a third.
_TOGETHER = 8
# Submitted tasks per worker: one that runs, and one that waits.
_TASKS = 2


@dataclass(frozen=True)
class Work:
    """What each worker does with all photos.

    `weights` is a name, or a path that all workers see; None means the default weights. `sha256` is
    the digest that this machine knows by the name, if any.
    """

    weights: str | None
    settings: Settings
    files: FileOptions
    version: str = __version__
    sha256: str | None = None


def denoise_on_cluster(
    address: str, jobs: Iterable[Job | None], work: Work, notify: Notify
) -> Generator[tuple[Job, Outcome]]:
    """Denoise photos on a cluster whose workers see the same files.

    If a worker is lost, another one tries its photo again. A second try would denoise the result of
    the first, so results must not replace their photos.

    The address is that of a Dask scheduler, such as ``tcp://host:8786``, a file that a scheduler
    wrote, "local", or "local:N" for N new workers on this machine. Jobs go from file to file; they
    are taken shortly before their turn. None means that the next one is not known yet.

    Yields
    ------
    job : Job
        Each job when it ends.
    outcome : dict or Exception
        As of `denoise_files`. A photo counts as skipped if a lost first try had written its result.

    Raises
    ------
    OptionError
        The packages for clusters are missing, or differ between machines.
    DeviceError
        There is no such scheduler, it is gone, or a worker lacks the device.
    """
    from ssbsn_cli.core.runtime.device import count_gpus
    from ssbsn_cli.core.weights.locate import lasting_name
    from ssbsn_cli.core.weights.registry import default_name, entries

    local = count_workers_here(address) is not None
    if local and work.settings.device in ("auto", "cuda") and count_gpus():
        work = replace(work, settings=replace(work.settings, device=ALL_GPUS))
    with connect(address, work.settings.device) as client:
        check_versions(client)
        if not client.ncores():
            notify("The cluster has no workers yet: photos wait for the first.")
        told: set[str] = set()
        # Workers may have registries of their own.
        name = work.weights or default_name()
        if entry := entries().get(name):
            work = replace(work, weights=name, sha256=entry.sha256)
        elif Path(name).exists():
            work = replace(work, weights=lasting_name(name))
        for job, outcome, notices in _Dispatch(client, work).run(jobs):
            for notice in notices:
                if notice not in told:
                    told.add(notice)
                    notify(notice)
            yield job, outcome


class _Dispatch:
    """Submits tasks and takes results, never with more tasks at once than the workers need."""

    def __init__(self, client: Client, work: Work) -> None:
        from distributed import as_completed

        self._client = client
        # A result that exists when a task starts then comes from an earlier try.
        self._work = replace(
            work, files=replace(work.files, skip_existing=not work.files.overwrite)
        )
        self._files = work.files
        self._done = as_completed(loop=client.loop)
        self._tasks: dict[Future[Any], list[Job]] = {}

    def run(self, jobs: Iterable[Job | None]) -> Iterator[tuple[Job, Outcome, Sequence[str]]]:
        jobs = iter(jobs)
        ready: list[Job] = []
        ended = False
        try:
            while not ended or ready or self._tasks:
                workers = max(1, self._count_workers())
                room = workers * _TASKS - len(self._tasks)
                most = workers * _TASKS * _TOGETHER
                if room > 0 and not ended:
                    for job in islice(jobs, max(0, most - len(ready))):
                        if job is None:
                            break
                        ready.append(job)
                    else:
                        ended = len(ready) < most
                # A few photos are spread over all workers.
                size = max(1, min(_TOGETHER, len(ready) // (workers * _TASKS)))
                while ready and room > 0:
                    task, ready = ready[:size], ready[size:]
                    refused = {job: error for job in task if (error := self._refuse(job))}
                    yield from ((job, error, ()) for job, error in refused.items())
                    if accepted := [job for job in task if job not in refused]:
                        self._submit(accepted)
                        room -= 1
                if room > 0 and not ended:
                    # Photos that are found now do not wait until a task ends.
                    for done in self._done.next_batch(block=False):
                        yield from self._take(done)
                elif self._tasks:
                    yield from self._take(next(self._done))
        finally:
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._tasks))

    def _count_workers(self) -> int:
        try:
            return len(self._client.ncores())
        except OSError as error:
            raise _scheduler_is_gone() from error

    def _refuse(self, job: Job) -> Exception | None:
        from ssbsn_cli.core.inference.opening import refuse_existing

        try:
            refuse_existing(job, self._files)
            if job.is_in_place:
                raise ImageError(
                    f"{job.source} cannot be replaced on a cluster, where a second try would "
                    "denoise the result.",
                    "Name another output with -o.",
                )
        except (ImageError, OSError) as error:
            return error
        return None

    def _submit(self, jobs: list[Job]) -> None:
        named = [
            replace(
                job,
                **{
                    name: Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
                    for name in ("source", "target", "comparison")
                    if (path := getattr(job, name))
                },
            )
            for job in jobs
        ]
        future = self._client.submit(denoise_task, self._work, named, pure=False)
        self._tasks[future] = jobs
        self._done.add(future)

    def _take(self, future: Future[Any]) -> Iterator[tuple[Job, Outcome, Sequence[str]]]:
        from distributed import CancelledError, KilledWorker

        jobs = self._tasks.pop(future)
        try:
            outcomes, notices = future.result()
        except KilledWorker as error:
            if len(jobs) > 1:
                # One of them may be the one that kills workers.
                for job in jobs:
                    self._submit([job])
                return
            (job,) = jobs
            yield job, _killer(job, error.allowed_failures + 1), ()
            return
        except CancelledError as error:
            raise _scheduler_is_gone() from error
        except ModuleNotFoundError as error:
            raise OptionError(
                f"A worker lacks a package: {error}.",
                "Install the same ssbsn, with the same extras, on all machines.",
            ) from error
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, dict):
                names = {**job.names, "comparison": job.comparison and str(job.comparison)}
                outcome |= {key: names[key] for key in names.keys() & outcome.keys()}
            yield job, outcome, notices
            notices = ()


def _scheduler_is_gone() -> DeviceError:
    return DeviceError(
        "The scheduler of the cluster is gone.",
        "Start it again, and continue with --skip-existing.",
    )


def _killer(job: Job, times: int) -> ImageError:
    return ImageError(
        f"{job.source} cannot be denoised: {count_of(times, 'worker')} died while denoising it.",
        "It may need more memory than a worker has: try it alone, without --cluster.",
    )


# The rest runs on the workers. A worker's tasks take turns: its network uses all cores or the GPU.
_turn = threading.Lock()
_notices: list[str] = []


def denoise_task(work: Work, jobs: Sequence[Job]) -> tuple[list[Outcome], list[str]]:
    """Denoise photos on a worker; return their outcomes, and notices for the user."""
    from ssbsn_cli.core.inference.files import denoise_files
    from ssbsn_cli.core.runtime.storage import file_digest
    from ssbsn_cli.core.weights.locate import find_weights

    if work.version != __version__:
        raise OptionError(
            f"A worker has ssbsn {__version__}, and this machine {work.version}.",
            "Install the same on all machines.",
        )
    with _turn:
        _use_cores()
        # A run may be trained on while its worker lives.
        digest = file_digest(find_weights(work.weights)[0])
        if work.sha256 not in (None, digest):
            raise WeightsError(
                f"On a worker, the name {work.weights} stands for other weights.",
                "Use one weights.toml on all machines, or name a file that all of them see.",
            )
        denoiser = _load(work.weights, work.settings, digest)
        outcomes = dict(denoise_files(denoiser, jobs, work.files))
        notices = _notices.copy()
        _notices.clear()
    return [_portable(outcomes[job]) for job in jobs], notices


def _use_cores() -> None:
    """Let PyTorch use the cores of this worker; Dask restricts it to one."""
    import torch
    from distributed import get_worker

    from ssbsn_cli.core.runtime.device import available_cores

    # This number is per thread, and Dask has several threads.
    torch.set_num_threads(min(get_worker().state.nthreads, available_cores()))


@lru_cache(1)
def _load(weights: str | None, settings: Settings, _digest: str) -> Denoiser:
    from distributed import get_worker

    from ssbsn_cli.core.inference.denoiser import load_denoiser
    from ssbsn_cli.core.runtime.device import count_gpus
    from ssbsn_cli.core.runtime.heap import keep_freed_memory

    keep_freed_memory()
    if settings.device == ALL_GPUS:
        # The workers of this machine are numbered.
        number = int(get_worker().name) % max(1, count_gpus())
        settings = replace(settings, device=f"cuda:{number}")
    return load_denoiser(weights, notify=_notices.append, **vars(settings))


def _portable(outcome: Outcome) -> Outcome:
    """Return an outcome that can be sent; not every exception can."""
    try:
        pickle.loads(pickle.dumps(outcome))
    except Exception:
        return RuntimeError(f"{type(outcome).__name__}: {outcome}")
    return outcome
