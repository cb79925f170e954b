"""The network of a training: made anew, or loaded."""

from __future__ import annotations

from dataclasses import replace

import torch

from ssbsn_cli.core.errors import OptionError, WeightsError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.card import describe
from ssbsn_cli.core.training.config import HINT, Config, ModelConfig
from ssbsn_cli.core.weights.locate import load_weights

_MOST_LAYERS = 1000
_MOST_PARAMETERS = 10**9


def make_network(config: Config, init: str | None) -> tuple[Network, Descriptor]:
    """Make the network that is to be trained, on the CPU, or load the one of initial weights.

    Raises
    ------
    OptionError
        No network is named, or it cannot be made.
    WeightsError
        The weights are missing, damaged, or of another network.
    """
    model = config.model
    if init is None:
        if model is None:
            raise OptionError(
                "This configuration trains on from given weights, and none are given.",
                "Name them with --init NAME|PATH.",
            )
        return _make(model, config.training.seed)
    loaded = load_weights(init)
    descriptor = replace(loaded.descriptor, value_range=1.0)
    if model is None:
        return loaded.network, descriptor
    network, wanted = _make(model, config.training.seed)
    weights = loaded.network.state_dict()
    have, need = (
        {name: value.shape for name, value in state.items()}
        for state in (weights, network.state_dict())
    )
    if wanted.architecture != descriptor.architecture or have != need:
        words = [describe(each.architecture, each.parameters) for each in (descriptor, wanted)]
        raise WeightsError(
            f"{init} holds {words[0]}, and the configuration is for {words[1]}.",
            "Use weights of the same network, or a configuration without [model], such as adapt.",
        )
    network.load_state_dict(weights)
    return network, wanted


def _make(model: ModelConfig, seed: int) -> tuple[Network, Descriptor]:
    """Make a network with the weights that training begins with."""
    try:
        descriptor = Descriptor(**model.model_dump())
        lists = [value for value in model.parameters.values() if isinstance(value, list)]
        if any(len(value) > _MOST_LAYERS for value in lists):
            raise ValueError(f"more than {_MOST_LAYERS} layers are too many")
        # The network is built without memory first, which a width of a million would fill.
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in descriptor.build().parameters())
        if size > _MOST_PARAMETERS:
            raise ValueError(
                f"{size:.0e} parameters are too many; {_MOST_PARAMETERS:.0e} can be trained"
            )
        network = descriptor.build()
        network.initialise(seed)
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(f"The configuration: model: {reason}.", HINT) from None
    return network, descriptor


def model_of(descriptor: Descriptor) -> ModelConfig:
    """Return the configuration that makes a network like this."""
    fields = descriptor.to_dict()
    del fields["value_range"]
    return ModelConfig(**fields)
