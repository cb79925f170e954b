"""How many cores there really are: a container may be given fewer than it sees."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

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
