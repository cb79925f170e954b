"""What a training minimises, and at which learning rate."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.config import BLINDLY, Config, LossKind, OptimizerConfig

# One and a half grey levels. Without it, pictures that should stay as they are would outweigh noisy
# ones.
_FLOOR = (1.5 / 255) ** 2


def distance(output: Tensor, target: Tensor, kind: LossKind) -> Tensor:
    """Return the loss of a batch (B, 3, H, W) in [0, 1]: a mean, so parts can be averaged.

    "l1" is the mean absolute difference. "psnr" is half the logarithm of each crop's mean squared
    difference, the negative PSNR up to a factor. With it, a decibel counts as much in a crop of
    little noise as in one of much, and the output tends to the mean of what is likely, not to its
    median.

    References
    ----------
    .. [1] L. Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, for PSNR as a loss.
    """
    if kind == "l1":
        return F.l1_loss(output, target)
    errors = (output.float() - target).square().mean(dim=(1, 2, 3))
    return 0.5 * (errors + _FLOOR).log().mean()


def learning_rate(config: OptimizerConfig, step: int, progress: float) -> float:
    """Return the learning rate of one step.

    The warm-up depends on `step`, from 0, and the schedule on `progress`, which is the part of the
    training that is done, in steps or in time; above 1 counts as 1.
    """
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "step":
        scale = config.factor ** sum(progress >= at for at in config.step_at)
    elif config.schedule == "cosine":
        scale = config.factor + (1 - config.factor) * (1 + math.cos(math.pi * progress)) / 2
    elif config.schedule == "linear":
        scale = config.factor + (1 - config.factor) * (1 - progress)
    else:
        scale = 1.0
    warm = min((step + 1) / (config.warmup_steps + 1), 1.0)
    return config.learning_rate * scale * warm


def refuse_objectives(config: Config, network: Network) -> None:
    """Raise OptionError if the objectives do not go with the network or with other settings."""
    training, stride = config.training, network.size_multiple
    if training.hold_out and training.kinds not in (["self"], ["own"]):
        raise OptionError(
            "The configuration: training.hold_out works with the objective 'self' or 'own' alone.",
            "Set it to 0, and give pairs to score on with --val-data.",
        )
    blindly = [kind for kind in training.kinds if kind in BLINDLY]
    if blindly and not network.blind:
        raise OptionError(
            f"The objective {blindly[0]!r} needs a blind-spot network: this one sees the pixels "
            "that it should predict, and would learn to copy them.",
            "Use --config small, or --init with weights of SS-BSN or AP-BSN.",
        )
    if set(training.kinds) - set(BLINDLY) and training.crop % stride:
        raise OptionError(
            f"A crop of {training.crop} is no multiple of {stride}, which the network needs for "
            "pairs.",
            f"Use a --crop that is a multiple of {stride}.",
        )
