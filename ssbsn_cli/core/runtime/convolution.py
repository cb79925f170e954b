"""Convolutions that are faster on CPUs: fused with what follows, or by Winograd's algorithm."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbsn_cli.core.runtime.operations import (
    can_fuse,
    fits_winograd,
    fused_convolution,
    winograd_convolution,
)

# With fewer channels, transforming the features takes longer than it saves.
_NARROWEST = 32


class Conv2d(nn.Conv2d):
    """A convolution fused with the sum and the ReLU that follow it.

    In bf16 on a CPU, a separate ReLU or sum takes a third as long as a 3x3 convolution, because it
    reads and writes all features again. oneDNN, which computes PyTorch's convolutions, can do both
    before it writes. In float32, this neither gains nor loses time.

    Attributes
    ----------
    winograd : bool
        Whether to use Winograd's algorithm where it fits; see `use_winograd`.

    References
    ----------
    .. [1] "Primitive attributes: post-ops", the documentation of oneDNN.
    """

    winograd = False

    def forward(self, x: Tensor, *, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to conv(x) + `plus`, then through a ReLU if asked to.

        `plus` has the shape and type of the result. Neither it nor `x` is changed.
        """
        if self.winograd and fits_winograd(x):
            # NNPACK only says that it failed, for example for lack of memory.
            with contextlib.suppress(RuntimeError):
                return _finish(winograd_convolution(x, self.weight, self.bias), relu, plus)
        return self.convolve(x, self.weight, relu=relu, plus=plus)

    def convolve(
        self, x: Tensor, weight: Tensor, *, relu: bool = False, plus: Tensor | None = None
    ) -> Tensor:
        """Do the same as `forward` with other weights, without Winograd's algorithm."""
        if (relu or plus is not None) and can_fuse(x, weight):
            how = (self.padding, self.stride, self.dilation, self.groups)
            # oneDNN, too, only says that it failed.
            with contextlib.suppress(RuntimeError):
                return fused_convolution(x, weight, self.bias, how, relu=relu, plus=plus)
        x = F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return _finish(x, relu, plus)


class Layers(nn.Sequential):
    """Layers one after the other; each `Conv2d` applies the `nn.ReLU` that follows it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map features through all of them."""
        layers = [None, *self, None]
        for before, layer, after in zip(layers, layers[1:], layers[2:], strict=False):
            if isinstance(layer, Conv2d):
                x = layer(x, relu=isinstance(after, nn.ReLU))
            elif not (isinstance(before, Conv2d) and isinstance(layer, nn.ReLU)):
                x = layer(x)
        return x


def _finish(y: Tensor, relu: bool, plus: Tensor | None) -> Tensor:
    """Add and apply the ReLU in place."""
    if plus is not None:
        y += plus
    return F.relu(y, inplace=True) if relu else y


def use_winograd(network: nn.Module) -> bool:
    """Let a network's plain 3x3 convolutions use Winograd's algorithm; return whether it has any.

    It computes 6x6 pixels of the result from products of sums over 8x8 pixels, with a fifth of the
    multiplications. Rounding changes results by about 1e-5 of their range.

    References
    ----------
    .. [1] A. Lavin & S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
    .. [2] M. Dukhan, "NNPACK", https://github.com/Maratyszcza/NNPACK, which PyTorch contains.
    """
    plain = [layer for layer in network.modules() if type(layer) is Conv2d and _is_plain(layer)]
    for layer in plain:
        layer.winograd = True
        # For direct convolutions where Winograd's do not fit.
        use_channels_last(layer)
    return bool(plain)


def use_channels_last(module: nn.Module) -> None:
    """Store weights with the channels last, which direct convolutions read faster."""
    # PyTorch's type hints miss this form.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        min(layer.in_channels, layer.out_channels) >= _NARROWEST
        and layer.kernel_size == (3, 3)
        and layer.padding == layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )
