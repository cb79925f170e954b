"""Devices: choice, precision, free memory, cores."""

from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path

import torch

from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.runtime.heap import give_back_freed_memory
from ssbsn_cli.core.runtime.operations import bf16_is_fast
from ssbsn_cli.core.types import PrecisionKind

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Of the CPU's allocator, and of that of Apple's GPUs.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Invalid buffer size",
)


def resolve_device(name: str) -> torch.device:
    """Turn a name into a device that exists; this also makes fp32 on GPUs full precision.

    Parameters
    ----------
    name : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N" or "mps".

    Raises
    ------
    OptionError
        If the name is unknown.
    DeviceError
        If the device does not exist.
    """
    # Otherwise, convolutions round their inputs to 10 bits (TF32).
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or not (
        device.type == "cuda" or (device.type in ("cpu", "mps") and device.index is None)
    ):
        raise OptionError(f"Unknown device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "cuda":
        count = count_gpus()
        if count == 0:
            built = "" if torch.version.cuda else " (this PyTorch is built without CUDA)"
            raise DeviceError(
                f"There is no CUDA device here{built}.", "Use --device auto or --device cpu."
            )
        if (device.index or 0) >= count:
            raise DeviceError(
                f"There is no {name}: the last one is cuda:{count - 1}.",
                "See `ssbsn info` for the devices.",
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("There is no MPS device here.", "Use --device auto or --device cpu.")
    return device


def count_gpus() -> int:
    """Return the number of GPUs that PyTorch can use with CUDA."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def resolve_precision(precision: PrecisionKind, device: torch.device) -> str:
    """Choose the precision: "auto" becomes "fp32", "bf16" or "fp16"."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        # fp16 has 8 times the resolution of bf16. Its narrower range is enough for features of
        # images in [0, 1], and results are checked for overflow.
        return "fp16"
    return "bf16" if device.type == "cpu" and bf16_is_fast() else "fp32"


def release_memory(device: torch.device) -> None:
    """Give back the memory of a GPU that PyTorch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes can be allocated on a device; None if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    available = _bytes_told(Path("/proc/meminfo"), "MemAvailable")
    limits = [] if available is None else [available]
    for group in _cgroups():
        with contextlib.suppress(ValueError):
            most, used = (int(_read(group / f"memory.{name}")) for name in ("max", "current"))
            # Cached file contents, which the system drops when memory is needed.
            cached = re.search(r"^inactive_file (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
            limits.append(max(most - used + (int(cached[1]) if cached else 0), 0))
    return min(limits, default=None)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out."""
    # Except for CUDA, PyTorch reports it as a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        message in str(error) for message in _OUT_OF_MEMORY
    )


def available_cores() -> int:
    """Return how many cores this process may use at once, by its affinity and cgroups."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *_quotas()]))


def use_available_cores() -> None:
    """Limit PyTorch's threads to the available cores.

    The system suspends threads beyond a cgroup's quota in turns, while the others wait for them. If
    PyTorch has fewer threads than cores, for example because of OMP_NUM_THREADS, nothing changes.
    """
    cores = available_cores()
    if cores < torch.get_num_threads():
        torch.set_num_threads(cores)


def _quotas() -> list[int]:
    """Return how many cores the process's cgroups grant, if they have quotas."""
    quotas = []
    for group in _cgroups():
        with contextlib.suppress(ValueError):
            quota, period = _read(group / "cpu.max").split()
            quotas.append(math.ceil(int(quota) / int(period)))
    return quotas


_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


def _cgroups() -> set[Path]:
    """Return the process's cgroup and those above it, whose limits also apply."""
    # The line of version 2: "0::/path". Inside a container, the path may not exist.
    lines = _read(_MINE).splitlines()
    own = [_GROUPS / line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    above = {each for group in own for each in group.parents if each.is_relative_to(_GROUPS)}
    return {_GROUPS, *own, *above}


def _bytes_told(path: Path, key: str) -> int | None:
    """Return a size in bytes that a file in /proc states in KiB."""
    told = re.search(rf"^{key}:\s*(\d+)", _read(path), re.MULTILINE)
    return int(told[1]) * 1024 if told else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Measures the peak memory inside a ``with`` block on a device such as "cpu" or "cuda:0".

    On a GPU, this is the peak of PyTorch's allocator; elsewhere it is that of the process, which is
    only known on Linux. `bytes` is set at the end of the block, to None if the peak is unknown.

    References
    ----------
    .. [1] "clear_refs" and "status" in proc(5), the Linux manual.
    """

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        self._before: int | None = None
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
            return self
        # Otherwise, memory that the C library keeps would count as already in use.
        give_back_freed_memory()
        with contextlib.suppress(OSError):
            _RESET.write_text(_RESET_PEAK)
            self._before = _bytes_told(_STATUS, "VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self._cuda is not None:
            peak: int | None = torch.cuda.max_memory_allocated(self._cuda)
        else:
            peak = _bytes_told(_STATUS, "VmHWM")
        if self._before is not None and peak is not None:
            self.bytes = max(peak - self._before, 0)
