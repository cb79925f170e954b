"""Arrays of tiles as tensors, and local averages of these."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.noise.kinds import Floats


def to_tensor(images: Floats, device: torch.device) -> Tensor:
    """Return (N, h, w, C) as (N, C, h, w) on a device."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(device)


def to_array(x: Tensor) -> Floats:
    """Undo `to_tensor`."""
    return np.asarray(x.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Enlarge (B, C, H, W), interpolating linearly."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear")


def blur(x: Tensor, deviation: float) -> Tensor:
    """Blur (..., H, W) by a Gaussian; borders are mirrored."""
    # Products of matrices are faster than convolutions of many small maps.
    rows, columns = (_gaussians(length, deviation, x) for length in x.shape[-2:])
    return rows @ x @ columns.T


def _gaussians(length: int, deviation: float, like: Tensor) -> Tensor:
    """Return the matrix that blurs a column of this length."""
    radius = round(3 * deviation)
    steps = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    kernel = torch.softmax(-(steps**2) / (2 * deviation**2), dim=0)
    unit = torch.eye(length, dtype=like.dtype, device=like.device)
    padded = mirror_pad(unit, 0, 0, radius, radius)
    return F.conv2d(padded[None, None], kernel.view(1, 1, -1, 1))[0, 0]
