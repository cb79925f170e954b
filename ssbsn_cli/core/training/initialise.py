"""Initial weights that start learning at once."""

from __future__ import annotations

import torch
from torch import nn

from ssbsn_cli.core.model.blocks import LightBlock, PlainBlock
from ssbsn_cli.core.model.bsn import BlindSpotNetwork
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.model.unet import ResidualBlock, UNet

_LAST_SCALE = 0.1
_COLORS = 3


@torch.no_grad()
def initialise(network: Network, seed: int) -> None:
    """Draw initial weights: He-normal, zero biases, small last layers, and a way for the colours.

    PyTorch's default shrinks the signal with every convolution and ReLU, and a blind-spot network
    predicts a constant for hundreds of steps; He-normal weights, with the last convolution of each
    block scaled by 0.1, do not. Beside those, one feature a colour leads unchanged from the head
    to the tail and is averaged over the neighbours by the masked convolutions, so that the first
    prediction is the mean of what surrounds a pixel. Colours, which take longest otherwise, are
    right from the start. A U-Net's first prediction is the image as it is.

    Parameters
    ----------
    network : Network
        Changed in place; on the CPU.
    seed : int
        Another seed, other weights.

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
        else:
            nn.init.zeros_(parameter)
    if isinstance(network, SSBSN):
        _open_way(network.bsn)
    elif isinstance(network, UNet):
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.mul_(_LAST_SCALE)
        nn.init.zeros_(network.tail.weight)


def _open_way(bsn: BlindSpotNetwork) -> None:
    """Scale the last layers of the blocks, and lead the colours through."""
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
    # The masked convolutions do not see the middle one of theirs.
    terms = branches * max(taps - 1, 1)
    conv.weight[:_COLORS] = 0
    for color in range(_COLORS):
        conv.weight[color, color :: conv.in_channels // branches] = 1 / terms
