"""The learning rate over a training."""

from __future__ import annotations

import math

from ssbsn_cli.core.training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, progress: float) -> float:
    """Return the learning rate of one step.

    Parameters
    ----------
    config : OptimizerConfig
        Schedule, warm-up and highest value.
    step : int
        From 0; the warm-up counts in steps.
    progress : float
        What part of the training is done, in steps or in time; above 1 counts as 1.

    Returns
    -------
    float
        Above 0 before the end.
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
