"""Weights on disk: safetensors with a descriptor inside, and the authors' ``.pth`` files."""

from __future__ import annotations

import json
import math
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.model.descriptor import Descriptor, deduce_descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.storage import write_atomically

METADATA_KEY = "ssbsn"
FORMATS_HINT = "Give a .safetensors file of ssbsn or a .pth checkpoint of SS-BSN or AP-BSN."
DAMAGED_HINT = "Fetch or copy it again."
# Far above any use, far below what would exhaust a machine before anything else is checked.
ABSURD = 1024


def load_checkpoint(
    path: Path, usage: Mapping[str, Any] | None = None
) -> tuple[Network, Descriptor]:
    """Load a network for images in [0, 1] from a file of weights.

    Parameters
    ----------
    path : Path
        A safetensors file that `save_checkpoint` wrote, or a checkpoint of SS-BSN's or AP-BSN's
        authors. The kind is told by content. No code in a file is ever run.
    usage : mapping, optional
        Fields of the descriptor (``value_range``, ``refine``, ...) for files that do not carry
        one.

    Returns
    -------
    network : Network
        On the CPU, float32, in evaluation mode.
    descriptor : Descriptor
        What the file says, or what its weights reveal.

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
        network.load_state_dict(descriptor.to_unit_range(state), strict=True)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: the weights do not fit: {reason}", FORMATS_HINT) from None
    for key, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"{path}: {key} holds values that are not finite",
                "The training that made them went wrong: use an earlier checkpoint.",
            )
    return network.eval(), descriptor


def save_checkpoint(
    path: Path, state: Mapping[str, Tensor], descriptor: Descriptor, about: Mapping[str, str]
) -> None:
    """Write weights and their descriptor as one safetensors file.

    Parameters
    ----------
    path : Path
        Where to.
    state : mapping
        The network's weights, for images in [0, ``descriptor.value_range``].
    descriptor : Descriptor
        Goes into the file's metadata.
    about : mapping
        More metadata for people: training data, licence and so on.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    metadata = {**about, METADATA_KEY: json.dumps(descriptor.to_dict())}
    write_atomically(path, safetensors.torch.save(tensors, metadata=metadata))


def is_web_page(start: bytes) -> bool:
    """Tell whether a file that begins with `start` is a web page rather than weights."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def _build(descriptor: Descriptor, state: Mapping[str, Tensor]) -> Network:
    """Make the network, unless `state` cannot be its weights; only then takes up memory."""
    if not isinstance(descriptor.parameters, dict):
        raise TypeError("the descriptor's parameters have no names")
    for name, value in {**descriptor.parameters, "halo": descriptor.halo}.items():
        size = abs(value) if isinstance(value, int | float) else len(value)
        # NaN is neither above nor below anything.
        if not size <= ABSURD:
            raise ValueError(f"{name} is absurd")
    if not math.isfinite(descriptor.value_range):
        raise ValueError("value_range is not finite")
    with torch.device("meta"):
        wanted = {key: tuple(v.shape) for key, v in descriptor.build().state_dict().items()}
    for key in {**wanted, **state}:
        shape = tuple(state[key].shape) if key in state else "missing"
        if shape != wanted.get(key):
            raise ValueError(f"{key} is {shape}, should be {wanted.get(key, 'absent')}")
    return descriptor.build()


def _check_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are no plain numbers, or that a small file cannot really hold."""
    total = 0
    for key, value in state.items():
        if value.layout != torch.strided or not value.is_floating_point() or value.is_meta:
            raise WeightsError(f"{path}: {key} holds no plain numbers", FORMATS_HINT)
        total += value.numel() * value.element_size()
    if total > path.stat().st_size:
        raise WeightsError(f"{path}: claims to hold more than its size allows", DAMAGED_HINT)


def _read(path: Path) -> tuple[dict[str, Tensor], Descriptor | None]:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read: {error.strerror}", "Check the path of the weights."
        ) from None
    if not start:
        raise WeightsError(f"{path}: is empty", DAMAGED_HINT)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if is_web_page(start):
        raise WeightsError(
            f"{path}: is a web page, not weights",
            "The download was answered with a page: download the file in a browser.",
        )
    # torch.save writes a zip archive; before version 1.6 it began with protocol 2's opcode.
    if not start.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise WeightsError(f"{path}: is not a file of weights", FORMATS_HINT)
    return _read_pickle(path), None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Descriptor | None]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if METADATA_KEY not in metadata:
            return _denoiser_state(state, path), None
        fields = json.loads(metadata[METADATA_KEY])
        return state, Descriptor(**fields)
    # RuntimeError: nested too deeply for the parser, or more tensors than memory.
    except (SafetensorError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{path}: is damaged or not written by ssbsn: {error}", DAMAGED_HINT
        ) from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        # An open file, since of a path torch.load believes the suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise WeightsError(
                f"{path}: holds more than weights; nothing in it was run",
                "Loading it could run somebody's code: get it from a source you trust, as plain "
                "tensors.",
            ) from None
        raise WeightsError(
            f"{path}: is damaged, or holds more than weights; nothing in it was run", DAMAGED_HINT
        ) from None
    # Damaged bytes make the unpickler fail in every way there is.
    except Exception:
        raise WeightsError(f"{path}: is damaged", DAMAGED_HINT) from None
    return _denoiser_state(content, path)


def _denoiser_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Dig the network's weights out of what a checkpoint holds."""
    if isinstance(content, dict) and "model_weight" in content:
        content = content["model_weight"]
        if isinstance(content, dict) and "denoiser" in content:
            content = content["denoiser"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{path}: holds no network's weights", FORMATS_HINT)
    # Masks are constants of the architecture, and DataParallel prefixes every name.
    return {
        key.removeprefix("module."): value
        for key, value in content.items()
        if not key.endswith(".mask")
    }
