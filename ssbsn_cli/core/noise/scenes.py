"""Clean pictures to add noise to: parts of photos in other light, and drawings."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssbsn_cli.core.noise.drawings import drawing
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.types import from_srgb, to_srgb

# How often a drawing is on a photo, as fences, signs and printed pictures are.
_ON_PHOTO = 0.5


@dataclass(frozen=True)
class Scenes:
    """The source of clean pictures.

    All parameters are fractions of the pictures, 0 to 1.

    Parameters
    ----------
    halved : float
        Pictures that are first halved in size if they are large enough, which removes JPEG
        artifacts and the softness of lenses.
    darkened, colored : float
        Pictures with less light, and pictures with other colours, some saturated and clipped.
    drawn : float
        Drawings, half of them on photos, instead of photos.
    """

    halved: float = 0.0
    darkened: float = 0.0
    colored: float = 0.0
    drawn: float = 0.0

    def draw(self, source: Floats, side: int, rng: np.random.Generator) -> Floats:
        """Make a clean picture from a part of a photo.

        Parameters
        ----------
        source : array
            (H, W, 3) float32 in [0, 1], at least `side` high and wide.
        side : int
            Height and width of the result.
        rng : numpy.random.Generator
            Makes all random choices.

        Returns
        -------
        array
            (side, side, 3) float32 in [0, 1], C-contiguous.
        """
        if self.drawn and rng.random() < self.drawn:
            return self.draw_on(source, side, rng)
        return self._photo(source, side, rng)

    def draw_on(self, source: Floats, side: int, rng: np.random.Generator) -> Floats:
        """Make a drawing, half of the time on a part of a photo. The arguments are `draw`'s."""
        on_photo = rng.random() < _ON_PHOTO
        return drawing(side, rng, self._photo(source, side, rng) if on_photo else None)

    def _photo(self, source: Floats, side: int, rng: np.random.Generator) -> Floats:
        half = min(source.shape[:2]) // 2
        if self.halved and side <= half and rng.random() < self.halved:
            small = cv2.resize(source, (half, half), interpolation=cv2.INTER_AREA)
            source = np.asarray(small, np.float32)
        clean = np.ascontiguousarray(source[:side, :side])
        if self.colored and rng.random() < self.colored:
            gains = np.float32(2) ** rng.uniform(-1.5, 1, 3).astype(np.float32)
            light = from_srgb(clean[..., rng.permutation(3)]) * gains
            if rng.random() < 0.5:
                grey = light.mean(axis=2, keepdims=True)
                light = grey + np.float32(rng.uniform(1, 2.5)) * (light - grey)
            clean = to_srgb(light)
        if self.darkened and rng.random() < self.darkened:
            clean = to_srgb(from_srgb(clean) * np.float32(2 ** -rng.uniform(0.5, 5)))
        return np.ascontiguousarray(clean, np.float32)
