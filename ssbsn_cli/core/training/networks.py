"""The network of a training: made anew with weights that learn at once, or loaded."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ssbsn_cli.core.errors import OptionError, WeightsError
from ssbsn_cli.core.model.blocks import LightBlock, PlainBlock
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.ssbsn import SSBSN, BlindSpotNetwork
from ssbsn_cli.core.model.unet import ResidualBlock, UNet
from ssbsn_cli.core.training.card import describe
from ssbsn_cli.core.training.config import HINT, Config, ModelConfig
from ssbsn_cli.core.weights.locate import load_weights

_LAST_SCALE = 0.1
_MOST_LAYERS = 1000
_MOST_PARAMETERS = 10**9
_COLORS = 3
# The narrowest layers are half as wide.
_FEWEST_CHANNELS = 6


@torch.no_grad()
def initialise(network: Network, seed: int) -> None:
    """Draw initial weights: He-normal, zero biases, small last layers, a path for the colours.

    With PyTorch's defaults, every convolution and ReLU shrinks the signal, and a blind-spot network
    predicts a constant for hundreds of steps. With He-normal weights, and the last convolution of
    each block scaled by 0.1, it does not. In addition, one feature per colour passes unchanged from
    the head to the tail, and the masked convolutions average it over the neighbours. So the first
    prediction is the mean of what surrounds a pixel, and colours, which take longest otherwise, are
    right from the start. A U-Net's first prediction is the image as it is.

    References
    ----------
    .. [1] He et al., "Delving Deep into Rectifiers", ICCV 2015.
    .. [2] Zhang, Dauphin & Ma, "Fixup Initialization", ICLR 2019, for small last layers.
    .. [3] Zagoruyko & Komodakis, "DiracNets", 2017, for layers that begin as the identity.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("wqk"):
            nn.init.xavier_uniform_(parameter, gain=2**0.5, generator=generator)
        elif parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        # Others, such as scales, begin as their layers make them.
    if isinstance(network, SSBSN):
        _open_path(network.bsn)
    elif isinstance(network, UNet):
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.mul_(_LAST_SCALE)
        nn.init.zeros_(network.tail.weight)


def _open_path(bsn: BlindSpotNetwork) -> None:
    """Scale the last layers of the blocks, and let the colours through."""
    first, last = bsn.tail[0], bsn.tail[-1]
    assert isinstance(last, nn.Conv2d)
    others = last.weight[:, _COLORS:].clone()
    for module in (*bsn.head, *bsn.branch1.body, *bsn.branch2.body, *bsn.tail):
        if isinstance(module, PlainBlock | LightBlock):
            end = module.conv3 if isinstance(module, PlainBlock) else module.body[-1]
            assert isinstance(end, nn.Conv2d)
            end.weight.mul_(_LAST_SCALE)
            end.weight[:_COLORS] = 0
        elif isinstance(module, nn.Conv2d):
            _lead_through(module, branches=2 if module is first else 1)
    last.weight[:, _COLORS:] = _LAST_SCALE * others


def _lead_through(conv: nn.Conv2d, branches: int) -> None:
    """Let the first features be the mean of the first ones of all branches, around each pixel."""
    taps = conv.weight.shape[2] * conv.weight.shape[3]
    # Masked convolutions do not see their middle tap.
    terms = branches * max(taps - 1, 1)
    conv.weight[:_COLORS] = 0
    for color in range(_COLORS):
        conv.weight[color, color :: conv.in_channels // branches] = 1 / terms


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
        descriptor = _descriptor_of(model)
        network = descriptor.build()
        initialise(network, config.training.seed)
        return network, descriptor
    loaded = load_weights(init)
    descriptor = replace(loaded.descriptor, value_range=1.0)
    if model is None:
        return loaded.network, descriptor
    wanted = _descriptor_of(model)
    network = wanted.build()
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


def _descriptor_of(model: ModelConfig) -> Descriptor:
    try:
        descriptor = Descriptor(
            model.architecture,
            model.parameters,
            refine=model.refine,
            halo=model.halo,
            detail=model.detail,
        )
        # The network is built without memory first, which a width of a million would fill.
        if any(
            len(value) > _MOST_LAYERS
            for value in model.parameters.values()
            if isinstance(value, list)
        ):
            raise ValueError(f"more than {_MOST_LAYERS} layers are too many")
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in descriptor.build().parameters())
        if size > _MOST_PARAMETERS:
            raise ValueError(
                f"{size:.0e} parameters are too many; {_MOST_PARAMETERS:.0e} can be trained"
            )
        if model.parameters.get("channels", _FEWEST_CHANNELS) < _FEWEST_CHANNELS:
            raise ValueError("with so few channels, colours find no way through")
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(
            f"The configuration: model: {reason}.",
            HINT,
        ) from None
    return descriptor


def model_of(descriptor: Descriptor) -> ModelConfig:
    """Return the configuration that makes a network like this."""
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
