"""Arrays of tiles as tensors, and local averages and ramps of these."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.noise.kinds import Floats

# Longer maps are not blurred by products, since the matrices would take too much memory.
_LONGEST = 4096


def to_tensor(images: Floats, device: torch.device) -> Tensor:
    """Return (N, h, w, C) as (N, C, h, w) on a device."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(device)


def to_array(x: Tensor) -> Floats:
    """Undo `to_tensor`."""
    return np.asarray(x.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Enlarge (B, C, H, W), interpolating linearly."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear")


def ramp(values: Tensor, none: float, all_of_it: float) -> Tensor:
    """Map values linearly from 0 at `none` to 1 at `all_of_it`, and those beyond to 0 and 1."""
    return ((values - none) / (all_of_it - none)).clamp(0, 1)


def blur(x: Tensor, deviation: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian; borders are mirrored."""
    radius = round(3 * deviation)
    steps = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.softmax(-(steps**2) / (2 * deviation**2), dim=0).view(1, 1, -1, 1)

    def along_columns(maps: Tensor) -> Tensor:
        padded = mirror_pad(maps, 0, 0, radius, radius)
        return F.conv2d(padded.flatten(0, 1)[:, None], kernel).view_as(maps)

    if max(x.shape[-2:]) > _LONGEST:
        return along_columns(along_columns(x).mT.contiguous()).mT
    # Many small maps are faster by products with the matrices that blur a column and a row.
    rows, columns = (
        along_columns(torch.eye(length, dtype=x.dtype, device=x.device)[None, None])[0, 0]
        for length in x.shape[-2:]
    )
    return rows @ x @ columns.T
