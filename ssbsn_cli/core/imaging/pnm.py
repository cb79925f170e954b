"""PPM, PGM and PBM: the plain formats of Netpbm."""

from __future__ import annotations

import math
import re
import warnings
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.imaging.adjust import rescale
from ssbsn_cli.core.imaging.codec import Codec, Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.photo import Photo, Pixels
from ssbsn_cli.core.types import white_of

# The first byte tells space from comments, so the pattern never backtracks.
_NUMBER = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])++(\d{1,9})")
_MAX_HEADER = 1 << 20
_BITMAPS = b"14"
_TEXT = b"123"
_COLOR = b"36"
_SPACE = b" \t\n\v\f\r"


def _decode(stream: BinaryIO) -> Photo:
    """Read a picture as uint8 if its white is at most 255, else as uint16, at full range."""
    data = stream.read()
    kind = data[1:2]
    width, height, white, at = _read_header(data)
    shape = height, width, 3 if kind in _COLOR else 1
    samples = _text(data, at, shape, kind) if kind in _TEXT else _binary(data, at, shape, white)
    if kind in _BITMAPS:
        samples = 1 - samples
    pixels = np.empty(shape, np.uint8 if white < 256 else np.uint16)
    pixels = rescale(samples, white, white_of(pixels.dtype), pixels)
    return Photo(pixels, format="pnm", bits=white.bit_length())


def _read_header(data: bytes) -> tuple[int, int, int, int]:
    """Return width, height, the value of white, and the end of the header."""
    head = data[:_MAX_HEADER]
    width, at = _number(head, 2)
    height, at = _number(head, at)
    white, at = (1, at) if head[1:2] in _BITMAPS else _number(head, at)
    if not (width and height and 0 < white < 1 << 16):
        raise damaged("PNM")
    return width, height, white, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return the next number of the header after `at`, and its end."""
    found = _NUMBER.match(data, at)
    if found is None:
        raise damaged("PNM")
    return int(found[1]), found.end()


def _binary(data: bytes, at: int, shape: tuple[int, int, int], white: int) -> Pixels:
    at += 1
    height, width, channels = shape
    packed = data[1:2] in _BITMAPS
    row = (width + 7) // 8 if packed else width * channels * (2 if white > 255 else 1)
    end = at + height * row
    if len(data) < end:
        raise cut_short()
    if data[end : end + 2] == data[:2]:
        raise Refusal("holds several pictures", "Split it into one file for each.")
    samples = np.frombuffer(memoryview(data)[at:end], ">u2" if white > 255 else np.uint8)
    if packed:
        samples = np.unpackbits(samples.reshape(height, row), axis=1, count=width)
    return samples.reshape(shape)


def _text(data: bytes, at: int, shape: tuple[int, int, int], kind: bytes) -> Pixels:
    number = math.prod(shape)
    body = re.sub(rb"#[^\n\r]*", b"", data[at:])
    if kind in _BITMAPS:
        # The digits of a bitmap need no space between them.
        samples = np.frombuffer(body.translate(None, _SPACE), np.uint8) - ord("0")
    else:
        with warnings.catch_warnings():
            # NumPy warns when it stops early at other text. The data are then too short.
            warnings.simplefilter("ignore", DeprecationWarning)
            samples = np.fromstring(body, np.int32, sep=" ")
    if len(samples) < number:
        raise cut_short()
    samples = samples[:number]
    if samples.min() < 0 or samples.max() >= 1 << 16:
        raise damaged("PNM")
    return samples.astype(np.uint16).reshape(shape)


def _encode(photo: Photo, stream: BinaryIO, _: int) -> None:
    """Write a binary PGM or PPM."""
    height, width, channels = photo.pixels.shape
    dtype = photo.pixels.dtype
    kind = 5 if channels == 1 else 6
    stream.write(b"P%d\n%d %d\n%d\n" % (kind, width, height, white_of(dtype)))
    stream.write(np.ascontiguousarray(photo.pixels, dtype.newbyteorder(">")).data)


PNM = Codec(
    name="pnm",
    label="PNM",
    extensions=(".ppm", ".pgm", ".pnm", ".pbm"),
    dtypes=("uint8", "uint16"),
    matches=lambda head: head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace(),
    decode=_decode,
    encode=_encode,
    keeps={},
    measure=lambda stream: _read_header(stream.read(_MAX_HEADER))[:2],
)
