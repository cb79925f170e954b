"""Devices: which one, how precise, how much memory is free."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.inference.settings import MIN_TILE
from ssbsn_cli.core.kinds import PrecisionKind
from ssbsn_cli.core.model.network import Network

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

AUTO_TILES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, MIN_TILE)

UNKNOWN_FREE_MEMORY = 2 << 30

# With more cores, what they hold at once would be much, and photos have too few tiles.
_MOST_WORKERS = 16


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


def choose_tile(device: torch.device, network: Network, dtype: torch.dtype) -> int:
    """Choose the largest tile whose features fit into half of the free memory.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    network : Network
        What runs; see its `best_tile`.
    dtype : torch.dtype
        Of its features.

    Returns
    -------
    int
        Side of the tile in pixels.
    """
    bytes_per_pixel = network.live_features * dtype.itemsize
    budget = free_memory(device) / 2
    for tile in AUTO_TILES:
        if tile <= network.best_tile and tile * tile * bytes_per_pixel <= budget:
            return tile
    return AUTO_TILES[-1]


def choose_workers(device: torch.device, network: Network, dtype: torch.dtype, tile: int) -> int:
    """Choose how many tiles are worked on at once.

    Parameters
    ----------
    device, network, dtype
        As for `choose_tile`.
    tile : int
        Side of the tiles in pixels.

    Returns
    -------
    int
        One for each core of a CPU, so that none waits for others after each layer, if the network
        is best so and the cores are not many; two on an NVIDIA GPU, which computes one while the
        next is read and copied. Else, or if so many tiles do not fit into half of the free memory,
        1.
    """
    cores = torch.get_num_threads()
    workers = 1
    if device.type == "cuda":
        workers = 2
    elif device.type == "cpu" and network.tile_per_core and cores <= _MOST_WORKERS:
        workers = cores
    needed = workers * tile * tile * network.live_features * dtype.itemsize
    return workers if needed <= free_memory(device) / 2 else 1


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    # On the CPU, PyTorch reports it as a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "can't allocate memory" in str(error) or "not enough memory" in str(error)
    )
