"""Plain 3x3 convolutions by Winograd's algorithm, on CPUs where that is faster."""

from __future__ import annotations

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbsn_cli.core.fused import Conv2d, finish
from ssbsn_cli.core.inference.device import best_seconds

# Below so many pixels, transforming the kernels takes longer than what they save.
_FEWEST = 32 * 32
# With fewer channels, transforming the features does.
_NARROWEST = 32


class WinogradConv2d(Conv2d):
    """A 3x3 convolution in float32 on a core of a CPU, with a fifth of the multiplications.

    What is multiplied are sums over 8x8 pixels, from which 6x6 of the result follow. Their
    rounding changes results by about 1e-5 of their range.

    References
    ----------
    .. [1] A. Lavin & S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
    .. [2] M. Dukhan, "NNPACK", https://github.com/Maratyszcza/NNPACK, which PyTorch contains.
    """

    def forward(self, x: Tensor, *, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to the same size."""
        # On several cores, NNPACK's threads and those of PyTorch would wait for each other. Of
        # several images at once, it makes another, slower kind of convolution.
        if torch.get_num_threads() > 1 or len(x) > 1 or x.shape[-2] * x.shape[-1] < _FEWEST:
            return super().forward(x, relu=relu, plus=plus)
        try:
            return finish(_convolve(x, self.weight, self.bias), relu=relu, plus=plus)
        except RuntimeError:
            # All it says is that it failed; where memory is short, for example.
            return super().forward(x, relu=relu, plus=plus)


def use_winograd(network: nn.Module) -> bool:
    """Let a network's plain 3x3 convolutions run so, in place, and tell whether it has any."""
    plain = [layer for layer in network.modules() if type(layer) is Conv2d and _is_plain(layer)]
    for layer in plain:
        layer.__class__ = WinogradConv2d
        # For when they run the usual way after all. PyTorch's type hints do not know this form.
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return bool(plain)


@functools.cache
def winograd_pays() -> bool:
    """Time a convolution both ways: CPUs with wide vectors are faster the plain way."""
    with warnings.catch_warnings():
        # That NNPACK does not know a CPU is no news to the user.
        warnings.simplefilter("ignore")
        # PyTorch has no type hints for it.
        if not torch.backends.nnpack.is_available():  # type: ignore[no-untyped-call]
            return False
    x, weight = torch.ones(1, 96, 48, 48), torch.ones(96, 96, 3, 3)
    last, last_weight = (of.to(memory_format=torch.channels_last) for of in (x, weight))
    winograd, plain = best_seconds(
        lambda: _convolve(x, weight, None), lambda: F.conv2d(last, last_weight, padding=1)
    )
    # The margin keeps a noisy timing from flipping the choice where there is little to gain.
    return winograd < 0.85 * plain


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch._nnpack_spatial_convolution(x, weight, bias, 1, 1)


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        min(layer.in_channels, layer.out_channels) >= _NARROWEST
        and layer.kernel_size == (3, 3)
        and layer.padding == layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )
