"""Correct a result by that of the image at half its size, where noise reaches half as far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor

from ssbsn_cli.core.imaging.photo import Image
from ssbsn_cli.core.inference.tensors import blur, enlarge, to_array, to_tensor
from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.types import to_unit

# Local averages are taken over blocks of so many pixels of the half-size image, then blurred by
# Gaussians, whose deviations are in blocks: of energies, and of what reaches farthest.
_BLOCK, _WINDOW, _FAR = 4, 1.5, 4.0
# A network leaves less than this share of the noise's energy.
_LEFT = 1 / 5


def correct_by_half(
    noisy: Floats, denoised: Floats, denoise: Callable[[Floats], Floats], device: torch.device
) -> None:
    """Denoise images at half their size, too, and correct a result by that.

    At half size, noise reaches half as far and is weaker, so a network leaves less of it. But it
    also takes more detail for noise. So the difference of the two results is a correction with its
    finest detail smoothed, and with a weight that falls to zero where its local energy is more than
    a network leaves of the noise. What reaches farthest is left out: strong noise that is cut off
    at black brightens dark parts, which a network makes up for at full size, but cannot after
    averaging.

    Parameters
    ----------
    noisy : array
        (N, h, w, C) with white at 1.
    denoised : array
        The result so far, same shape. It is corrected in place.
    denoise : callable
        Takes and returns images of half the size.
    device : torch.device
        Where the correction is computed.

    References
    ----------
    .. [1] N. Pierazzo, J.-M. Morel & G. Facciolo, "Multi-Scale DCT Denoising", Image Processing On
       Line 7, 2017, for the coarse frequencies of one scale in the result of the next.
    """
    height, width = noisy.shape[1:3]
    sides = [-length % (2 * _BLOCK) for length in (height, width)]

    def halve(images: Floats) -> Tensor:
        x = mirror_pad(to_tensor(images, device), 0, sides[1], 0, sides[0])
        # The mean of each 2x2 pixels, faster than pooling.
        return F.interpolate(x, scale_factor=0.5, mode="bilinear")

    small = halve(noisy)
    coarse = to_tensor(denoise(to_array(small)), device)
    correction = _near(_smooth(coarse - halve(denoised)))
    left, removed = (_energy(part) for part in (correction, _near(small - coarse)))
    # Without noise, there is nothing to correct.
    share = 1 - left / (_LEFT * removed + torch.finfo(torch.float32).tiny)
    correction *= enlarge(share.clamp(min=0), _BLOCK)
    denoised += to_array(enlarge(correction, 2)[..., :height, :width])


def pyramid(image: Image, count: int) -> list[Image]:
    """Return an image at full size, at half of it, and so on, read in parts.

    Parameters
    ----------
    image : Image
        (H, W, C); integers, or floats with white at 1. Odd last rows and columns are left out.
    count : int
        How many to return, at least one.
    """
    images = [image]
    while len(images) < count:
        images.append(_Halved(images[-1]))
    return images


class _Halved:
    """An `Image` at half its size, float32 with white at 1."""

    def __init__(self, image: Image) -> None:
        height, width, channels = image.shape
        self.shape = height // 2, width // 2, channels
        self.dtype = np.dtype(np.float32)
        self._image = image

    def __getitem__(self, window: tuple[slice, slice], /) -> Floats:
        """Return some rows and columns, (h, w, C), whose starts and stops are given."""
        rows, columns = (slice(2 * part.start, 2 * part.stop) for part in window)
        pixels = to_unit(self._image[rows, columns])
        return np.asarray(reduce(pixels, "(h i) (w j) c -> h w c", "mean", i=2, j=2))


def _near(x: Tensor) -> Tensor:
    """Subtract what reaches farthest."""
    return x - enlarge(blur(F.avg_pool2d(x, _BLOCK), _FAR), _BLOCK)


def _energy(x: Tensor) -> Tensor:
    """Return the local energy of (B, C, H, W), as blocks (B, 1, h, w)."""
    return blur(F.avg_pool2d(x.square().sum(dim=1, keepdim=True), _BLOCK), _WINDOW)


def _smooth(x: Tensor) -> Tensor:
    """Filter (B, C, H, W) by 1/4, 1/2, 1/4 along both axes; borders are mirrored."""
    x = mirror_pad(x, 1, 1, 1, 1)
    x = (x[..., :-2] + x[..., 2:]) / 4 + x[..., 1:-1] / 2
    return (x[..., :-2, :] + x[..., 2:, :]) / 4 + x[..., 1:-1, :] / 2
