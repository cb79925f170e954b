"""The building blocks of the blind-spot networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssbsn_cli.core.model.attention import self_similarity
from ssbsn_cli.core.runtime.convolution import Conv2d
from ssbsn_cli.core.types import AttentionKind, BlockKind

COLORS = 3
# The last convolution of a block is scaled by this before training.
LAST_SCALE = 0.1


class WideConv2d(Conv2d):
    """A 1x1 convolution that never runs in half precision.

    The image itself passes through these layers. Rounding it to bf16 would let brightness drift.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor, *, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype), relu=relu, plus=plus)


def cast_for(x: Tensor, layer: nn.Module) -> Tensor:
    """Convert features to the precision that a layer computes in."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return x.to(next(layer.parameters()).dtype)


class CentralMaskedConv2d(Conv2d):
    """A convolution that never sees the pixel it predicts: its centre tap is always zero.

    This makes the network blind. Later layers must not bring a pixel back into its own features;
    `BlindSpotBranch` explains how they avoid it. The kernel size is odd.

    References
    ----------
    .. [1] Han & Yu, "SS-BSN", IJCAI 2023, section 3.3; Wu et al., "Unpaired Learning of Deep
       Image Denoising", ECCV 2020.
    """

    mask: Tensor

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2)
        mask = torch.ones(1, 1, kernel_size, kernel_size)
        mask[..., kernel_size // 2, kernel_size // 2] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, *, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """Convolve (B, C, H, W) features with the masked kernel, keeping their size."""
        kernel = self.weight * self.mask
        narrow = cast_for(x, self)
        if narrow.dtype != x.dtype:
            # Rounding errors have the same sign all over a flat area, which would change its
            # brightness by up to a tenth of a grey level. So they go through the same kernel.
            narrow = torch.cat([narrow, cast_for(x - narrow.to(x.dtype), self)], dim=1)
            kernel = torch.cat([kernel, kernel], dim=1)
        return self.convolve(narrow, kernel, relu=relu, plus=plus)


class LightBlock(nn.Module):
    """AP-BSN's block without its skip: conv1x1(relu(conv3x3(x))), where the 3x3 is dilated."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Conv2d(channels, channels, 3, padding=stride, dilation=stride),
            nn.ReLU(inplace=True),
            Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape, and add `plus`."""
        out: Tensor = self.body[2](self.body[0](x, relu=True), plus=plus)
        return out


class PlainBlock(nn.Module):
    """SS-BSN's block without attention and skip: ff(x), with two dilated 3x3 convolutions."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels, 3, padding=stride, dilation=stride)
        self.conv2 = Conv2d(channels, channels, 3, padding=stride, dilation=stride)
        self.conv3 = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """conv1x1(relu(conv3x3(relu(conv3x3(x))))) + `plus` on (B, C, H, W)."""
        x = self.conv1(x, relu=True)
        x = self.conv2(x, relu=True)
        out: Tensor = self.conv3(x, plus=plus)
        return out


class SSBlock(PlainBlock):
    """SS-BSN's block with attention, without its skip: ff(x + attention(x)).

    Its tokens are as wide as its features, and the pixels of a sub-lattice are
    ``f_scale * stride`` apart.

    References
    ----------
    .. [1] Han & Yu, "SS-BSN", IJCAI 2023, section 3.2 and figure 3.
    """

    def __init__(self, channels: int, stride: int, f_scale: int) -> None:
        super().__init__(channels, stride)
        self.wqk = nn.Parameter(torch.empty(channels, channels))
        nn.init.xavier_uniform_(self.wqk, gain=2**0.5)
        self.grid = f_scale * stride
        self.attention: AttentionKind = "linear"

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape, and add `plus`."""
        x = x + self_similarity(x, self.wqk, self.grid, self.attention)
        return super().forward(x, plus)


@torch.no_grad()
def lead_colors_through(layer: nn.Module, branches: int = 1) -> None:
    """Let the first three features carry the colours unchanged through a layer.

    A convolution averages them around each pixel and over all branches. A block adds nothing to
    them, and little to the other features.
    """
    if isinstance(layer, PlainBlock | LightBlock):
        end = layer.conv3 if isinstance(layer, PlainBlock) else layer.body[-1]
        assert isinstance(end, nn.Conv2d)
        end.weight.mul_(LAST_SCALE)
        end.weight[:COLORS] = 0
    elif isinstance(layer, nn.Conv2d):
        taps = layer.weight.shape[2] * layer.weight.shape[3]
        # The centre tap of masked convolutions is zero.
        terms = branches * max(taps - 1, 1)
        layer.weight[:COLORS] = 0
        for color in range(COLORS):
            layer.weight[color, color :: layer.in_channels // branches] = 1 / terms


def make_block(kind: BlockKind, channels: int, stride: int, f_scale: int) -> nn.Module:
    """Make AP-BSN's block "light", or SS-BSN's "plain" or "ss", for a branch of this stride."""
    if kind == "light":
        return LightBlock(channels, stride)
    if kind == "plain":
        return PlainBlock(channels, stride)
    return SSBlock(channels, stride, f_scale)
