"""The machine that this runs on, and the versions of what does the work."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from ssbsn_cli import __version__
from ssbsn_cli.core.runtime.device import available_cores


def describe_machine() -> dict[str, Any]:
    """Describe the machine on which times were measured, and the software versions."""
    machine: dict[str, Any] = {
        "ssbsn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
