"""Pixel-shuffle downsampling (PD): break the spatial correlation of real noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def pd_down(x: Tensor, stride: int, pad: int = 0) -> Tensor:
    """Lay out the ``stride**2`` sub-images of an image as a mosaic.

    Neighbouring pixels of a sub-image are ``stride`` pixels apart in the image, so noise that
    is correlated over fewer pixels is independent in the mosaic.

    Parameters
    ----------
    x : Tensor
        Images, (B, C, H, W); H and W are multiples of `stride`.
    stride : int
        The PD stride f; 1 leaves the image whole and only pads it.
    pad : int
        Zeros added on each side of each sub-image, so that a network's filters do not mix
        neighbouring sub-images.

    Returns
    -------
    Tensor
        (B, C, H + 2 * stride * pad, W + 2 * stride * pad).

    References
    ----------
    .. [1] Lee, Son & Lee, "AP-BSN", CVPR 2022, section 3.2. https://arxiv.org/abs/2203.11799
    """
    sub = rearrange(x, "b c (h i) (w j) -> b c i j h w", i=stride, j=stride)
    return rearrange(F.pad(sub, (pad,) * 4), "b c i j h w -> b c (i h) (j w)")


def pd_up(mosaic: Tensor, stride: int, pad: int = 0) -> Tensor:
    """Undo `pd_down` with the same `stride` and `pad`: crop the pads, interleave the sub-images."""
    sub = rearrange(mosaic, "b c (i h) (j w) -> b c i j h w", i=stride, j=stride)
    height, width = sub.shape[-2:]
    sub = sub[..., pad : height - pad, pad : width - pad]
    return rearrange(sub, "b c i j h w -> b c (h i) (w j)")


def mirror_pad(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad by reflection about the border pixels, however small the image.

    `torch.nn.functional.pad` refuses a pad that is not smaller than the image. This function
    reflects as often as needed, so it can pad even a single pixel.

    Parameters
    ----------
    x : Tensor
        (..., H, W).
    left, right, top, bottom : int
        Pixels to add on each side, 0 or more.

    Returns
    -------
    Tensor
        (..., top + H + bottom, left + W + right).
    """
    if not any((left, right, top, bottom)):
        return x
    height, width = x.shape[-2:]
    if x.ndim == 4 and max(left, right) < width and max(top, bottom) < height:
        return F.pad(x, (left, right, top, bottom), mode="reflect")
    x = x.index_select(-2, _mirror_index(-top, height + bottom, height, x.device))
    return x.index_select(-1, _mirror_index(-left, width + right, width, x.device))


def _mirror_index(start: int, stop: int, size: int, device: torch.device) -> Tensor:
    period = max(2 * (size - 1), 1)
    index = torch.arange(start, stop, device=device).remainder(period)
    return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)
