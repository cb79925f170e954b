"""Denoise photos on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssbsn_cli.core.errors import DeviceError, ImageError, OptionError
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import ALL_GPUS
from ssbsn_cli.core.inference.worker import Work, denoise_task
from ssbsn_cli.core.types import Notify

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

    from ssbsn_cli.core.inference.opening import Outcome

_LOCAL = "local"
# Seconds that a scheduler gets to answer.
_PATIENCE = 10
# Photos of a task: a worker reads one and writes another while it computes a third.
_TOGETHER = 8
# Tasks of each worker that are with the scheduler: one at work, and one that waits.
_TASKS = 2
# A network on a CPU gains little from more cores; then several photos are denoised at a time.
_CORES = 16


def denoise_on_cluster(
    address: str,
    jobs: Iterable[Job],
    work: Work,
    notify: Notify,
) -> Generator[tuple[Job, Outcome]]:
    """Denoise photos on a cluster whose workers see the same files.

    A photo that is lost with its worker is tried again on another one. What is denoised in the
    place of photos themselves is refused, because a second try would denoise the result.

    Parameters
    ----------
    address : str
        Of a Dask scheduler, such as ``tcp://host:8786``; a file that a scheduler wrote; "local"
        or "local:N" for N new workers on this machine.
    jobs : iterable of Job
        From file to file; taken not far ahead of their turn.
    work : Work
        What to do.
    notify : callable
        Told, in a sentence, what a user should know.

    Yields
    ------
    job : Job
        Each, as it ends.
    outcome : dict or Exception
        As of `denoise_files`. A photo whose first try wrote the result and was lost then counts
        as skipped.

    Raises
    ------
    OptionError
        The packages for clusters are missing, or differ between machines.
    DeviceError
        There is no such scheduler, it is gone, or a worker lacks the device.
    """
    from ssbsn_cli.core.runtime.device import count_gpus

    local = _workers_here(address) is not None
    if local and work.settings.device in ("auto", "cuda") and count_gpus():
        work = replace(work, settings=replace(work.settings, device=ALL_GPUS))
    with _connected(address, work.settings.device) as client:
        _check_versions(client)
        told: set[str] = set()
        if work.weights and Path(work.weights).exists():
            work = replace(work, weights=os.path.abspath(work.weights))  # noqa: PTH100 - not resolved
        for job, outcome, notices in _Dispatch(client, work).run(jobs):
            for notice in notices:
                if notice not in told:
                    told.add(notice)
                    notify(notice)
            yield job, outcome


class _Dispatch:
    """Hands out tasks and takes results, and never has more tasks out than workers need."""

    def __init__(self, client: Client, work: Work) -> None:
        from distributed import as_completed

        self._client = client
        # What is there when a task begins is then the result of an earlier try.
        self._work = replace(
            work, files=replace(work.files, skip_existing=not work.files.overwrite)
        )
        self._files = work.files
        self._done = as_completed(loop=client.loop)
        self._tasks: dict[Future[Any], list[Job]] = {}

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome, Sequence[str]]]:
        jobs = iter(jobs)
        ready: list[Job] = []
        try:
            while True:
                workers = max(1, len(self._client.ncores()))
                room = workers * _TASKS - len(self._tasks)
                if room > 0:
                    ready += islice(jobs, max(0, workers * _TASKS * _TOGETHER - len(ready)))
                if not ready and not self._tasks:
                    return
                # Few photos are spread over all workers.
                size = max(1, min(_TOGETHER, len(ready) // (workers * _TASKS)))
                while ready and room > 0:
                    task, ready = ready[:size], ready[size:]
                    refused = {job: error for job in task if (error := self._refuse(job))}
                    yield from ((job, error, ()) for job, error in refused.items())
                    if accepted := [job for job in task if job not in refused]:
                        self._submit(accepted)
                        room -= 1
                if self._tasks:
                    yield from self._take(next(self._done))
        finally:
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._tasks))

    def _refuse(self, job: Job) -> Exception | None:
        from ssbsn_cli.core.inference.opening import refuse_existing

        try:
            refuse_existing(job, self._files)
            assert job.source
            assert job.target
            if job.target.exists() and job.target.samefile(job.source):
                raise ImageError(
                    f"{job.source} cannot be replaced on a cluster, where a second try would "
                    "denoise the result.",
                    "Name another output with -o.",
                )
        except (ImageError, OSError) as error:
            return error
        return None

    def _submit(self, jobs: list[Job]) -> None:
        absolute = [
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
        future = self._client.submit(denoise_task, self._work, absolute, pure=False)
        self._tasks[future] = jobs
        self._done.add(future)

    def _take(self, future: Future[Any]) -> Iterator[tuple[Job, Outcome, Sequence[str]]]:
        from distributed import CancelledError, KilledWorker

        jobs = self._tasks.pop(future)
        try:
            outcomes, notices = future.result()
        except KilledWorker as error:
            if len(jobs) > 1:
                # One of them may be what kills workers.
                for job in jobs:
                    self._submit([job])
                return
            (job,) = jobs
            yield job, _killer(job, error.allowed_failures + 1), ()
            return
        except CancelledError as error:
            raise DeviceError(
                "The scheduler of the cluster is gone.",
                "Start it again, and continue with --skip-existing.",
            ) from error
        except ModuleNotFoundError as error:
            raise OptionError(
                f"A worker lacks a package: {error}.",
                "Install the same ssbsn, with the same extras, on all machines.",
            ) from error
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, dict):
                names = job.skipped
                outcome |= {key: names[key] for key in ("input", "output")}
            yield job, outcome, notices
            notices = ()


def _killer(job: Job, times: int) -> ImageError:
    return ImageError(
        f"{job.source} cannot be denoised: {times} workers ended while they were at it.",
        "It may need more memory than they have: try it alone, without --cluster.",
    )


def _workers_here(address: str) -> int | None:
    """Return how many workers "local:N" asks for, or 0 for "local"; None if it is neither."""
    name, colon, number = address.partition(":")
    if name != _LOCAL or (colon and not number.isdecimal()):
        return None
    return int(number or 0)


@contextlib.contextmanager
def _connected(address: str, device: str) -> Iterator[Client]:
    """Connect to a scheduler, or start one and its workers."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise OptionError(
            "Clusters need another package.", 'Install it with pip install "ssbsn[cluster]".'
        ) from error
    # What matters is told by exceptions.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    number = _workers_here(address)
    with contextlib.ExitStack() as stack:
        where: dict[str, Any] = {"address": address}
        if number is not None:
            where = {"address": stack.enter_context(_start(number, device))}
        elif device == ALL_GPUS:
            raise OptionError(
                "All GPUs of this machine, and a cluster elsewhere, contradict each other.",
                "Use --device cuda, and start one worker for each GPU.",
            )
        elif Path(address).is_file():
            where = {"scheduler_file": address}
        try:
            client = Client(**where, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise DeviceError(
                f"No Dask scheduler answers at {address}.",
                "Check the address, or start one there with: dask scheduler",
            ) from error
        yield stack.enter_context(client)


@contextlib.contextmanager
def _start(number: int, device: str) -> Iterator[LocalCluster]:
    """Start a scheduler, and a worker for each GPU that is to be used or for each few cores."""
    from distributed import LocalCluster, Security

    from ssbsn_cli.core.runtime.device import available_cores, count_gpus, resolve_device

    cores = available_cores()
    if device == ALL_GPUS:
        resolve_device("cuda")
        number = number or count_gpus()
    number = number or -(-cores // _CORES)
    cluster = LocalCluster(
        n_workers=number,
        threads_per_worker=max(1, cores // number),
        # Photos and tiles are fitted into memory elsewhere.
        memory_limit=0,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        # Who else is on this machine could otherwise run programs as this user.
        security=Security.temporary(),
    )
    with cluster:
        yield cluster


def _check_versions(client: Client) -> None:
    """Notice other versions of Dask and Python before they fail in strange ways."""
    found = client.get_versions()
    machines = {"the scheduler": found["scheduler"]} | {
        f"the worker {address}": facts for address, facts in found["workers"].items()
    }
    for what, version in (("distributed", _version), ("Python", _python)):
        here = version(found["client"])
        for name, facts in machines.items():
            if facts and version(facts) != here:
                raise OptionError(
                    f"{name[0].upper()}{name[1:]} has {what} {version(facts)}, and this machine "
                    f"{here}.",
                    "Install the same on all machines.",
                )


def _version(facts: Mapping[str, Any]) -> str:
    return str(facts["packages"]["distributed"])


def _python(facts: Mapping[str, Any]) -> str:
    return ".".join(str(facts["host"]["python"]).split(".")[:2])
