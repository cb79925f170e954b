"""What a step learns from: noisy crops, what to compare the prediction with, the PD stride."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data import CropSampler, PairSampler, SyntheticPairs
from ssbsn_cli.core.data.draws import STEP, philox
from ssbsn_cli.core.training.config import ObjectiveKind


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


Source = SelfSource | PairSource


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
        total = sum(shares[kind] for kind in sources)
        self._ends = [end / total for end in accumulate(shares[kind] for kind in sources)]
        self._seed = seed

    def batch(self, step: int) -> Draw:
        """Draw the batch of one step."""
        where = (_random(self._seed, step, 0) >> 11) * 2.0**-53
        return self._sources[bisect_right(self._ends, where)].draw(step)


def _random(seed: int, step: int, which: int) -> int:
    """Return 64 random bits that depend on nothing but the arguments."""
    return int(philox(seed, step, STEP).random_raw(which + 1)[which])
