"""Architectures, and descriptors, which say how to build a network and use it well.

The file of each architecture calls `register`; nothing else lists the architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from torch import Tensor

from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.types import RefineKind

ARCHITECTURES: dict[str, Architecture] = {}
# Larger hyper-parameters are useless, and could exhaust memory before anything else is checked.
_LARGEST = 1024
_LARGEST_WHITE = 2**32


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A kind of network.

    Parameters
    ----------
    name : str
        As descriptors spell it.
    title : str
        As people write it.
    build : callable
        Makes a network for images in [0, 1], with random weights, from its hyper-parameters.
        Raises ValueError or TypeError if they make no sense.
    detect : callable, optional
        Takes weights by name. Returns what they reveal, as fields of a `Descriptor`, or None if
        they belong to another architecture. Without it, only files with a descriptor are loaded.
    best_tile : int
        Side in pixels of the tiles on which it is fastest, if they fit into memory.
    tile_per_core : bool
        Whether a CPU is faster with a tile on each core than with one tile on all cores.
    """

    name: str
    title: str
    build: Callable[..., Network]
    detect: Callable[[Mapping[str, Tensor]], dict[str, Any] | None] = lambda _: None
    best_tile: int
    tile_per_core: bool


def register(architecture: Architecture) -> None:
    """Make an architecture known by its name."""
    ARCHITECTURES[architecture.name] = architecture


@dataclass(frozen=True)
class Descriptor:
    """Architecture, hyper-parameters and usage of a network.

    Parameters
    ----------
    architecture : str
        Name of a registered `Architecture`.
    parameters : dict
        Keyword arguments of the network's constructor.
    value_range : float
        The value of white that the weights were trained for: 255 for the authors' weights. Built
        networks always take [0, 1]; see `Descriptor.to_unit_range`.
    refine : {"r3", "stratified", "once", "none"}
        The refinement that suits these weights.
    halo : int
        Pixels at a tile's edge that are discarded, since too much of their surroundings is missing.
    detail : bool
        Whether giving back detail suits these weights; see `ssbsn_cli.core.noise.detail`.
    coarse : str
        The name of the weights for half the size and below. By default, these are used at each
        size.
    white_noise : str
        The name of the weights for white noise, if others than these are used for it.

    Raises
    ------
    ValueError, TypeError
        If a field is unknown, of the wrong type, or out of range: `parameters` go up to 1024.
    """

    architecture: str
    parameters: dict[str, Any] = field(default_factory=dict)
    value_range: float = 1.0
    refine: RefineKind = "r3"
    halo: int = 8
    detail: bool = False
    coarse: str = ""
    white_noise: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {self.architecture!r}")
        if self.refine not in get_args(RefineKind):
            raise ValueError(f"unknown refinement {self.refine!r}")
        if not isinstance(self.parameters, dict) or not isinstance(self.detail, bool):
            raise ValueError("parameters must have names, and detail must be true or false")
        # This form also refuses NaN.
        if not 1 / _LARGEST_WHITE <= self.value_range <= _LARGEST_WHITE:
            raise ValueError(f"value_range must be positive and at most {_LARGEST_WHITE}")
        if not isinstance(self.halo, int) or self.halo < 0:
            raise ValueError("halo must be a whole number and not negative")
        names = {"coarse": self.coarse, "white_noise": self.white_noise}
        for name, value in names.items():
            if not isinstance(value, str):
                raise ValueError(f"{name} must be the name of weights")
        sizes = {**self.parameters, "halo": self.halo, **names}
        for name, value in sizes.items():
            size = abs(value) if isinstance(value, int | float) else len(value)
            if not size <= _LARGEST:
                raise ValueError(f"{name} is too large: more than {_LARGEST}")

    def build(self) -> Network:
        """Make the network, with random weights, for images in [0, 1].

        Raises
        ------
        ValueError, TypeError
            If `parameters` do not fit the architecture.
        """
        return ARCHITECTURES[self.architecture].build(**self.parameters)

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
    """Deduce architecture and hyper-parameters from the names and shapes of weights.

    Raises
    ------
    ValueError
        If no architecture recognises them.
    """
    for name, architecture in ARCHITECTURES.items():
        if (fields := architecture.detect(state)) is not None:
            return Descriptor(name, **fields)
    raise ValueError("these are not the weights of an SS-BSN or AP-BSN")
