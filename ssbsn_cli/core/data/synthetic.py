"""Pairs for training made of clean photographs: crops of them, and what noise makes of those."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import NOISE, check_seed, philox
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.data.store import CropCache
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.lifted import LiftedNoise, lift_from

_Floats = NDArray[np.float32]

# As many parts of a photograph's windows are looked at, however large those are.
_MOST = 4096


class Recipe(Protocol):
    """Makes pairs of clean pictures."""

    def pair(self, source: _Floats, rng: np.random.Generator) -> tuple[_Floats, _Floats]:
        """Make a noisy and a clean (3, H, W) float32 in [0, 1] of a clean one, twice as large."""


class SyntheticPairs:
    """Noisy and clean pictures made of crops of clean photographs.

    Parameters
    ----------
    sampler : CropSampler
        Draws the crops.
    recipe : Recipe
        Makes pairs of them.
    seed : int
        0 to 2**64 - 1. A pair is decided by this and by the number of its crop, so it is the same
        however a training is resumed or split over processes; but another release of NumPy may
        draw other noise.

    Raises
    ------
    OptionError
        The seed makes no sense.
    """

    def __init__(self, sampler: CropSampler, recipe: Recipe, seed: int) -> None:
        check_seed(seed)
        self._sampler = sampler
        self._recipe = recipe
        self._seed = seed

    def batch(self, step: int) -> tuple[_Floats, _Floats]:
        """Draw the pairs of one step of training.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        noisy, clean : numpy.ndarray
            (batch_size, 3, H, W) float32 in [0, 1], RGB, C-contiguous.
        """
        numbers = self._sampler.numbers(step)
        pairs = [
            self._recipe.pair(crop, np.random.Generator(philox(self._seed, number, NOISE)))
            for crop, number in zip(self._sampler.batch(step), numbers, strict=True)
        ]
        return np.stack([noisy for noisy, _ in pairs]), np.stack([clean for _, clean in pairs])


def lift(cache: CropCache) -> list[LiftedNoise]:
    """Lift the noise of all photographs that have flat parts.

    Parameters
    ----------
    cache : CropCache
        Noisy photographs.

    Returns
    -------
    list of LiftedNoise
        One for each photograph that has enough flat parts.
    """
    parts: dict[int, list[NDArray[np.float64]]] = {}
    for window in cache.windows:
        parts.setdefault(window.number, []).append(cut(cache.view(window), _MOST))
    found = (lift_from(np.concatenate(pieces)) for pieces in parts.values())
    return [noise for noise in found if noise is not None]
