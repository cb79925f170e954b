"""PPM, PGM and PBM, the plain formats of Netpbm."""

from __future__ import annotations

import re

import numpy as np

from ssbsn_cli.core.imaging.photo import Photo, Pixels, Refusal, cut_short, damaged, pixel_rows

_NUMBER = re.compile(rb"(?:\s+|#[^\n\r]*[\n\r])+(\d{1,9})")
_BITMAPS = b"14"
_TEXT = b"123"
_COLOR = b"36"


def decode_pnm(data: bytes) -> Photo:
    """Read a PPM, PGM or PBM, binary or as text.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    Photo
        uint8 if the file's white is at most 255, else uint16; stretched to the whole range.

    Raises
    ------
    Refusal
        It is damaged, cut short, or holds several pictures.
    """
    kind = data[1:2]
    width, at = _number(data, 2)
    height, at = _number(data, at)
    white, at = (1, at) if kind in _BITMAPS else _number(data, at)
    if not (width and height and 0 < white < 1 << 16):
        raise damaged("PNM")
    shape = height, width, 3 if kind in _COLOR else 1
    samples = _text(data, at, shape, kind) if kind in _TEXT else _binary(data, at, shape, white)
    if kind in _BITMAPS:
        samples = 1 - samples
    return Photo(_stretch(samples, white), format="pnm")


def _number(data: bytes, at: int) -> tuple[int, int]:
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
        bits = np.unpackbits(samples.reshape(height, row), axis=1, count=width)
        return bits.reshape(shape)
    return samples.reshape(shape)


def _text(data: bytes, at: int, shape: tuple[int, int, int], kind: bytes) -> Pixels:
    number = shape[0] * shape[1] * shape[2]
    body = re.sub(rb"#[^\n\r]*", b"", data[at:])
    # The digits of a bitmap need no space between them.
    words = re.findall(rb"[01]", body) if kind in _BITMAPS else body.split()
    if len(words) < number:
        raise cut_short()
    return np.array([int(word) for word in words[:number]], np.uint16).reshape(shape)


def _stretch(samples: Pixels, white: int) -> Pixels:
    dtype = np.dtype(np.uint8 if white < 256 else np.uint16)
    full = 255 if white < 256 else 65535
    result = np.empty(samples.shape, dtype)
    for rows in pixel_rows(samples):
        part = samples[rows]
        if white != full:
            wide = np.minimum(part, white).astype(np.uint64)
            part = (wide * full + white // 2) // white
        result[rows] = part
    return result


def encode_pnm(pixels: Pixels) -> bytes:
    """Write a binary PGM or PPM.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, 1) or (H, W, 3), uint8 or uint16.

    Returns
    -------
    bytes
        The file.
    """
    height, width, channels = pixels.shape
    kind = 5 if channels == 1 else 6
    header = b"P%d\n%d %d\n%d\n" % (kind, width, height, np.iinfo(pixels.dtype).max)
    samples = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return b"".join([header, samples.data])
