"""What a step learns from: noisy pictures, what to compare the prediction with, the PD stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import STEP, Shares, philox
from ssbsn_cli.core.data.pair_sampler import PairSampler, SyntheticPairs
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.data.store import CropCache
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.edits import Edits
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.lifted import LiftedNoise, lift_from
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.wide import Wide
from ssbsn_cli.core.training.config import ObjectiveKind, PairsConfig
from ssbsn_cli.core.types import Notify

# The most parts of a window that are searched for noise, however large it is.
_MOST_PARTS = 4096


class Draw(NamedTuple):
    """One batch. All objectives are the distance of the network's output to a target.

    Attributes
    ----------
    noisy, target : numpy.ndarray
        (B, 3, H, W) float32 in [0, 1]; the same array where a network learns from noisy crops.
    stride : int
        PD stride that the network sees it through.
    """

    noisy: NDArray[np.float32]
    target: NDArray[np.float32]
    stride: int


@dataclass(frozen=True)
class SelfSource:
    """Noisy crops that are their own targets, each batch through PD with a stride drawn from pd_a.

    References
    ----------
    .. [1] Lee, Son & Lee, "AP-BSN", CVPR 2022, section 3.3. https://arxiv.org/abs/2203.11799
    """

    crops: CropSampler
    strides: Sequence[int]
    seed: int

    def draw(self, step: int) -> Draw:
        """Draw the batch of one step."""
        noisy = self.crops.batch(step)
        chosen = _random(self.seed, step, 1) * len(self.strides) >> 64
        return Draw(noisy, noisy, self.strides[chosen])

    def validation(self) -> list[Draw]:
        """Draw one batch for each of the strides."""
        noisy = self.crops.batch(0)
        return [Draw(noisy, noisy, stride) for stride in self.strides]


@dataclass(frozen=True)
class PairSource:
    """Noisy crops with targets, through the stride of inference pd_b."""

    crops: PairSampler | SyntheticPairs
    stride: int

    def draw(self, step: int) -> Draw:
        """Draw the batch of one step."""
        return Draw(*self.crops.batch(step), self.stride)

    def validation(self) -> list[Draw]:
        """Draw one batch."""
        return [self.draw(0)]


class Source(Protocol):
    """What an objective learns from."""

    def draw(self, step: int) -> Draw:
        """Draw the batch of one step."""

    def validation(self) -> list[Draw]:
        """Draw what a network is scored on."""


class Mixture:
    """Takes each batch from one of several sources, the same one in all processes.

    `shares` say how often each objective is drawn, relative to the others.
    """

    def __init__(
        self,
        sources: Mapping[ObjectiveKind, Source],
        shares: Mapping[ObjectiveKind, float],
        seed: int,
    ) -> None:
        self._sources = list(sources.values())
        self._shares = Shares([shares[kind] for kind in sources])
        self._seed = seed

    def batch(self, step: int) -> Draw:
        """Draw the batch of one step."""
        return self._sources[self._shares.pick(_random(self._seed, step, 0))].draw(step)


def _random(seed: int, step: int, which: int) -> int:
    """Return 64 random bits that depend on nothing but the arguments."""
    return int(philox(seed, step, STEP).random_raw(which + 1)[which])


def make_recipe(
    pairs: PairsConfig, noisy: Sequence[CropCache], weights: Sequence[float], say: Notify
) -> Wide:
    """Return what makes pairs of clean photos; `noisy` are the photos to lift noise from.

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
        for cache, weight in zip(noisy, weights, strict=True):
            found = lift(cache)
            lifted += found
            # Noise is drawn as crops are: a data set by its weight, then any of its photos.
            odds += [weight / len(found) for _ in found]
        if not lifted:
            raise OptionError(
                "None of the noisy photos has flat parts to lift noise from.",
                "Give others with --data, or set pairs.lifted to 0.",
            )
        say(f"Lifted the noise of {len(lifted)} photos.")
    scenes = Scenes(pairs.halved, pairs.darkened, pairs.colored, pairs.drawn)
    shares = pairs.noise | {"lifted": pairs.lifted}
    try:
        return Wide(scenes, Edits(grey=pairs.grey), shares, lifted, odds)
    except OptionError as error:
        raise OptionError(f"The configuration: pairs.noise: {error}", error.hint) from None


def lift(cache: CropCache) -> list[LiftedNoise]:
    """Lift the noise of all photographs in a cache that have enough flat parts."""
    found = (
        lift_from(np.concatenate([cut(cache.view(window), _MOST_PARTS) for window in windows]))
        for windows in cache.by_number().values()
    )
    return [noise for noise in found if noise is not None]
