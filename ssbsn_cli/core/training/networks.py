"""The network of a training: made anew, or loaded from weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from ssbsn_cli.core.errors import OptionError, WeightsError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.config import Config, ModelConfig
from ssbsn_cli.core.training.initialise import initialise
from ssbsn_cli.core.weights.locate import load_weights

# The narrowest layers are half as wide.
_FEWEST_CHANNELS = 6


def make_network(config: Config, init: str | None) -> tuple[Network, Descriptor]:
    """Make or load the network that is to be trained.

    Parameters
    ----------
    config : Config
        Its `model` says which; None is that of the initial weights.
    init : str, optional
        Weights to start from; random ones if not given.

    Returns
    -------
    network : Network
        On the CPU.
    descriptor : Descriptor
        Its own.

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
        descriptor = _descriptor_of(model)
        network = descriptor.build()
        initialise(network, config.training.seed)
        return network, descriptor
    loaded = load_weights(init)
    descriptor = replace(loaded.descriptor, value_range=1.0)
    if model is not None:
        wanted = _descriptor_of(model)
        have = {key: tuple(v.shape) for key, v in loaded.network.state_dict().items()}
        need = {key: tuple(v.shape) for key, v in wanted.build().state_dict().items()}
        if wanted.architecture != descriptor.architecture or have != need:
            raise WeightsError(
                f"{init} holds {_words(descriptor)}, and the configuration is for "
                f"{_words(wanted)}.",
                "Use weights of the same network, or a configuration without [model], such as "
                "adapt.",
            )
        network = wanted.build()
        network.load_state_dict(loaded.network.state_dict())
        return network, wanted
    return loaded.network, descriptor


def _descriptor_of(model: ModelConfig) -> Descriptor:
    try:
        descriptor = Descriptor(
            model.architecture,
            model.parameters,
            refine=model.refine,
            halo=model.halo,
            detail=model.detail,
        )
        # On no device: a width of a million is noticed before it takes the memory.
        with torch.device("meta"):
            descriptor.build()
        if model.parameters.get("channels", _FEWEST_CHANNELS) < _FEWEST_CHANNELS:
            raise ValueError("with so few channels, colours find no way through")
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(
            f"The configuration: model: {reason}.",
            "docs/train.md lists the keys and their values.",
        ) from None
    return descriptor


def model_of(descriptor: Descriptor) -> ModelConfig:
    """Return the configuration that makes a network of this kind."""
    return ModelConfig(
        architecture=descriptor.architecture,
        refine=descriptor.refine,
        halo=descriptor.halo,
        detail=descriptor.detail,
        parameters={
            key: list(value) if isinstance(value, tuple) else value
            for key, value in descriptor.parameters.items()
        },
    )


def _words(descriptor: Descriptor) -> str:
    parameters = descriptor.parameters
    if "channels" not in parameters:
        return descriptor.architecture
    blocks = len(parameters.get("blocks", ()))
    return f"{descriptor.architecture} with {parameters['channels']} channels and {blocks} blocks"
