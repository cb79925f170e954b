"""Weights on disk: safetensors with a descriptor inside, and the authors' ``.pth`` files."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.model.descriptor import Descriptor, deduce_descriptor
from ssbsn_cli.core.model.ssbsn import SSBSN

METADATA_KEY = "ssbsn"
FORMATS_HINT = "Give a .safetensors file of ssbsn or a .pth checkpoint of SS-BSN or AP-BSN."


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_checkpoint(path: Path, usage: Mapping[str, Any] | None = None) -> tuple[SSBSN, Descriptor]:
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
    network : SSBSN
        On the CPU, float32, in evaluation mode.
    descriptor : Descriptor
        What the file says, or what its weights reveal.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, unsafe, or not the weights of a known network.
    """
    state, descriptor = _read(path)
    try:
        if descriptor is None:
            deduced = deduce_descriptor(state).to_dict()
            descriptor = Descriptor(**{**deduced, **(usage or {})})
        network = descriptor.build()
        network.load_state_dict(descriptor.to_unit_range(state), strict=True)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path}: the weights do not fit: {reason[:300]}", FORMATS_HINT) from None
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
    metadata = {METADATA_KEY: json.dumps(descriptor.to_dict()), **about}
    safetensors.torch.save_file(tensors, path, metadata=metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], Descriptor | None]:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read: {error.strerror}", "Check the path of the weights."
        ) from None
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if start.lstrip()[:1] == b"<":
        raise WeightsError(
            f"{path}: is a web page, not weights",
            "The download was answered with a page: download the file in a browser.",
        )
    # A pickle of torch.save is a zip archive, or in old files begins with protocol 2's opcode.
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
        return {key: value.float() for key, value in state.items()}, Descriptor(**fields)
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise WeightsError(
            f"{path}: is damaged or not written by ssbsn: {error}", "Fetch or copy it again."
        ) from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: holds more than weights; nothing in it was run",
            "Loading it could run somebody's code: get it from a source you trust, as plain "
            "tensors.",
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile, struct.error):
        raise WeightsError(f"{path}: is damaged", "Fetch or copy it again.") from None
    return _denoiser_state(content, path)


def _denoiser_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Dig the network's weights out of what a checkpoint holds."""
    if isinstance(content, dict) and "model_weight" in content:
        content = content["model_weight"]
        if isinstance(content, dict) and "denoiser" in content:
            content = content["denoiser"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{path}: holds no network's weights", FORMATS_HINT)
    # Masks are constants of the architecture, and DataParallel prefixes every name.
    return {
        key.removeprefix("module."): value.float()
        for key, value in content.items()
        if not key.endswith(".mask")
    }
