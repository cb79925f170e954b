"""Pairs for training made of clean photographs: crops of them, and what noise makes of those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import NOISE, check_seed, philox
from ssbsn_cli.core.data.sampler import CropSampler, check_weights
from ssbsn_cli.core.data.srgb import from_srgb, to_srgb

_Floats = NDArray[np.float32]


class Synthesiser(Protocol):
    """Puts noise on clean photographs."""

    def synthesise(self, clean: _Floats, rng: np.random.Generator) -> _Floats:
        """Make a noisy (3, H, W) float32 in [0, 1] of a clean one."""


class OneOf:
    """For each crop, the noise of one of several synthesisers.

    Parameters
    ----------
    synthesisers : sequence of Synthesiser
        At least one.
    weights : sequence of float
        How often each is drawn, relative to the others; 0 is never.

    Raises
    ------
    OptionError
        A weight makes no sense, or none is above 0.
    """

    def __init__(self, synthesisers: Sequence[Synthesiser], weights: Sequence[float]) -> None:
        check_weights(len(synthesisers), weights)
        self._synthesisers = synthesisers
        ends = np.cumsum(weights)
        self._ends = ends / ends[-1]

    def synthesise(self, clean: _Floats, rng: np.random.Generator) -> _Floats:
        """Put noise on a clean (3, H, W) photograph in [0, 1]."""
        chosen = int(np.searchsorted(self._ends, rng.random(), side="right"))
        return self._synthesisers[chosen].synthesise(clean, rng)


class SyntheticPairs:
    """Puts noise on crops of clean photographs, the same on the same crop, whoever draws it.

    Parameters
    ----------
    sampler : CropSampler
        Draws the clean crops; with `halved` above 0, of twice the size.
    model : Synthesiser
        Makes them noisy.
    seed : int
        Of the noise, 0 to 2**64 - 1. The noise of a crop is decided by this and by its number,
        so it is the same however a training is resumed or split over processes; but another
        release of NumPy may draw other noise.
    halved : float
        How many crops are twice as large and then halved, 0 to 1: that takes the traces of JPEG
        and the softness of lenses out of clean photographs.
    darkened, colored, grey : float
        How many crops get less light, how many get other colours, saturated and clipped ones among
        them, and how many lose their colours with their noise, 0 to 1.

    Raises
    ------
    OptionError
        The seed makes no sense.
    """

    def __init__(
        self,
        sampler: CropSampler,
        model: Synthesiser,
        seed: int,
        *,
        halved: float = 0.0,
        darkened: float = 0.0,
        colored: float = 0.0,
        grey: float = 0.0,
    ) -> None:
        check_seed(seed)
        self._sampler = sampler
        self._model = model
        self._seed = seed
        self._halved = halved
        self._darkened = darkened
        self._colored = colored
        self._grey = grey

    def batch(self, step: int) -> tuple[_Floats, _Floats]:
        """Draw the crops of one step of training.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        noisy, clean : numpy.ndarray
            (batch_size, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous.
        """
        numbers = self._sampler.numbers(step)
        pairs = [
            self._pair(image, np.random.Generator(philox(self._seed, number, NOISE)))
            for image, number in zip(self._sampler.batch(step), numbers, strict=True)
        ]
        return np.stack([noisy for noisy, _ in pairs]), np.stack([clean for _, clean in pairs])

    def _pair(self, clean: _Floats, rng: np.random.Generator) -> tuple[_Floats, _Floats]:
        clean = self._vary(clean, rng)
        grey = bool(self._grey) and rng.random() < self._grey
        if grey:
            clean = _without_colors(clean)
        noisy = self._model.synthesise(clean, rng)
        return (_without_colors(noisy) if grey else noisy), clean

    def _vary(self, clean: _Floats, rng: np.random.Generator) -> _Floats:
        if self._halved:
            side = clean.shape[1] // 2
            if rng.random() < self._halved:
                picture = np.ascontiguousarray(clean.transpose(1, 2, 0))
                small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
                clean = np.ascontiguousarray(small.transpose(2, 0, 1))
            else:
                clean = np.ascontiguousarray(clean[:, :side, :side])
        if self._colored and rng.random() < self._colored:
            gains = np.float32(2) ** rng.uniform(-1.5, 1, (3, 1, 1)).astype(np.float32)
            clean = to_srgb(from_srgb(clean[rng.permutation(3)]) * gains)
        if self._darkened and rng.random() < self._darkened:
            clean = to_srgb(from_srgb(clean) * np.float32(2 ** -rng.uniform(0.5, 5)))
        return clean


def _without_colors(photo: _Floats) -> _Floats:
    return np.repeat(photo.mean(axis=0, keepdims=True), 3, axis=0)
