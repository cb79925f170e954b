"""SS-BSN: a blind-spot network behind asymmetric PD. AP-BSN is the same with lighter blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ssbsn_cli.core.model.blocks import (
    COLORS,
    LAST_SCALE,
    CentralMaskedConv2d,
    LightBlock,
    PlainBlock,
    SSBlock,
    WideConv2d,
    cast_for,
    lead_colors_through,
    make_block,
)
from ssbsn_cli.core.model.descriptor import Architecture, register
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.pd import mirror_pad, pd_down, pd_up
from ssbsn_cli.core.model.refine import random_replacing_refinement, refine_once
from ssbsn_cli.core.runtime.convolution import Layers
from ssbsn_cli.core.types import AttentionKind, BlockKind, RefineKind


class BlindSpotBranch(nn.Module):
    """A masked convolution followed by layers that only mix pixels `stride` apart.

    The masked kernel covers 2 * stride - 1 pixels, so features `stride` pixels away from a pixel
    know nothing of it, and mixing them keeps it unseen. The 3x3 convolutions of the blocks are
    dilated by `stride`. See `BlindSpotNetwork` for the other parameters.
    """

    def __init__(
        self, channels: int, stride: int, blocks: Sequence[BlockKind], f_scale: int
    ) -> None:
        super().__init__()
        entrance = (
            CentralMaskedConv2d(channels, 2 * stride - 1),
            nn.ReLU(inplace=True),
            WideConv2d(channels, channels),
            nn.ReLU(inplace=True),
            WideConv2d(channels, channels),
            nn.ReLU(inplace=True),
        )
        residual = [make_block(kind, channels, stride, f_scale) for kind in blocks]
        out = (WideConv2d(channels, channels), nn.ReLU(inplace=True))
        # One sequence, so that weights have the same names as the authors'.
        self.body = Layers(*entrance, *residual, *out)
        self.first = len(entrance)
        self.end = self.first + len(residual)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        x = self.body[: self.first](x)
        # x + block(x), block by block. The residuals are summed separately: in half precision, x
        # would lose its last bits in each addition.
        first, *others = list(self.body)[self.first : self.end]
        narrow = cast_for(x, first)
        added = first(narrow)
        for block in others:
            added = block(narrow + added, added)
        # Adding different types would take several times as long.
        out: Tensor = self.body[self.end :](x + added.to(x.dtype))
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
        Spacing of the sub-lattices of SS-Attention, in units of the branch's stride.

    References
    ----------
    .. [1] Han & Yu, "SS-BSN", IJCAI 2023, section 3.3 and figure 2.
    .. [2] Lee, Son & Lee, "AP-BSN", CVPR 2022, supplement.
    """

    def __init__(self, channels: int, blocks: Sequence[BlockKind], f_scale: int) -> None:
        super().__init__()
        half = channels // 2
        self.head = Layers(WideConv2d(3, channels), nn.ReLU(inplace=True))
        self.branch1 = BlindSpotBranch(channels, 2, blocks, f_scale)
        self.branch2 = BlindSpotBranch(channels, 3, blocks, f_scale)
        self.tail = Layers(
            WideConv2d(2 * channels, channels),
            nn.ReLU(inplace=True),
            WideConv2d(channels, half),
            nn.ReLU(inplace=True),
            WideConv2d(half, half),
            nn.ReLU(inplace=True),
            WideConv2d(half, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Predict each pixel of (B, 3, H, W) from the others, in the precision of the input."""
        features = self.head(x)
        features = torch.cat([self.branch1(features), self.branch2(features)], dim=1)
        out: Tensor = self.tail(features).to(x.dtype)
        return out


class SSBSN(Network):
    """A blind-spot network that trains on coarse PD mosaics and denoises finer ones.

    Parameters
    ----------
    channels, blocks, f_scale
        See `BlindSpotNetwork`.
    pd_b : int
        PD stride of `denoise`.
    pd_pad : int
        Pad of each sub-image of the mosaic, and of the whole image in refinement.
    r3_passes : int
        Passes T of R3.
    r3_probability : float
        Replacement probability p of R3.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] Han & Yu, "SS-BSN", IJCAI 2023. https://arxiv.org/abs/2305.09890
    .. [2] Lee, Son & Lee, "AP-BSN", CVPR 2022. https://arxiv.org/abs/2203.11799
    """

    blind = True

    def __init__(
        self,
        channels: int = 128,
        blocks: Sequence[BlockKind] = ("plain",) * 6 + ("ss",) * 3,
        f_scale: int = 2,
        pd_b: int = 2,
        pd_pad: int = 2,
        r3_passes: int = 8,
        r3_probability: float = 0.16,
    ) -> None:
        super().__init__()
        if channels < 2 or channels % 2:
            raise ValueError(f"channels must be even and positive, not {channels}")
        if not blocks or not set(blocks) <= set(get_args(BlockKind)):
            raise ValueError(
                f"blocks must be some of {', '.join(get_args(BlockKind))}, not {blocks}"
            )
        if min(f_scale, pd_b, r3_passes) < 1 or pd_pad < 0 or not 0 <= r3_probability <= 1:
            raise ValueError("strides and passes must be positive, the probability within 0..1")
        self.bsn = BlindSpotNetwork(channels, blocks, f_scale)
        self.size_multiple = pd_b
        # The maps within SS-Attention, from the measured peak of memory, rounded up.
        self.live_features = 24 * channels
        self.attends = "ss" in blocks
        self.pd_b = pd_b
        self.pd_pad = pd_pad
        self.r3_passes = r3_passes
        self.r3_probability = r3_probability

    @property
    def bulk(self) -> nn.Module:
        """The blind-spot network, which PD and refinement call."""
        return self.bsn

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw initial weights that predict the mean of a pixel's surroundings.

        With He-normal weights alone, a blind-spot network predicts a constant for hundreds of
        steps. With small last layers [1]_ and a path for the colours [2]_, which it would learn
        last, it learns at once.

        References
        ----------
        .. [1] Zhang, Dauphin & Ma, "Fixup Initialization", ICLR 2019.
        .. [2] Zagoruyko & Komodakis, "DiracNets", 2017, for layers that start as the identity.
        """
        bsn = self.bsn
        first, last = bsn.tail[0], bsn.tail[-1]
        assert isinstance(last, nn.Conv2d)
        if last.in_channels < COLORS:
            raise ValueError("colours cannot pass through so few channels")
        super().initialise(seed)
        others = LAST_SCALE * last.weight[:, COLORS:]
        for layer in (*bsn.head, *bsn.branch1.body, *bsn.branch2.body, *bsn.tail):
            lead_colors_through(layer, branches=2 if layer is first else 1)
        last.weight[:, COLORS:] = others

    def use_attention(self, kind: AttentionKind) -> None:
        """Choose linear or exact SS-Attention, which share their weights, for all blocks."""
        for module in self.modules():
            if isinstance(module, SSBlock):
                module.attention = kind

    def use_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the blocks and the masked convolutions.

        They do 98 % of the multiplications. The blocks' sums and the `WideConv2d` stay float32.
        """
        self.float()
        for module in self.modules():
            if isinstance(module, CentralMaskedConv2d | LightBlock | PlainBlock):
                module.to(dtype)

    def count_passes(self, refine: RefineKind, passes: int | None = None) -> int:
        """Return how often `denoise` runs the blind-spot network."""
        if refine in ("none", "once"):
            return 1 if refine == "none" else 2
        return 1 + (passes or max(self.r3_passes // (2 if refine == "stratified" else 1), 1))

    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        """Denoise (B, 3, H, W) through PD of `stride`, by default `pd_b`, without refinement."""
        stride = self.pd_b if stride is None else stride
        return pd_up(self.bsn(pd_down(x, stride, self.pd_pad)), stride, self.pd_pad)

    def denoise(
        self,
        x: Tensor,
        *,
        refine: RefineKind = "none",
        passes: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Denoise through PD of stride `pd_b`, then refine; see `Network.denoise`.

        By default, R3 takes `r3_passes` passes, or half as many if it is stratified.
        """
        height, width = x.shape[-2:]
        x = mirror_pad(x, 0, -width % self.pd_b, 0, -height % self.pd_b)
        y: Tensor = self(x)
        if refine == "once":
            y = refine_once(self.bsn, y, self.pd_pad)
        elif refine != "none":
            y = random_replacing_refinement(
                self.bsn,
                y,
                x,
                pad=self.pd_pad,
                passes=self.count_passes(refine, passes) - 1,
                probability=self.r3_probability,
                generator=generator or torch.Generator().manual_seed(0),
                stratified=refine == "stratified",
            )
        return y[..., :height, :width]


def _detect(name: str, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Read hyper-parameters from weights that are named as in the authors' checkpoints.

    Weights do not show PD strides, R3 and the spacing of the lattices; the papers' are assumed.
    """
    head = state.get("bsn.head.0.weight")
    pattern = re.compile(r"bsn\.branch1\.body\.(\d+)\.(conv1|body\.0)\.weight")
    indices = sorted(int(match[1]) for key in state if (match := pattern.fullmatch(key)))
    if head is None or head.ndim != 4 or head.shape[1] != 3 or not indices:
        return None

    def kind(index: int) -> BlockKind:
        block = f"bsn.branch1.body.{index}"
        if f"{block}.wqk" in state:
            return "ss"
        return "plain" if f"{block}.conv1.weight" in state else "light"

    blocks = [kind(index) for index in indices]
    if name != ("apbsn" if set(blocks) == {"light"} else "ssbsn"):
        return None
    return {"parameters": {"channels": head.shape[0], "blocks": blocks}, "value_range": 255.0}


for _name, _title in (("ssbsn", "SS-BSN"), ("apbsn", "AP-BSN")):
    register(
        Architecture(
            name=_name,
            title=_title,
            build=SSBSN,
            detect=partial(_detect, _name),
            # The tile of the papers. The features of larger tiles, or of several at once, do not
            # fit into a CPU's caches, and the quality is no better.
            best_tile=256,
            tile_per_core=False,
        )
    )
