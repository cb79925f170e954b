"""Clean pictures to add noise to: parts of photographs in other light, and drawings."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.types import from_srgb, to_srgb


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
        Drawings of lines, areas, letters and gradients instead of photographs.
    """

    halved: float = 0.0
    darkened: float = 0.0
    colored: float = 0.0
    drawn: float = 0.0

    def draw(self, source: Floats, side: int, rng: np.random.Generator) -> Floats:
        """Make a clean picture from a part of a photograph.

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
            return drawing(side, rng)
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


def drawing(side: int, rng: np.random.Generator) -> Floats:
    """Draw lines, areas, letters and gradients, as on screenshots and in documents.

    Parameters
    ----------
    side : int
        Height and width.
    rng : numpy.random.Generator
        Makes all random choices.

    Returns
    -------
    array
        (side, side, 3) float32, multiples of 1/255.
    """
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = _color(rng)
    if rng.random() < 0.5:
        ramp = np.linspace(0, 1, side, dtype=np.float32)
        ramp = ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None]
        canvas += ramp * (_color(rng) - canvas)
    # OpenCV draws letters only on 8-bit images.
    pixels = np.rint(canvas).astype(np.uint8)
    smooth = cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8
    for _ in range(int(rng.integers(0, 12))):
        one, other = (tuple(int(v) for v in rng.integers(-20, side + 20, 2)) for _ in range(2))
        color = _color(rng).tolist()
        what, width = rng.integers(4), int(rng.integers(1, 4))
        if what == 0:
            cv2.line(pixels, one, other, color, width, smooth)
        elif what == 1:
            filled = -1 if rng.random() < 0.6 else width
            cv2.rectangle(pixels, one, other, color, filled)
        elif what == 2:
            cv2.circle(pixels, one, int(rng.integers(2, side // 3 + 3)), color, width, smooth)
        else:
            letters = "".join(chr(c) for c in rng.integers(33, 127, int(rng.integers(2, 16))))
            size = float(rng.uniform(0.3, 1.2))
            cv2.putText(pixels, letters, one, int(rng.integers(8)), size, color, width, smooth)
    return np.asarray(pixels / np.float32(255), np.float32)


def _color(rng: np.random.Generator) -> Floats:
    """Pick a random colour in grey levels: black, white, a grey or any colour."""
    way = rng.random()
    if way < 0.4:
        return np.full(3, 255 * np.rint(rng.random()), np.float32)
    values = rng.integers(0, 256, 1 if way < 0.6 else 3)
    return np.asarray(np.broadcast_to(values, 3), np.float32)
