"""Facts about this machine and installation, for bug reports."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.imaging.codec import Codec
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.inference.tiles import choose_tile
from ssbsn_cli.core.runtime.device import (
    DTYPES,
    count_gpus,
    free_memory,
    resolve_device,
    resolve_precision,
    use_available_cores,
)
from ssbsn_cli.core.runtime.machine import describe_machine
from ssbsn_cli.core.runtime.storage import cache_dir
from ssbsn_cli.core.weights.fetch import local_path
from ssbsn_cli.core.weights.locate import load_weights
from ssbsn_cli.core.weights.registry import default_name, entries

_PACKAGES = (
    "numpy",
    "opencv-python",
    "pillow",
    "tifffile",
    "imagecodecs",
    "openimageio",
    "pillow-heif",
    "rawpy",
    "safetensors",
    "typer",
)


def describe_system() -> dict[str, Any]:
    """Return versions, devices, memory, precision, tile, cache and weights as plain values.

    What cannot be found out is a text that begins with "none".
    """
    use_available_cores()
    auto = resolve_device("auto")
    precision = resolve_precision("auto", auto)
    return {
        **describe_machine(),
        "platform": platform.platform(),
        **{name: _version(name) for name in _PACKAGES},
        "formats": [_describe_format(codec) for codec in CODECS.values()],
        "devices": [_describe_device(device) for device in _devices()],
        "device": str(auto),
        "precision": precision,
        "tile": _try(lambda: choose_tile(load_weights(), auto, DTYPES[precision])),
        "cache": _try(lambda: str(cache_dir())),
        "default_weights": _try(default_name),
        "weights_present": _try(_present),
    }


def _try(find: Callable[[], Any]) -> Any:
    try:
        return find()
    except SsbsnError as error:
        return f"none: {error} {error.hint}"


def _present() -> list[str]:
    """Return the names of the weights that are here."""
    return [name for name, entry in entries().items() if entry.bundled or local_path(entry)]


def _describe_format(codec: Codec) -> str:
    what = codec.label if codec.encode else f"{codec.label} (only read)"
    if not codec.extra:
        return what
    if codec.is_installed:
        return f"{what}, from the extra {codec.extra}"
    return f"{what}: not installed. {codec.how_to_install}"


def _devices() -> list[torch.device]:
    devices = [torch.device("cpu"), *(torch.device("cuda", i) for i in range(count_gpus()))]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    return devices


def _describe_device(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    free = free_memory(device)
    memory = "free memory unknown" if free is None else f"{free / 2**30:.1f} GiB free"
    return f"{f'{device} {name}'.strip()}, {memory}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
