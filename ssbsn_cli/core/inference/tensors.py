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


def blur(x: Tensor, deviation: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian; borders are mirrored."""
    radius = round(3 * deviation)
    steps = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.softmax(-(steps**2) / (2 * deviation**2), dim=0)
    batch, channels, height, width = x.shape
    x = mirror_pad(x, radius, radius, radius, radius).flatten(0, 1)[:, None]
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return x.view(batch, channels, height, width)
