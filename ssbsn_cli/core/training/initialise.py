"""Initial weights that start learning at once."""

from __future__ import annotations

import torch
from torch import nn

from ssbsn_cli.core.model.blocks import LightBlock, PlainBlock

_LAST_SCALE = 0.1


def initialise(network: nn.Module, seed: int) -> None:
    """Draw initial weights: He-normal, zero biases, each block's last convolution scaled by 0.1.

    PyTorch's default shrinks the signal with every convolution and ReLU, and a blind-spot network
    predicts a constant for hundreds of steps. The projections of SS-Attention keep theirs.

    Parameters
    ----------
    network : nn.Module
        Changed in place; on the CPU.
    seed : int
        Another seed, other weights.

    References
    ----------
    .. [1] He et al., "Delving Deep into Rectifiers", ICCV 2015.
    .. [2] Zhang, Dauphin & Ma, "Fixup Initialization", ICLR 2019, for small last layers.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, PlainBlock):
                module.conv3.weight.mul_(_LAST_SCALE)
            elif isinstance(module, LightBlock):
                last = module.body[-1]
                assert isinstance(last, nn.Conv2d)
                last.weight.mul_(_LAST_SCALE)
        for name, parameter in network.named_parameters():
            if name.endswith("wqk"):
                nn.init.xavier_uniform_(parameter, gain=2**0.5, generator=generator)
