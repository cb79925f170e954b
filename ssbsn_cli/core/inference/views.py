"""The eight views of an image: its flips and rotations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def eightfold(denoise: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """Denoise the eight flips and rotations of images, and average what they give.

    Parameters
    ----------
    denoise : callable
        Takes a view of `x` and its number, 0 to 7; returns images of the same shape.
    x : Tensor
        (N, C, H, W).

    Returns
    -------
    Tensor
        (N, C, H, W).

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
