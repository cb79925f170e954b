"""What a worker of a cluster does: it loads the network once, and denoises photo after photo."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ssbsn_cli import __version__
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import ALL_GPUS, FileOptions, Settings

if TYPE_CHECKING:
    from ssbsn_cli.core.inference.denoiser import Denoiser
    from ssbsn_cli.core.inference.opening import Outcome


@dataclass(frozen=True)
class Work:
    """What is done with all photos, the same on each worker.

    Parameters
    ----------
    weights : str or None
        Their name, or a path that all workers see; the default weights if not given.
    settings : Settings
        How to run the network.
    files : FileOptions
        How to read and write.
    version : str
        Of this package.
    """

    weights: str | None
    settings: Settings
    files: FileOptions
    version: str = __version__


# The tasks of a worker take turns: its network has all of its cores or its GPU.
_turn = threading.Lock()
_notices: list[str] = []


def denoise_task(work: Work, jobs: Sequence[Job]) -> tuple[list[Outcome], list[str]]:
    """Denoise photos on a worker; return what became of each, and what is to be told."""
    from ssbsn_cli.core.inference.files import denoise_files

    if work.version != __version__:
        raise OptionError(
            f"A worker has ssbsn {__version__}, and this machine {work.version}.",
            "Install the same on all machines.",
        )
    with _turn:
        _use_cores()
        denoiser = _load(work.weights, work.settings)
        outcomes = dict(denoise_files(denoiser, jobs, work.files))
        notices = _notices.copy()
        _notices.clear()
    return [_portable(outcomes[job]) for job in jobs], notices


def _use_cores() -> None:
    """Let PyTorch use the cores of this worker; Dask would have it use one."""
    import torch
    from distributed import get_worker

    from ssbsn_cli.core.runtime.device import available_cores

    # Each thread has a number of its own, and Dask has several.
    torch.set_num_threads(min(get_worker().state.nthreads, available_cores()))


@lru_cache(1)
def _load(weights: str | None, settings: Settings) -> Denoiser:
    from distributed import get_worker

    from ssbsn_cli.core.inference.load import load_denoiser
    from ssbsn_cli.core.runtime.device import count_gpus
    from ssbsn_cli.core.runtime.process import keep_freed_memory

    keep_freed_memory()
    if settings.device == ALL_GPUS:
        # The workers of this machine are numbered.
        number = int(get_worker().name) % max(1, count_gpus())
        settings = replace(settings, device=f"cuda:{number}")
    return load_denoiser(weights, notify=_notices.append, **vars(settings))


def _portable(outcome: Outcome) -> Outcome:
    """Return what can be sent: not every exception can."""
    try:
        pickle.loads(pickle.dumps(outcome))
    except Exception:
        return RuntimeError(f"{type(outcome).__name__}: {outcome}")
    return outcome
