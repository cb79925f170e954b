"""Better results from several passes: R3, one pass at full resolution, and the eight views."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssbsn_cli.core.model.pd import mirror_pad


def refine_once(network: Callable[[Tensor], Tensor], y0: Tensor, pad: int) -> Tensor:
    """Run a blind-spot network over its own PD result (B, C, H, W), at full resolution.

    It sees a mirrored border of `pad` pixels, which is cropped again.
    """
    height, width = y0.shape[-2:]
    return network(mirror_pad(y0, pad, pad, pad, pad))[..., pad : pad + height, pad : pad + width]


def random_replacing_refinement(
    network: Callable[[Tensor], Tensor],
    y0: Tensor,
    x: Tensor,
    *,
    pad: int,
    passes: int,
    probability: float,
    generator: torch.Generator,
    stratified: bool = False,
) -> Tensor:
    """R3: average passes over the PD result with random elements replaced by noisy ones.

    Parameters
    ----------
    network : callable
        The blind-spot network, (B, C, H, W) to the same shape.
    y0 : Tensor
        Result of the PD pass, (B, C, H, W).
    x : Tensor
        The noisy image, (B, C, H, W).
    pad : int
        See `refine_once`.
    passes : int
        Number of passes T.
    probability : float
        Probability p that an element (one channel of one pixel) is replaced.
    generator : torch.Generator
        Source of the masks, on the CPU. All images of a batch get the same masks, on every device,
        so no result depends on other images.
    stratified : bool
        Whether each element is replaced equally often over the passes. Each single mask is just as
        random, so the expected result is the same, but its variance is lower.

    Returns
    -------
    Tensor
        (B, C, H, W).

    References
    ----------
    .. [1] Lee, Son & Lee, "AP-BSN", CVPR 2022, section 3.4. https://arxiv.org/abs/2203.11799
    .. [2] W. G. Cochran, "Sampling Techniques", 1977, chapter 8, for systematic sampling.
    """
    total = torch.zeros_like(y0)
    for each in range(passes):
        if each == 0 or not stratified:
            places = torch.rand(x.shape[1:], generator=generator)
        else:
            places = (places + probability) % 1
        replaced = (places < probability).to(x.device)
        total += refine_once(network, torch.where(replaced, x, y0), pad)
    return total / passes


def eightfold(denoise: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """Denoise the eight flips and rotations of images, and average the results.

    `denoise` takes a view of `x` (N, C, H, W) and its number, 0 to 7; it keeps the shape.

    References
    ----------
    .. [1] R. Timofte et al., "Seven Ways to Improve Example-Based Single Image Super Resolution",
       CVPR 2016, section 3.6.
    """
    total = torch.zeros_like(x)
    for k in range(8):
        total += _turn_back(denoise(_turn(x, k), k), k)
    return total / 8


def _turn(x: Tensor, k: int) -> Tensor:
    turned = torch.rot90(x, k % 4, dims=(-2, -1))
    return turned.flip(-1) if k >= 4 else turned


def _turn_back(x: Tensor, k: int) -> Tensor:
    return torch.rot90(x.flip(-1) if k >= 4 else x, -(k % 4), dims=(-2, -1))
