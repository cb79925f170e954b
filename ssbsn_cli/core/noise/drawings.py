"""Drawings and text, as on screenshots and in documents."""

from __future__ import annotations

import string
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ssbsn_cli.core.noise.kinds import Floats, log_uniform
from ssbsn_cli.core.types import to_unit

_Mask = NDArray[np.float32]

# How often a drawing is a page of text, and how often its areas consist of dots.
_PAGES, _DOTTED = 0.35, 0.1
# How often letters are black and white only, and how often they are drawn large and then shrunk,
# which makes other shapes of the one font there is.
_ALIASED, _SHRUNK = 0.15, 0.5
_SIZES = (7.0, 26.0)
# Letters as often as in most texts, and some of everything else.
_CHARACTERS = 12 * string.ascii_lowercase + 2 * string.ascii_uppercase + string.printable[:94]


def drawing(side: int, rng: np.random.Generator) -> Floats:
    """Draw lines, areas, dots, letters, pages of text and gradients.

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
    way = rng.random()
    if way < _DOTTED:
        canvas += _dots(side, rng)[..., None] * (_color(rng) - canvas)
    elif rng.random() < 0.5:
        canvas += _ramp(side, rng)[..., None] * (_color(rng) - canvas)
    shapes = int(rng.integers(0, 12))
    if way > 1 - _PAGES:
        canvas += _page(side, rng)[..., None] * (_color(rng) - canvas)
        shapes //= 4
    # OpenCV draws letters only on 8-bit images.
    pixels = np.rint(canvas).astype(np.uint8)
    _add_shapes(pixels, shapes, rng)
    return to_unit(pixels)


def _ramp(side: int, rng: np.random.Generator) -> _Mask:
    ramp = np.linspace(0, 1, side, dtype=np.float32)
    return np.broadcast_to(ramp[:, None] if rng.random() < 0.5 else ramp, (side, side))


def _dots(side: int, rng: np.random.Generator) -> _Mask:
    """Draw a small pattern again and again, or a gradient that it makes of two colours."""
    size = tuple(rng.integers(1, 9, 2))
    tile = rng.permutation(size[0] * size[1]).reshape(size) / (size[0] * size[1])
    thresholds = np.tile(tile, (side // size[0] + 1, side // size[1] + 1))[:side, :side]
    values = _ramp(side, rng) if rng.random() < 0.5 else rng.random()
    return np.asarray(values > thresholds, np.float32)


def _page(side: int, rng: np.random.Generator) -> _Mask:
    """Write lines of text."""
    shrunk = rng.random() < _SHRUNK
    wide = 3 * side if shrunk else side
    size = log_uniform(_SIZES, rng) * (2 if shrunk else 1)
    page = Image.new("L", (wide, wide))
    pen = ImageDraw.Draw(page)
    if rng.random() < _ALIASED:
        pen.fontmode = "1"
    font, spacing = _font(round(size)), size * rng.uniform(1, 1.8)
    top = rng.uniform(-size, size)
    while top < wide:
        letters = rng.choice(list(_CHARACTERS), int(rng.integers(1, 120)))
        words = "".join(np.where(rng.random(len(letters)) < 0.18, " ", letters))
        pen.text((rng.uniform(-size, size), top), words, 255, font, stroke_width=rng.random() < 0.1)
        top += spacing
    mask = to_unit(np.asarray(page))
    if shrunk:
        slant, height = rng.uniform(-0.25, 0.25), round(wide * rng.uniform(0.4, 0.6))
        slanted = cv2.warpAffine(mask, np.array([[1, slant, 0], [0, 1, 0]]), (wide, wide))
        width = round(wide * rng.uniform(0.4, 0.7))
        small = cv2.resize(slanted, (width, height), interpolation=cv2.INTER_AREA)
        mask = np.asarray(small[:side, :side], np.float32)
    return mask


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _add_shapes(pixels: NDArray[np.uint8], number: int, rng: np.random.Generator) -> None:
    """Draw lines, rectangles, circles and letters in place."""
    side = len(pixels)
    smooth = cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8
    for _ in range(number):
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


def _color(rng: np.random.Generator) -> Floats:
    """Pick a random colour in grey levels: black, white, a grey or any colour."""
    way = rng.random()
    if way < 0.4:
        return np.full(3, 255 * np.rint(rng.random()), np.float32)
    values = rng.integers(0, 256, 1 if way < 0.6 else 3)
    return np.asarray(np.broadcast_to(values, 3), np.float32)
