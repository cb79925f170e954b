"""Devices: which one, how precise, how much memory is free, how many cores there really are."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.runtime.process import give_back_freed_memory
from ssbsn_cli.core.types import PrecisionKind

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

UNKNOWN_FREE_MEMORY = 2 << 30


def resolve_device(name: str) -> torch.device:
    """Turn a device's name into a device that is there.

    Parameters
    ----------
    name : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N" or "mps".

    Raises
    ------
    OptionError
        If the name is unknown.
    DeviceError
        If the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    indexed = device is not None and device.index is not None
    if (
        device is None
        or device.type not in ("cpu", "cuda", "mps")
        or (indexed and device.type != "cuda")
    ):
        raise OptionError(f"Unknown device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
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


def resolve_precision(precision: PrecisionKind, device: torch.device) -> str:
    """Choose the precision: "auto" becomes "fp32", "bf16" or "fp16"."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        # fp16 has 8 times the resolution of bf16; its narrower range suffices for features of
        # images in [0, 1], and results are checked for overflow.
        return "fp16"
    return "bf16" if device.type == "cpu" and _bf16_pays_on_cpu() else "fp32"


@functools.cache
def _bf16_pays_on_cpu() -> bool:
    """Time a convolution in both precisions: CPUs without bf16 units emulate it, slowly."""
    x = torch.ones(1, 64, 64, 64).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3).to(memory_format=torch.channels_last)
    half, half_weight = x.bfloat16(), weight.bfloat16()
    bf16, fp32 = best_seconds(
        lambda: F.conv2d(half, half_weight, padding=1), lambda: F.conv2d(x, weight, padding=1)
    )
    # The margin keeps a noisy timing from flipping the choice where there is little to gain.
    return bf16 < 0.67 * fp32


def best_seconds(*ways: Callable[[], object]) -> list[float]:
    """Return the best time of several for each way to compute something, on one thread."""
    best = [math.inf] * len(ways)
    threads = torch.get_num_threads()
    # On a busy machine, threads wait for each other far longer than a convolution takes.
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for turn in range(8):
                for number, way in enumerate(ways):
                    start = time.perf_counter()
                    way()
                    best[number] = min(best[number], time.perf_counter() - start)
                # Emulated bf16 takes seven times as long: no need to wait for all of it.
                if turn and max(best) > 4 * min(best):
                    break
    finally:
        torch.set_num_threads(threads)
    return best


def free_memory(device: torch.device) -> int:
    """Return the bytes that can be allocated on a device, as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    limits = []
    meminfo = _read("/proc/meminfo")
    if "MemAvailable:" in meminfo:
        limits.append(int(meminfo.split("MemAvailable:")[1].split()[0]) * 1024)
    maximum, current = (_read(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if maximum.strip().isdigit() and current.strip().isdigit():
        limits.append(max(int(maximum) - int(current), 0))
    return min(limits, default=UNKNOWN_FREE_MEMORY)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    # On the CPU, PyTorch reports it as a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "can't allocate memory" in str(error) or "not enough memory" in str(error)
    )


_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return how many cores this process may use at once: by its affinity and its cgroups."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *_quotas()]))


def use_available_cores() -> None:
    """Let PyTorch use no more threads than there are cores for.

    Threads beyond a cgroup's quota are stopped in turns, while the others wait for them. Fewer
    threads than there are cores, as OMP_NUM_THREADS asks for, stay as they are.
    """
    cores = available_cores()
    if cores < torch.get_num_threads():
        torch.set_num_threads(cores)


def _quotas() -> list[int]:
    """Return the cores that the process's cgroup and those above it grant, where they say so."""
    try:
        lines = _MINE.read_text().splitlines()
    except OSError:
        return []
    # The line of version 2: "0::/path". Seen from inside a container, the path may not be there.
    paths = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    groups = {_GROUPS, *(group for path in paths for group in _above(_GROUPS / path))}
    quotas = []
    for group in groups:
        try:
            quota, period = (group / "cpu.max").read_text().split()
            quotas.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):
            continue
    return quotas


def _above(group: Path) -> list[Path]:
    return [group, *(parent for parent in group.parents if parent.is_relative_to(_GROUPS))]


_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Measure the peak of memory while inside a ``with`` block.

    On a GPU it is that of PyTorch's allocator there, else that of the process, which Linux alone
    tells.

    Parameters
    ----------
    device : str
        Where most is computed.

    References
    ----------
    .. [1] "clear_refs" and "status" in proc(5), the Linux manual.
    """

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        self._before: int | None = None
        #: Bytes; None if it cannot be told. Set at the end of the block.
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
            return self
        # What was kept would count as held before.
        give_back_freed_memory()
        try:
            _RESET.write_text(_RESET_PEAK)
            self._before = _status("VmRSS")
        except OSError:
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        if self._cuda is not None:
            peak = torch.cuda.max_memory_allocated(self._cuda)
        else:
            peak = _status("VmHWM")
        self.bytes = max(peak - self._before, 0)


def _status(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"there is no {key} in {_STATUS}")
