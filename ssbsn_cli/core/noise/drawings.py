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

# How often a pattern is a mosaic of squares, or a small block of random dots; and the sides of the
# squares in pixels.
_MOSAIC, _BLOCKS = 0.3, 0.2
_SQUARES = (2.0, 17.0)
# The period of the other patterns in pixels, and how many samples per pixel smooth their edges.
_PERIODS = (2.0, 28.0)
_SAMPLES = 4

# How often a drawing is a page of text, and how often it has a regular pattern.
_PAGES, _PATTERNED = 0.35, 0.4
# How often letters are black and white only, and how often they are drawn large and then shrunk,
# which makes other shapes of the one font there is.
_ALIASED, _SHRUNK = 0.15, 0.5
_SIZES = (7.0, 26.0)
# Letters as often as in most texts, and some of everything else.
_CHARACTERS = 12 * string.ascii_lowercase + 2 * string.ascii_uppercase + string.printable[:94]


def drawing(side: int, rng: np.random.Generator, photo: Floats | None = None) -> Floats:
    """Draw lines, areas, letters, pages of text, gradients, regular patterns and mosaics.

    Parameters
    ----------
    side : int
        Height and width.
    rng : numpy.random.Generator
        Makes all random choices.
    photo : array, optional
        (side, side, 3) float32 in [0, 1]: what to draw on, as with fences, signs and printed
        pictures. By default, the ground has one colour.

    Returns
    -------
    array
        (side, side, 3) float32, multiples of 1/255.
    """
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = _color(rng) if photo is None else 255 * photo
    way = rng.random()
    if way < _PATTERNED:
        opacity = np.float32(rng.uniform(0.1, 1) if rng.random() < 0.5 else 1)
        window = opacity * _window(side, rng)[..., None]
        if rng.random() < _MOSAIC:
            canvas += window * (_mosaic(canvas, rng) - canvas)
        else:
            canvas += window * _pattern(side, rng)[..., None] * (_color(rng) - canvas)
    elif photo is None and rng.random() < 0.5:
        canvas += _ramp(side, rng)[..., None] * (_color(rng) - canvas)
    shapes = int(rng.integers(0, 12))
    if way > 1 - _PAGES:
        canvas += _page(side, rng)[..., None] * (_color(rng) - canvas)
    if way < _PATTERNED or way > 1 - _PAGES:
        shapes //= 4
    # OpenCV draws letters only on 8-bit images.
    pixels = np.rint(canvas).astype(np.uint8)
    _add_shapes(pixels, shapes, rng)
    return to_unit(pixels)


def _ramp(side: int, rng: np.random.Generator) -> _Mask:
    ramp = np.linspace(0, 1, side, dtype=np.float32)
    return np.broadcast_to(ramp[:, None] if rng.random() < 0.5 else ramp, (side, side))


def _mosaic(canvas: Floats, rng: np.random.Generator) -> Floats:
    """Return squares of the canvas's own colours, of two colours or of any colours."""
    side = len(canvas)
    square = int(log_uniform(_SQUARES, rng))
    number = -(-side // square)
    way = rng.random()
    if way < 0.3:
        squares = cv2.resize(canvas, (number, number), interpolation=cv2.INTER_AREA)
    elif way < 0.7:
        squares = np.where(rng.random((number, number, 1)) < rng.random(), _color(rng), _color(rng))
    else:
        squares = 255 * rng.random((number, number, 3))
    pixels = np.repeat(np.repeat(squares, square, axis=0), square, axis=1)
    return np.asarray(pixels[:side, :side], np.float32)


def _pattern(side: int, rng: np.random.Generator) -> _Mask:
    """Draw a regular pattern, or a gradient that it makes of two colours."""
    values = _ramp(side, rng) if rng.random() < 0.5 else np.float32(rng.random())
    if rng.random() < _BLOCKS:
        size = tuple(rng.integers(1, 9, 2))
        block = rng.permutation(size[0] * size[1]).reshape(size) / (size[0] * size[1])
        thresholds = np.tile(block, (side // size[0] + 1, side // size[1] + 1))[:side, :side]
        return np.asarray(values > thresholds, np.float32)
    upright = rng.random() < 0.5
    turn = np.pi * (rng.integers(2) / 2 if upright else rng.random())
    period = log_uniform(_PERIODS, rng)
    # Every second upright pattern repeats after whole pixels, as on screens.
    if upright and rng.random() < 0.5:
        period = max(round(period), 2)
    sharp = upright and not period % 1 and rng.random() < 0.7
    samples = 1 if sharp else _SAMPLES
    places = (np.arange(side * samples, dtype=np.float32) + 0.5) / (samples * period)
    down, right = places[:, None], places
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = (cosine * right + sine * down + np.float32(rng.random())) % 1
    across = (cosine * down - sine * right + np.float32(rng.random())) % 1
    thresholds = _cell(along, across, rng)
    if samples > 1:
        values = np.broadcast_to(values, (side, side)).repeat(samples, 0).repeat(samples, 1)
    ink = np.asarray(values > thresholds, np.float32)
    return np.asarray(cv2.resize(ink, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _cell(along: _Mask, across: _Mask, rng: np.random.Generator) -> _Mask:
    """Return the thresholds of one period of a pattern, 0 to 1: where the ink begins."""
    what = rng.integers(4)
    if what == 0:  # stripes
        cell = along + np.zeros_like(across)
    elif what == 1:  # a checkerboard, whatever the value
        cell = (along < 0.5) != (across < 0.5)
    elif what == 2:  # a grid
        cell = np.minimum(along, across)
    else:  # the dots of a halftone
        cell = np.hypot(along - 0.5, across - 0.5) * np.sqrt(2)
    return np.asarray(cell, np.float32)


def _window(side: int, rng: np.random.Generator) -> _Mask:
    """Choose a part of the picture, or, half of the time, all of it."""
    window = np.ones((side, side), np.float32)
    if rng.random() < 0.5:
        window[:] = 0
        (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for _ in range(2))
        window[top:bottom, left:right] = 1
    return window


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
