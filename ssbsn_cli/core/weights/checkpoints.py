"""Weights on disk: safetensors with a descriptor inside, and the authors' ``.pth`` files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ssbsn_cli.core.errors import WeightsError, explain_unreadable
from ssbsn_cli.core.model.descriptor import Descriptor, deduce_descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.parsing import parse_json
from ssbsn_cli.core.weights.pickles import load_pickle

_METADATA_KEY = "ssbsn"
_FORMATS_HINT = "Give a .safetensors file of ssbsn or a .pth checkpoint of SS-BSN or AP-BSN."
_DAMAGED_HINT = "Fetch or copy it again."
_LARGEST = 2 << 30
# Real headers have a hundredth of this.
_LARGEST_HEADER = 1 << 20
# A network is built only if at most this many of its parameters are missing in the file. The error
# then names one of them.
_MISSING = 1000
_NAME = re.compile(r"[\w.]{1,200}", re.ASCII)


def load_checkpoint(
    path: Path, usage: Mapping[str, Any] | None = None
) -> tuple[Network, Descriptor]:
    """Load a network for images in [0, 1] from a file of weights.

    Parameters
    ----------
    path : Path
        A safetensors file that `encode_checkpoint` gave, or a checkpoint of SS-BSN's or AP-BSN's
        authors; its contents decide. No code in a file is ever run.
    usage : mapping, optional
        Fields of the descriptor (``value_range``, ``refine``, ...) for files without a descriptor.

    Returns
    -------
    network : Network
        On the CPU, float32, in evaluation mode.
    descriptor : Descriptor
        From the file, or deduced from its weights.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, unsafe, or not the weights of a known network.
    """
    state, descriptor = _read(path)
    _check_tensors(state, path)
    try:
        if descriptor is None:
            deduced = deduce_descriptor(state).to_dict()
            descriptor = Descriptor(**{**deduced, **(usage or {})})
        network = _build(descriptor, state)
        state = {key: value.detach().float() for key, value in state.items()}
        network.load_state_dict(descriptor.to_unit_range(state), strict=True, assign=True)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise WeightsError(
            f"The weights in {path} do not fit: {_shorten(error)}.", _FORMATS_HINT
        ) from None
    for key, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"{path}: {key} holds values that are not finite.",
                "The training that made them went wrong: use an earlier checkpoint.",
            )
    return network.eval(), descriptor


def encode_checkpoint(
    state: Mapping[str, Tensor], descriptor: Descriptor, about: Mapping[str, str]
) -> bytes:
    """Return weights, for images in [0, ``descriptor.value_range``], as a safetensors file.

    Its metadata are the descriptor and, for people, `about`.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    metadata = {**about, _METADATA_KEY: json.dumps(descriptor.to_dict())}
    return safetensors.torch.save(tensors, metadata=metadata)


def is_web_page(start: bytes) -> bool:
    """Return whether a file that begins with `start` is a web page."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def _build(descriptor: Descriptor, state: Mapping[str, Tensor]) -> Network:
    """Make the network; spend no time or memory on it if `state` cannot be its weights."""
    with torch.device("meta"), _at_most(len(state) + _MISSING):
        network = descriptor.build()
    wanted = {key: tuple(v.shape) for key, v in network.state_dict().items()}
    for key in {**wanted, **state}:
        shape = tuple(state[key].shape) if key in state else "missing"
        if shape != wanted.get(key):
            raise ValueError(f"{key} is {shape}, should be {wanted.get(key, 'absent')}")
    # Random weights take most of the time, and would be overwritten.
    return descriptor.build() if list(network.buffers()) else network


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Refuse to build networks of more than `count` parameters inside this block."""
    built = 0

    def check(_module: nn.Module, _name: str, _parameter: nn.Parameter) -> None:
        nonlocal built
        built += 1
        if built > count:
            raise ValueError("the network has far more parameters than the file")

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()


def _check_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not plain numbers, or that are larger than the file."""
    total = 0
    for key, value in state.items():
        if not _NAME.fullmatch(key):
            raise WeightsError(f"{path} holds tensors without a usable name.", _FORMATS_HINT)
        if value.layout != torch.strided or not value.is_floating_point() or value.is_meta:
            raise WeightsError(f"{path}: {key} holds no plain numbers.", _FORMATS_HINT)
        total += value.numel() * value.element_size()
    if total > path.stat().st_size:
        raise WeightsError(f"{path} claims to hold more than its size allows.", _DAMAGED_HINT)


def _read(path: Path) -> tuple[dict[str, Tensor], Descriptor | None]:
    try:
        with path.open("rb") as file:
            start = file.read(512)
            size = path.stat().st_size
    except OSError as error:
        raise WeightsError(*explain_unreadable(path, error)) from None
    if not start:
        raise WeightsError(f"{path} is empty.", _DAMAGED_HINT)
    if size > _LARGEST:
        raise WeightsError(f"{path} is too large to be weights.", _FORMATS_HINT)
    if start[8:9] == b"{":
        if int.from_bytes(start[:8], "little") > _LARGEST_HEADER:
            raise WeightsError(f"{path} is damaged: its header is too large.", _DAMAGED_HINT)
        return _read_safetensors(path)
    if is_web_page(start):
        raise WeightsError(
            f"{path} is a web page, not weights.",
            "The download was answered with a page: download the file in a browser.",
        )
    # torch.save writes a zip archive; before PyTorch 1.6, it wrote a pickle of protocol 2.
    if not start.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise WeightsError(f"{path} is not a file of weights.", _FORMATS_HINT)
    return _denoiser_state(load_pickle(path), path), None


def read_about(path: Path) -> dict[str, str]:
    """Return what `encode_checkpoint` was told about weights; nothing if the file says nothing."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            metadata = parse_json(file.read(min(size, _LARGEST_HEADER)))["__metadata__"]
        return {str(key): str(value) for key, value in metadata.items() if key != _METADATA_KEY}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Descriptor | None]:
    try:
        # safetensors itself can only open files whose names are UTF-8.
        data = path.read_bytes()
        state = safetensors.torch.load(data)
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__", {})
        if _METADATA_KEY not in metadata:
            return _denoiser_state(state, path), None
        fields = parse_json(metadata[_METADATA_KEY])
        return state, Descriptor(**fields)
    # RuntimeError: too little memory for the tensors.
    except (SafetensorError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{path} is damaged or not written by ssbsn: {_shorten(error)}.", _DAMAGED_HINT
        ) from None


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def _denoiser_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the network's weights from a checkpoint."""
    if isinstance(content, dict) and "model_weight" in content:
        content = content["model_weight"]
        if isinstance(content, dict) and "denoiser" in content:
            content = content["denoiser"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{path} holds no network's weights.", _FORMATS_HINT)
    # Masks are constants of the architecture, and DataParallel adds a prefix to every name.
    return {
        key.removeprefix("module."): value
        for key, value in content.items()
        if not key.endswith(".mask")
    }
