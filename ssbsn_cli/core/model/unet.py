"""The small U-Net of the default weights: it sees every pixel and predicts the noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbsn_cli.core.model.blocks import LAST_SCALE
from ssbsn_cli.core.model.descriptor import Architecture, register
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.runtime.convolution import Conv2d

_FOLD = 2


class ResidualBlock(nn.Module):
    """x + conv3x3(relu(conv3x3(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.conv2(self.conv1(x, relu=True), plus=x)
        return out


class UNet(Network):
    """A U-Net of plain residual blocks without any global statistics.

    The image is folded to half its size (pixel-unshuffle) before the first layer, each level
    halves it again, and skips are added. Nothing is averaged over the image: a pixel's result
    depends on its surroundings alone, so tiles disagree at their edges only.

    Parameters
    ----------
    widths : sequence of int
        Channels of each level, the finest first.
    depths : sequence of int
        Residual blocks of each level, in encoder and decoder. The coarsest level has them once.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015.
    .. [2] Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior" (DRUNet), TPAMI
       2021, for residual blocks without normalisation, and strided convolutions between levels.
    .. [3] Shi et al., "Real-Time Single Image Super-Resolution", CVPR 2016, for pixel-shuffle.
    """

    def __init__(
        self, widths: Sequence[int] = (64, 96, 128), depths: Sequence[int] = (2, 2, 4)
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1:
            raise ValueError(
                f"widths and depths must be positive and equally many, not {widths}, {depths}"
            )
        folded = 3 * _FOLD**2
        finer = list(pairwise(widths))
        self.size_multiple = _FOLD * 2 ** len(finer)
        # Three maps of the finest level, the skips, and as much again for copies that convolutions
        # make.
        self.live_features = 12 * widths[0] // _FOLD**2
        self.head = Conv2d(folded, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(*level) for level in zip(widths, depths, strict=True))
        self.down = nn.ModuleList(Conv2d(fine, coarse, 2, stride=2) for fine, coarse in finer)
        self.up = nn.ModuleList(Conv2d(coarse, 4 * fine, 1) for fine, coarse in finer)
        self.decoder = nn.ModuleList(
            _blocks(*level) for level in zip(widths[:-1], depths[:-1], strict=True)
        )
        self.tail = Conv2d(widths[0], folded, 3, padding=1)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw initial weights that leave images unchanged."""
        super().initialise(seed)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.mul_(LAST_SCALE)
        self.tail.weight.zero_()

    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        """Denoise (B, 3, H, W), whose H and W are multiples of `size_multiple`."""
        features = self.head(F.pixel_unshuffle(x.to(self.head.weight.dtype), _FOLD))
        skips = []
        for blocks, down in zip(self.encoder, [*self.down, None], strict=True):
            features = blocks(features)
            if down is not None:
                skips.append(features)
                features = down(features)
        for blocks, up in reversed(list(zip(self.decoder, self.up, strict=True))):
            features = blocks(F.pixel_shuffle(up(features), 2) + skips.pop())
        noise = F.pixel_shuffle(self.tail(features), _FOLD)
        # In the precision of the input, so that the image keeps its last bits.
        return x - noise.to(x.dtype)

    def denoise(self, x: Tensor, **_: object) -> Tensor:
        """Denoise (B, 3, H, W) of any size."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, 0, -width % self.size_multiple, 0, -height % self.size_multiple)
        y: Tensor = self(x)
        return y[..., :height, :width]


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))


register(Architecture(name="unet", title="U-Net", build=UNet, best_tile=512, tile_per_core=True))
