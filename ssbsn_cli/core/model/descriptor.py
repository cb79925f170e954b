"""What must be known about a network to build it and to use it well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from torch import Tensor

from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.types import BlockKind, RefineKind

ARCHITECTURES: dict[str, type[Network]] = {"ssbsn": SSBSN, "apbsn": SSBSN, "unet": UNet}


@dataclass(frozen=True)
class Descriptor:
    """Architecture, hyper-parameters and usage of a network.

    Parameters
    ----------
    architecture : {"ssbsn", "apbsn", "unet"}
        Which network.
    parameters : dict
        Keyword arguments of the network's constructor.
    value_range : float
        The value of white that the weights were trained for: 255 for the authors' weights. Built
        networks always take [0, 1]; see `Descriptor.to_unit_range`.
    refine : {"r3", "stratified", "once", "none"}
        The refinement that suits these weights.
    halo : int
        Pixels at a tile's edge that the missing surroundings spoil too much to be used.
    detail : bool
        Whether giving back detail suits these weights; see `ssbsn_cli.core.noise.detail`.

    Raises
    ------
    ValueError
        If a field is unknown or out of range.
    """

    architecture: str
    parameters: dict[str, Any] = field(default_factory=dict)
    value_range: float = 1.0
    refine: RefineKind = "r3"
    halo: int = 8
    detail: bool = False

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {self.architecture!r}")
        if self.refine not in get_args(RefineKind):
            raise ValueError(f"unknown refinement {self.refine!r}")
        if not self.value_range > 0 or self.halo < 0:
            raise ValueError("value_range must be positive and halo not negative")

    def build(self) -> Network:
        """Make the network, with random weights, for images in [0, 1].

        Raises
        ------
        ValueError, TypeError
            If `parameters` do not fit the architecture.
        """
        return ARCHITECTURES[self.architecture](**self.parameters)

    def to_unit_range(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights for images in [0, value_range] to the same network for [0, 1].

        With ReLUs, residual sums and an attention that ignores scale, the network without its
        biases is positively homogeneous: dividing every bias by `value_range` divides all
        features and the result by it, exactly.
        """
        return {
            key: value / self.value_range if key.endswith(".bias") else value
            for key, value in state.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return asdict(self)


def deduce_descriptor(state: Mapping[str, Tensor]) -> Descriptor:
    """Read the hyper-parameters off the names and shapes of a network's weights.

    What leaves no trace there (PD strides, R3, the lattices' spacing) is as in the papers, whose
    authors' weights take images in [0, 255].

    Parameters
    ----------
    state : mapping
        Weights by name, as in the authors' checkpoints: ``bsn.head.0.weight`` and so on.

    Raises
    ------
    ValueError
        If these are not the weights of an SS-BSN or AP-BSN.
    """
    head = state.get("bsn.head.0.weight")
    indices = {
        int(match[1])
        for key in state
        if (match := re.match(r"bsn\.branch1\.body\.(\d+)\.(conv1|body\.0)\.weight", key))
    }
    if head is None or head.ndim != 4 or head.shape[1] != 3 or not indices:
        raise ValueError("these are not the weights of an SS-BSN or AP-BSN")

    def kind(index: int) -> BlockKind:
        prefix = f"bsn.branch1.body.{index}"
        if f"{prefix}.wqk" in state:
            return "ss"
        return "plain" if f"{prefix}.conv1.weight" in state else "light"

    blocks = [kind(index) for index in sorted(indices)]
    return Descriptor(
        architecture="apbsn" if set(blocks) == {"light"} else "ssbsn",
        parameters={"channels": head.shape[0], "blocks": blocks},
        value_range=255.0,
    )
