"""Turn photos upright, together with what their metadata say about directions and positions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ssbsn_cli.core.imaging.exif_fields import FIRST_ON_SIDE, MIRRORED, mark_upright, orientation_of
from ssbsn_cli.core.imaging.photo import Metadata, Photo, Pixels

_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}
# Attributes and elements of XMP. Programs use these prefixes, which the specifications prefer.
_ORIENTATION = re.compile(rb"(\btiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])(?!\d)")
# The size of the photo, and the middles and sizes of marked areas, such as faces, for which the
# photo is 1 wide and 1 high (Metadata Working Group, 2010).
_PAIRS = re.compile(
    rb"\b(?:stArea:[xywh]|stDim:[wh]|exif:Pixel[XY]Dimension|tiff:Image(?:Width|Length))\b"
)
_EXCHANGED = {b"x": b"y", b"y": b"x", b"w": b"h", b"h": b"w"}
_SIZES = {b"X": b"Y", b"Y": b"X", b"Width": b"Length", b"Length": b"Width"}
_MIDDLE = re.compile(rb"(\bstArea:([xy])\s*(?:=\s*[\"']|>)\s*)([0-9.]++)(?![eE])")
# An area of Microsoft's: left, top, width, height.
_RECTANGLE = re.compile(rb"(\bMPReg:Rectangle\s*(?:=\s*[\"']|>)\s*)([0-9.]+(?:,\s*[0-9.]+){3})")


def upright(photo: Photo) -> Photo:
    """Turn a photo as its metadata say, and make them say that it is upright."""
    orientation, metadata = settle_turn(photo.metadata)
    if orientation not in _TURNS:
        return replace(photo, metadata=metadata)
    pixels = np.ascontiguousarray(_TURNS[orientation](photo.pixels))
    turned = orientation >= FIRST_ON_SIDE
    metadata = settle_upright(photo.metadata, turned)
    if turned and metadata.resolution:
        metadata = replace(metadata, resolution=metadata.resolution[::-1])
    return replace(photo, pixels=pixels, metadata=metadata)


def settle_upright(metadata: Metadata, turned: bool = False) -> Metadata:
    """Make metadata say that the pixels are upright, whatever they said before.

    `turned` is whether turning them exchanged width and height.
    """
    orientation, settled = settle_turn(metadata)
    xmp = settled.xmp
    # Otherwise, it is not known how the pixels were turned.
    if turned == (orientation >= FIRST_ON_SIDE):
        xmp = _turn_positions(xmp, orientation)
    return replace(settled, xmp=xmp, exif=mark_upright(metadata.exif, turned))


def settle_turn(metadata: Metadata) -> tuple[int, Metadata]:
    """Return the orientation of a photo, 1 to 8 as in EXIF or 0 if unknown, and reset it in XMP.

    EXIF decides, and does not change. XMP counts only if EXIF does not state an orientation.
    """
    orientation = orientation_of(metadata.exif)
    if not orientation and (stated := _ORIENTATION.search(metadata.xmp)):
        orientation = int(stated[2])
    return orientation, replace(metadata, xmp=_ORIENTATION.sub(rb"\g<1>1", metadata.xmp))


def _turn_positions(xmp: bytes, orientation: int) -> bytes:
    """Turn sizes and marked areas in XMP from an orientation to upright."""
    on_side = orientation >= FIRST_ON_SIDE
    mirrored = MIRRORED.get(orientation, "")

    def exchange(match: re.Match[bytes]) -> bytes:
        prefix, name = match[0].split(b":")
        if name in _EXCHANGED:
            return prefix + b":" + _EXCHANGED[name]
        return re.sub(rb"[XY](?=Dim)|Width|Length", lambda part: _SIZES[part[0]], match[0])

    def mirror(match: re.Match[bytes]) -> bytes:
        value = float(match[3])
        # Some programs count pixels instead.
        if match[2].decode() not in mirrored or value > 1:
            return match[0]
        return match[1] + b"%.6f" % (1 - value)

    def turn(match: re.Match[bytes]) -> bytes:
        left, top, width, height = (float(value) for value in match[2].split(b","))
        if on_side:
            left, top, width, height = top, left, height, width
        left = 1 - left - width if "x" in mirrored else left
        top = 1 - top - height if "y" in mirrored else top
        return match[1] + b"%.6f, %.6f, %.6f, %.6f" % (left, top, width, height)

    try:
        if on_side:
            xmp = _PAIRS.sub(exchange, xmp)
        return _RECTANGLE.sub(turn, _MIDDLE.sub(mirror, xmp)) if orientation > 1 else xmp
    # A number such as 1.2.3.
    except ValueError:
        return xmp
