"""The batches of a training, and the losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.data.draws import STEP, Shares, philox
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.data.store import CropCache
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.noise.edits import Edits
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.lifted import LiftedNoise, lift_from
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.wide import Wide
from ssbsn_cli.core.training.config import (
    BLINDLY,
    Config,
    LossKind,
    ObjectiveKind,
    PairsConfig,
)
from ssbsn_cli.core.types import Notify, count_of

# At most this many patches of a window are searched for noise.
_MOST_PATCHES = 4096
# One and a half grey levels. Without it, pictures that need no change would outweigh noisy ones.
_FLOOR = (1.5 / 255) ** 2


class Batch(NamedTuple):
    """The input of a training step. All objectives compare the network's output with a target.

    Attributes
    ----------
    noisy, target : numpy.ndarray
        (B, 3, H, W) float32; the same array if the network learns to predict noisy crops. In
        [0, 1], except for targets to which noise was added to learn from the network's own results.
    stride : int, optional
        PD stride for the network; by default that of denoising.
    """

    noisy: Floats
    target: Floats
    stride: int | None = None


# Makes the batch of a step; steps count from 0.
Batches = Callable[[int], Batch]
# Draws the noisy and the clean crops of a step.
DrawPairs = Callable[[int], tuple[Floats, Floats]]


def distance(output: Tensor, target: Tensor, kind: LossKind) -> Tensor:
    """Return the loss of a batch (B, 3, H, W), white at 1: a mean, so parts can be averaged.

    "l1" is the mean absolute difference. "psnr" is half the logarithm of each crop's mean squared
    difference, the negative PSNR up to a factor. With it, a decibel counts equally at all levels of
    noise, and the output tends to the mean of the possible results, not to their median.

    References
    ----------
    .. [1] L. Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, for PSNR as a loss.
    """
    if kind == "l1":
        return F.l1_loss(output, target)
    errors = (output.float() - target).square().mean(dim=(1, 2, 3))
    return 0.5 * (errors + _FLOOR).log().mean()


def noisy_batches(crops: Callable[[int], Floats], strides: Sequence[int], seed: int) -> Batches:
    """Make batches of noisy crops that are their own targets, each with a random PD stride.

    References
    ----------
    .. [1] Lee, Son & Lee, "AP-BSN", CVPR 2022, section 3.3. https://arxiv.org/abs/2203.11799
    """

    def draw(step: int) -> Batch:
        noisy = crops(step)
        chosen = _random(seed, step, 1) * len(strides) >> 64
        return Batch(noisy, noisy, strides[chosen])

    return draw


def mix_batches(
    batches: Mapping[ObjectiveKind, Batches], shares: Mapping[ObjectiveKind, float], seed: int
) -> Batches:
    """Take each batch from one of several objectives, which is the same in all processes.

    `shares` give how often each objective is drawn, relative to the others.
    """
    # In whatever order the configuration names them, the same are drawn.
    kinds = sorted(batches)
    each = [batches[kind] for kind in kinds]
    odds = Shares([shares[kind] for kind in kinds])
    return lambda step: each[odds.pick(_random(seed, step, 0))](step)


def _random(seed: int, step: int, which: int) -> int:
    """Return 64 random bits that depend only on the arguments."""
    return int(philox(seed, step, STEP).random_raw(which + 1)[which])


def synthetic_pairs(crops: CropSampler, recipe: Wide, step: int) -> tuple[Floats, Floats]:
    """Draw clean crops, and make noisy and clean pictures of them, half as high and wide.

    A pair depends only on the seed and the number of its crop, so resuming a training or splitting
    it over processes does not change it. But another release of NumPy may draw other noise.
    """
    pairs = map(recipe.pair, crops.batch(step), crops.batching.generators(step))
    noisy, clean = (np.stack(side) for side in zip(*pairs, strict=True))
    return noisy, clean


def make_recipe(
    pairs: PairsConfig, noisy: Sequence[CropCache], shares: Sequence[float], say: Notify
) -> Wide:
    """Return a recipe that makes pairs from clean photos; noise is lifted from `noisy`.

    Raises
    ------
    OptionError
        The noise makes no sense, or there is none to lift.
    """
    if "lifted" in pairs.noise:
        raise OptionError(
            "The configuration: pairs.noise gives a share of lifted noise.", "Set pairs.lifted."
        )
    lifted: list[LiftedNoise] = []
    odds: list[float] = []
    if pairs.lifted:
        for cache, share in zip(noisy, shares, strict=True):
            found = lift(cache)
            lifted += found
            # Noise is drawn like crops: first a data set by its share, then any of its photos.
            odds += [share / len(found) for _ in found]
        if not lifted:
            raise OptionError(
                "None of the noisy photos has flat parts to lift noise from.",
                "Give others with --data, or set pairs.lifted to 0.",
            )
        say(f"Lifted the noise of {count_of(len(lifted), 'photo')}.")
    scenes = Scenes(pairs.halved, pairs.darkened, pairs.colored, pairs.drawn)
    kinds = pairs.noise | {"lifted": pairs.lifted}
    try:
        return Wide(scenes, Edits(grey=pairs.grey), kinds, lifted, odds, pairs.edited)
    except OptionError as error:
        raise OptionError(f"The configuration: pairs.noise: {error}", error.hint) from None


def lift(cache: CropCache) -> list[LiftedNoise]:
    """Lift the noise of each photo in a cache that has enough flat patches."""
    found = (
        lift_from(np.concatenate([cut(cache.view(window), _MOST_PATCHES) for window in windows]))
        for windows in cache.by_number().values()
    )
    return [noise for noise in found if noise is not None]


def refuse_objectives(config: Config, network: Network) -> None:
    """Raise OptionError if the objectives do not fit the network or other settings."""
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
            f"A crop of {training.crop} is not a multiple of {stride}, which the network needs for "
            "pairs.",
            f"Use a --crop that is a multiple of {stride}.",
        )
