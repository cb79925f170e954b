"""How far an output is from its target."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.training.config import LossKind

# One grey level: crops that come closer do not count for more.
_FLOOR = (1 / 255) ** 2


def distance(output: Tensor, target: Tensor, kind: LossKind) -> Tensor:
    """Return the loss of a batch.

    Parameters
    ----------
    output, target : Tensor
        (B, 3, H, W), values of [0, 1].
    kind : {"l1", "psnr"}
        The mean absolute difference; or half the logarithm of each crop's mean squared one, that is
        the negative PSNR but for a factor. Then a decibel counts as much in a crop of little noise
        as in one of much, and the output tends to the mean of what is likely, not to its median.

    Returns
    -------
    Tensor
        A scalar: the mean over the batch, so parts of a batch can be averaged.

    References
    ----------
    .. [1] L. Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, for PSNR as a loss.
    """
    if kind == "l1":
        return F.l1_loss(output, target)
    errors = (output.float() - target).square().mean(dim=(1, 2, 3))
    return 0.5 * (errors + _FLOOR).log().mean()
