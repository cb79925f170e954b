"""Find points of light in a result, such as stars, which later steps would dim."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.inference.tensors import blur, enlarge, to_array, to_tensor
from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.noise.kinds import Floats

# Local means are taken over blocks of so many pixels, then blurred by Gaussians, whose deviations
# are in blocks: of the image, and of the energy of its detail.
_BLOCK, _NEAR, _AROUND = 4, 1.5, 3.5
# Half of what is so many times as large as the local root mean square is a peak.
_RATIO = 5.0


def find_peaks(denoised: Floats, device: torch.device) -> Floats:
    """Return what stands out from its surroundings at single places.

    The steps after the network compare energies of neighbourhoods. A star is a small part of these,
    and is dimmed like noise, while the noise around it is kept like the star's detail. So they work
    on images without it. Texture and long edges fill more of their surroundings, so they stay.

    Parameters
    ----------
    denoised : array
        (N, h, w, C), a network's result.
    device : torch.device
        Where this is computed.

    Returns
    -------
    array
        Same shape, 0 almost everywhere.
    """
    height, width = denoised.shape[1:3]
    x = to_tensor(denoised, device)
    x = mirror_pad(x, 0, -width % _BLOCK, 0, -height % _BLOCK)
    detail = x - _local_mean(x, _NEAR)
    energy = detail.square().sum(dim=1, keepdim=True)
    usual = _RATIO**2 * _local_mean(energy, _AROUND) + torch.finfo(x.dtype).tiny
    # The pixels beside a peak are part of it.
    ratio = (_highest(energy) / usual).square().square()
    detail *= ratio / (1 + ratio)
    return to_array(detail[..., :height, :width])


def _local_mean(x: Tensor, deviation: float) -> Tensor:
    return enlarge(blur(F.avg_pool2d(x, _BLOCK), deviation), _BLOCK)


def _highest(x: Tensor) -> Tensor:
    """Return the largest of each pixel and its eight neighbours."""
    # Much faster than pooling.
    x = mirror_pad(x, 1, 1, 1, 1)
    x = torch.maximum(torch.maximum(x[..., :-2], x[..., 2:]), x[..., 1:-1])
    return torch.maximum(torch.maximum(x[..., :-2, :], x[..., 2:, :]), x[..., 1:-1, :])
