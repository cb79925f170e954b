"""The interface of networks."""

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
        Whether it never sees the pixel it predicts. Such a network can learn from noisy photos
        alone, and refinement improves its results.
    attends : bool
        Whether it uses SS-Attention.
    size_multiple : int
        Sides of images are padded to multiples of this, and tiles start at multiples of it:
        shifting an image by this much only shifts the result.
    live_features : int
        The most numbers per pixel that are in memory at once during denoising.
    """

    blind = False
    attends = False
    size_multiple: int
    live_features: int

    @property
    def bulk(self) -> nn.Module:
        """The part that takes most of the time."""
        return self

    @abstractmethod
    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        """Make the prediction that training compares with its target.

        Parameters
        ----------
        x : Tensor
            Noisy images, (B, 3, H, W); H and W are multiples of `stride`.
        stride : int, optional
            PD stride, for networks that use PD; by default that of `denoise`.

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
        """Denoise, then refine. Only blind-spot networks take more than `x`.

        Parameters
        ----------
        x : Tensor
            Noisy images, (B, 3, H, W), of any size.
        refine : {"r3", "stratified", "once", "none"}
            R3, R3 with stratified masks, one full-resolution pass over the first result, or none.
        passes : int, optional
            Passes of R3; if not given, the network's own number, or half of it if stratified.
        generator : torch.Generator, optional
            CPU generator of the masks of R3; seeded with 0 if not given.

        Returns
        -------
        Tensor
            (B, 3, H, W), not clipped.
        """

    def count_passes(self, _refine: RefineKind, _passes: int | None = None) -> int:
        """Return how often `denoise` runs the bulk."""
        return 1

    def use_attention(self, _kind: AttentionKind) -> None:
        """Choose the form of SS-Attention, if the network attends."""

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw the weights that training begins with: He-normal kernels and zero biases.

        With PyTorch's defaults, every convolution and ReLU shrinks the signal. Matrices, which
        attention uses, are drawn as in [2]_. Other parameters, such as scales, keep the values
        that their layers give them.

        Raises
        ------
        ValueError
            If the network is too small to learn.

        References
        ----------
        .. [1] He et al., "Delving Deep into Rectifiers", ICCV 2015.
        .. [2] Glorot & Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural
           Networks", AISTATS 2010.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter, gain=2**0.5, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def use_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of most of the arithmetic. Images may stay float32."""
        self.to(dtype)
