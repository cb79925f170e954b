"""What every network here can do, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ssbsn_cli.core.types import AttentionKind, RefineKind


class Network(nn.Module, ABC):
    """A denoiser of float images in [0, 1].

    Attributes
    ----------
    blind : bool
        Whether it never sees the pixel it predicts, so that it can learn from noisy photographs
        alone.
    size_multiple : int
        Tiles start at multiples of this, so that what depends on a pixel's place agrees between
        them.
    best_tile : int
        Side in pixels of the tiles it runs on best, memory allowing.
    tile_per_core : bool
        Whether a CPU with several cores is best given a tile for each, not one for all.
    live_features : int
        Numbers per pixel that are alive at once while it denoises, at worst.
    """

    blind: bool
    size_multiple: int
    best_tile: int
    tile_per_core: bool
    live_features: int

    @property
    def bulk(self) -> nn.Module:
        """The part that most of the time goes into."""
        return self

    def count_passes(self, refine: RefineKind, passes: int | None = None) -> int:
        """Return how often `denoise` goes through the bulk."""
        return 1

    @abstractmethod
    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        """Make the prediction that training compares with its target.

        Parameters
        ----------
        x : Tensor
            Noisy images, (B, 3, H, W); H and W are multiples of `stride`.
        stride : int, optional
            PD stride, for networks that look through PD.

        Returns
        -------
        Tensor
            (B, 3, H, W), not clipped.
        """

    @abstractmethod
    def denoise(
        self,
        x: Tensor,
        *,
        refine: RefineKind = "none",
        passes: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Denoise for keeps.

        Parameters
        ----------
        x : Tensor
            Noisy images, (B, 3, H, W), of any size.
        refine : {"r3", "stratified", "once", "none"}
            Refinement, for networks that have one.
        passes : int, optional
            Passes of R3.
        generator : torch.Generator, optional
            CPU generator of the masks of R3.

        Returns
        -------
        Tensor
            (B, 3, H, W), not clipped.
        """

    def use_attention(self, kind: AttentionKind) -> None:
        """Choose the form of attention, where there is any."""

    def use_dtype(self, dtype: torch.dtype) -> None:
        """Choose what the bulk of the arithmetic is done in. Images may stay float32."""
        self.to(dtype)
