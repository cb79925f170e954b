"""The blind-spot network: no output pixel depends on the input pixel in its place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssbsn_cli.core.fused import Layers
from ssbsn_cli.core.kinds import BlockKind
from ssbsn_cli.core.model.blocks import CentralMaskedConv2d, WideConv2d, entering, make_block

# Layers of a branch before its blocks.
_FIRST = 6


class BlindSpotBranch(nn.Module):
    """A masked convolution followed by layers that only mix pixels `stride` apart.

    The masked kernel covers 2 * stride - 1 pixels, so the features of pixels `stride` apart know
    nothing of the pixel in between, and mixing them keeps it unseen.

    Parameters
    ----------
    channels : int
        Width C.
    stride : int
        Dilation s of all 3x3 convolutions behind the masked one.
    blocks : sequence of {"light", "plain", "ss"}
        Kinds of the residual blocks, in order.
    f_scale : int
        See `SSBlock`.
    """

    def __init__(
        self, channels: int, stride: int, blocks: Sequence[BlockKind], f_scale: int
    ) -> None:
        super().__init__()
        self.depth = len(blocks)
        self.body = Layers(
            CentralMaskedConv2d(channels, 2 * stride - 1),
            nn.ReLU(inplace=True),
            WideConv2d(channels, channels),
            nn.ReLU(inplace=True),
            WideConv2d(channels, channels),
            nn.ReLU(inplace=True),
            *(make_block(kind, channels, stride, f_scale) for kind in blocks),
            WideConv2d(channels, channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        blocks = list(self.body)[_FIRST : _FIRST + self.depth]
        x = self.body[:_FIRST](x)
        # x + block(x), block by block, as one sum beside x: in half precision, x itself would lose
        # its last bits to each addition.
        narrow = entering(x, blocks[0])
        added = blocks[0](narrow)
        for block in blocks[1:]:
            added = block(narrow + added, added)
        # Of one type first: the sum of two types takes several times as long.
        out: Tensor = self.body[_FIRST + self.depth :](x + added.to(x.dtype))
        return out


class BlindSpotNetwork(nn.Module):
    """Two blind-spot branches, of stride 2 and 3, between a 1x1 head and a 1x1 tail.

    Parameters
    ----------
    channels : int
        Width C, even. The papers use 128.
    blocks : sequence of {"light", "plain", "ss"}
        Kinds of the residual blocks of each branch. AP-BSN: nine light ones. SS-BSN: six plain
        ones and three with SS-Attention.
    f_scale : int
        See `SSBlock`.
    image_channels : int
        Channels of the image.

    References
    ----------
    .. [1] Han & Yu, "SS-BSN", IJCAI 2023, section 3.3 and figure 2.
    .. [2] Lee, Son & Lee, "AP-BSN", CVPR 2022, supplement.
    """

    def __init__(
        self,
        channels: int,
        blocks: Sequence[BlockKind],
        f_scale: int = 2,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.head = Layers(WideConv2d(image_channels, channels), nn.ReLU(inplace=True))
        self.branch1 = BlindSpotBranch(channels, 2, blocks, f_scale)
        self.branch2 = BlindSpotBranch(channels, 3, blocks, f_scale)
        self.tail = Layers(
            WideConv2d(2 * channels, channels),
            nn.ReLU(inplace=True),
            WideConv2d(channels, half),
            nn.ReLU(inplace=True),
            WideConv2d(half, half),
            nn.ReLU(inplace=True),
            WideConv2d(half, image_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Predict each pixel of (B, 3, H, W) from the others.

        The result has the precision of the input, whatever that of the weights.
        """
        features = self.head(x)
        features = torch.cat([self.branch1(features), self.branch2(features)], dim=1)
        out: Tensor = self.tail(features).to(x.dtype)
        return out
