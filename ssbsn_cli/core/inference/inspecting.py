"""Describe a photo and its noise from a few of its parts."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from ssbsn_cli.core.imaging import Metadata, read_photo
from ssbsn_cli.core.imaging.compare import to_rgb8
from ssbsn_cli.core.imaging.photo import Image, Pixels
from ssbsn_cli.core.imaging.tiff_stream import open_large_tiff
from ssbsn_cli.core.noise.facts import noise_facts
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.measured import measure_noise
from ssbsn_cli.core.noise.texture import measure_texture
from ssbsn_cli.core.runtime.process import silenced_libraries
from ssbsn_cli.core.types import spread, to_unit, white_of

# The measured parts: their side, and their largest number, down and across.
_SIDE, _DOWN, _ACROSS = 256, 4, 6
# The parts that are denoised twice more, to compare noise in texture with that in flat patches.
_TEXTURED = 6
# The usual numbers of ITU-T H.273.
_PRIMARIES = {1: "the colours of sRGB", 9: "the colours of BT.2020", 12: "the colours of P3"}
_CURVES = {
    1: "the curve of BT.709",
    8: "linear light",
    13: "the curve of sRGB",
    16: "PQ",
    18: "HLG",
}


class Inspection(NamedTuple):
    """The facts about a photo, and a part of it before and after denoising, (h, w, 3) uint8.

    The facts are plain values for JSON; docs/reference.md lists them.
    """

    facts: dict[str, Any]
    noisy: NDArray[np.uint8]
    denoised: NDArray[np.uint8]


def inspect_photo(
    path: Path, denoise: Callable[[Pixels], Pixels], max_pixels: int | None = None
) -> Inspection:
    """Describe a photo, and measure its noise on a few parts that are spread over it.

    If it is a TIFF that is too large for memory, only the parts are read. `denoise` takes images
    (H, W, C) of the photo's type or floats, and returns float32 with white at 1; `max_pixels` is as
    for `read_photo`.

    Raises
    ------
    ImageError
        It cannot be read.
    DeviceError
        The device's memory is too small.
    """
    # Decoders in C write warnings to standard error, which do not name the photo.
    with silenced_libraries():
        large = open_large_tiff(path)
        photo = None if large else read_photo(path, max_pixels=max_pixels)
    with large or nullcontext():
        color: Image
        if large:
            color, alpha, bits = large, False, 8 * large.dtype.itemsize
            kind, metadata = "tiff", large.metadata
        else:
            assert photo
            color, alpha = photo.color, photo.has_alpha
            kind, metadata = photo.format, photo.metadata
            bits = photo.bits if color.dtype == np.uint16 else 8 * color.dtype.itemsize
        parts = [color[place] for place in _places(*color.shape[:2])]
    facts = {
        "input": str(path),
        "format": kind,
        "width": color.shape[1],
        "height": color.shape[0],
        "channels": color.shape[2] + alpha,
        "bits": bits,
        "colors": _colors(metadata, grey=color.shape[2] == 1),
    }
    noisy = [to_unit(part) for part in parts]
    denoised = [denoise(part) for part in parts]
    # The largest part, and of several the one nearest to the middle.
    middle = len(parts) // 2
    shown = max(range(len(parts)), key=lambda n: (parts[n].size, -abs(n - middle)))
    return Inspection(
        facts | _describe(parts, noisy, denoised, denoise),
        *(to_rgb8(side[shown]) for side in (noisy, denoised)),
    )


def _places(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return slices that cover a small photo, or are spread over a large one."""
    tops, lefts = _starts(height, _DOWN), _starts(width, _ACROSS)
    return [(slice(top, top + _SIDE), slice(left, left + _SIDE)) for top in tops for left in lefts]


def _starts(length: int, most: int) -> list[int]:
    if length <= most * _SIDE:
        return list(range(0, length, _SIDE))
    return spread(range(length - _SIDE + 1), most)


def _colors(metadata: Metadata, grey: bool) -> str:
    """Name the colour space that a photo's file states."""
    if metadata.icc:
        try:
            with io.BytesIO(metadata.icc) as stream:
                name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(stream))
            return name.strip() or "a colour profile without a name"
        except (ImageCms.PyCMSError, OSError, ValueError):
            return "a colour profile that cannot be read"
    if metadata.cicp:
        primaries, curve = metadata.cicp[:2]
        space = _PRIMARIES.get(primaries, f"primaries {primaries}")
        return f"{space} with {_CURVES.get(curve, f'curve {curve}')}, as numbers (cicp)"
    return "grey without a profile" if grey else "no profile, so sRGB"


def _describe(
    parts: list[Pixels],
    noisy: list[NDArray[np.float32]],
    denoised: list[Pixels],
    denoise: Callable[[Pixels], Pixels],
) -> dict[str, Any]:
    """Return the measurements of the parts."""
    white = white_of(parts[0].dtype)
    pixels = sum(part.shape[0] * part.shape[1] for part in parts)
    black = sum(int((part <= 0).any(axis=2).sum()) for part in parts) / pixels
    bright = sum(int((part >= white).any(axis=2).sum()) for part in parts) / pixels
    before, after = (np.concatenate([cut(part) for part in side]) for side in (noisy, denoised))
    texture = 1.0
    if noise := measure_noise(before, after):
        some = spread(list(zip(noisy, denoised, strict=True)), _TEXTURED)
        # Values that are no numbers count as black, which is left out.
        within = (
            (np.nan_to_num(before.clip(0, 1)), np.nan_to_num(after.clip(0, 1)))
            for before, after in some
        )
        texture = float(measure_texture(noise.cautious, within, denoise)[1].max())
    return {
        "measured_pixels": pixels,
        "clipped": {"black": round(black, 4), "white": round(bright, 4)},
        **noise_facts(before, after, texture),
    }
