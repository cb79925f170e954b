"""Convolutions that do what follows them in the same go, on CPUs where that is faster."""

from __future__ import annotations

import contextlib
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """A convolution with what follows it.

    In bf16, a CPU takes as long to read and write features once more, for a ReLU or a sum, as for
    a third of a 3x3 convolution. oneDNN, which computes PyTorch's convolutions, can do both before
    it writes; PyTorch itself asks it to in what `torch.compile` makes. In float32 there is nothing
    to gain, but no loss either.

    References
    ----------
    .. [1] "Primitive attributes: post-ops", the documentation of oneDNN.
    """

    def forward(self, x: Tensor, *, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to conv(x) + `plus`, then through a ReLU if asked to.

        `plus` has the shape and type of the result. Neither it nor `x` is changed.
        """
        return self.convolve(x, self.weight, relu=relu, plus=plus)

    def convolve(
        self, x: Tensor, weight: Tensor, *, relu: bool = False, plus: Tensor | None = None
    ) -> Tensor:
        """Do the same with other weights."""
        if (relu or plus is not None) and _can_fuse(x, weight):
            # All that oneDNN says is that it failed: memory is short, or, with some releases, a
            # side is one pixel.
            with contextlib.suppress(RuntimeError):
                return self._fused(x, weight, relu, plus)
        return finish(self._conv_forward(x, weight, self.bias), relu=relu, plus=plus)

    def _fused(self, x: Tensor, weight: Tensor, relu: bool, plus: Tensor | None) -> Tensor:
        how = (self.padding, self.stride, self.dilation, self.groups)
        convolution = torch.ops.mkldnn._convolution_pointwise
        out: Tensor
        if plus is None:
            out = convolution(x, weight, self.bias, *how, "relu", [], "")
        else:
            after = "relu" if relu else None
            out = convolution.binary(x, plus, weight, self.bias, *how, "add", 1.0, after, [], None)
        return out


class Layers(nn.Sequential):
    """Layers one after the other, each `nn.ReLU` in one go with the `Conv2d` before it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map features through all of them."""
        layers = [None, *self, None]
        for before, layer, after in zip(layers, layers[1:], layers[2:], strict=False):
            if isinstance(layer, Conv2d):
                x = layer(x, relu=isinstance(after, nn.ReLU))
            elif not (isinstance(before, Conv2d) and isinstance(layer, nn.ReLU)):
                x = layer(x)
        return x


def finish(y: Tensor, *, relu: bool, plus: Tensor | None) -> Tensor:
    """Do what follows a convolution, in place."""
    if plus is not None:
        y += plus
    return F.relu(y, inplace=True) if relu else y


def _can_fuse(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        # Training cannot do it, and whatever reads the network should see what it is made of.
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and _is_offered()
    )


@functools.cache
def _is_offered() -> bool:
    # PyTorch has these for its compiler alone: a release may do without.
    needed = ("_convolution_pointwise", "_is_mkldnn_bf16_supported")
    return all(hasattr(torch.ops.mkldnn, name) for name in needed) and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
