"""Connect to a Dask cluster, or start one on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssbsn_cli.core.errors import DeviceError, OptionError, how_to_install
from ssbsn_cli.core.inference.settings import ALL_GPUS
from ssbsn_cli.core.runtime.parsing import parse_json, whole_number

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

_LOCAL = "local"
# Seconds that a scheduler gets to answer.
_PATIENCE = 10
_SECONDS_BETWEEN_LOOKS = 5
# More cores hardly speed up a network, so a machine with more gets several workers.
_CORES = 16


def count_workers_here(address: str) -> int | None:
    """Return the N of "local:N", 0 for "local", and None for any other address.

    Raises OptionError if N is not a positive number.
    """
    if address == _LOCAL:
        return 0
    if not address.startswith(f"{_LOCAL}:"):
        return None
    number = whole_number(address.removeprefix(f"{_LOCAL}:"))
    if not number:
        raise OptionError(
            f"{address[:20]!r} names no number of workers.", "Use local, or local:4 for 4."
        )
    return number


@contextlib.contextmanager
def connect(address: str, device: str) -> Iterator[Client]:
    """Connect to a scheduler, or start one and its workers, until the block ends.

    `address` is as for `denoise_on_cluster`. `device` decides how many workers are started.

    Raises
    ------
    OptionError
        A package is missing, or the address makes no sense.
    DeviceError
        No scheduler answers, or there is no such device.
    """
    try:
        from distributed import Client, Security
        from distributed.comm import get_address_host_port
    except ModuleNotFoundError as error:
        raise OptionError("Clusters need another package.", how_to_install("cluster")) from error
    # Everything important is raised as an exception. Some of Dask's loggers have their own level.
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    number = count_workers_here(address)
    with contextlib.ExitStack() as stack:
        scheduler: str | LocalCluster = address
        if number is not None:
            scheduler = stack.enter_context(_start(number, device))
        elif device == ALL_GPUS:
            raise OptionError(
                "--device cuda:all and the --cluster of other machines contradict each other.",
                "Use --device cuda, and start one worker for each GPU.",
            )
        elif Path(address).is_file():
            scheduler = _read_address(Path(address))
        try:
            secured = Security().get_connection_args("client")
        except OSError as error:
            raise OptionError(
                f"The certificates of Dask's configuration cannot be read: {error}.",
                "Correct distributed.comm.tls there.",
            ) from error
        certified = secured.get("ssl_context")
        if isinstance(scheduler, str) and scheduler.startswith("tls:") and not certified:
            raise OptionError(
                f"The scheduler at {address} asks for certificates.",
                "Name yours in Dask's configuration: https://distributed.dask.org/en/stable/tls.html",
            )
        try:
            if isinstance(scheduler, str):
                # This refuses wrong addresses before Dask, which would print a traceback at exit.
                get_address_host_port(scheduler)
                # Dask itself would wait forever for what answers nothing.
                asyncio.run(asyncio.wait_for(_greet(scheduler, secured), _PATIENCE))
            client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise DeviceError(
                f"No Dask scheduler answers at {address}.",
                "Use tcp://HOST:PORT, or the file of: dask scheduler --scheduler-file FILE",
            ) from error
        yield stack.enter_context(client)


async def _greet(address: str, secured: Mapping[str, Any]) -> None:
    from distributed.comm import connect as open_comm

    comm = await open_comm(address, **secured)
    await comm.close()


def _read_address(path: Path) -> str:
    """Return the address in a file that a scheduler wrote."""
    # Dask itself would end with a traceback after 20 seconds.
    try:
        return str(parse_json(path.read_bytes())["address"])
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(
            f"{path} was not written by a Dask scheduler.",
            f"Start one with: dask scheduler --scheduler-file {shlex.quote(str(path))}",
        ) from error


@contextlib.contextmanager
def _start(number: int, device: str) -> Iterator[LocalCluster]:
    """Start a scheduler, and a worker for each GPU or for each group of cores."""
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
        # Other code fits photos and tiles into memory.
        memory_limit=0,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        # Otherwise, other users of this machine could run programs as this user.
        security=Security.temporary(),
    )
    with cluster, _kept_at(number, cluster):
        yield cluster


@contextlib.contextmanager
def _kept_at(number: int, cluster: LocalCluster) -> Iterator[None]:
    """Replace workers that ended before they were ready; Dask does not."""
    from distributed import Status

    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            for name, worker in list(cluster.workers.items()):
                # Dask keeps some of them, as if they still worked.
                if worker.status in (Status.failed, Status.closed):
                    cluster.workers.pop(name, None)
            cluster.scale(number)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def check_versions(client: Client) -> None:
    """Raise OptionError if a machine has another version of Dask or Python.

    Different versions would fail in strange ways later.
    """
    found = client.get_versions()
    machines = {"the scheduler": found["scheduler"]} | {
        f"the worker {address}": facts for address, facts in found["workers"].items()
    }
    here = _versions(found["client"])
    for name, facts in machines.items():
        for what, version in _versions(facts).items() if facts else ():
            if version != here[what]:
                raise OptionError(
                    f"{name[0].upper()}{name[1:]} has {what} {version}, and this machine "
                    f"{here[what]}.",
                    "Install the same on all machines.",
                )


def _versions(facts: Mapping[str, Any]) -> dict[str, str]:
    python = str(facts["host"]["python"]).split(".")[:2]
    return {"distributed": str(facts["packages"]["distributed"]), "Python": ".".join(python)}
