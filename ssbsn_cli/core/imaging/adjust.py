"""Conversions of photos: bit depth, range, alpha."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssbsn_cli.core.imaging.photo import Photo, Pixels, color_of, pixel_rows
from ssbsn_cli.core.types import from_unit, white_of

# Values may exceed black and white by this much without a notice.
BARELY = 0.01


def convert_depth(pixels: Pixels, dtype: np.dtype[np.generic]) -> Pixels:
    """Convert (H, W, C) of uint16, or of floats with white at 1, to uint8, uint16, or other floats.

    Values are rounded to the nearest. In integers, floats are clipped to [0, 1], and NaN becomes
    black. An array that already has the type is returned unchanged.
    """
    if dtype.kind == "f":
        return pixels.astype(dtype, copy=False)
    if pixels.dtype == dtype:
        return pixels
    result = np.empty(pixels.shape, dtype)
    if pixels.dtype.kind != "f":
        return rescale(pixels, white_of(pixels.dtype), white_of(dtype), result)
    for rows in pixel_rows(pixels):
        wide = pixels[rows].astype(np.result_type(pixels.dtype, np.float32))
        result[rows] = from_unit(np.nan_to_num(wide), dtype)
    return result


def widen_range(pixels: Pixels, bits: int) -> tuple[Pixels, bool]:
    """Convert integers of `bits` bits from the narrow range of video, ITU-T H.273, to full range.

    Alpha already has the full range. Returns the pixels, and whether some exceeded black or white
    by more than rounding explains. Those are clipped.
    """
    white, unit = (1 << bits) - 1, 1 << (bits - 8)
    black, span = 16 * unit, 219 * unit
    result, clipped = pixels.copy(), False
    for rows in pixel_rows(pixels):
        color = color_of(result[rows])
        values = (color.astype(np.float64) - black) / span
        clipped = clipped or bool(values.min() < -BARELY or values.max() > 1 + BARELY)
        color[...] = np.rint(np.clip(values, 0, 1) * white)
    return result, clipped


def rescale(pixels: Pixels, old: int, new: int, out: Pixels) -> Pixels:
    """Scale integers from white at `old` to white at `new`; write them to `out` and return it.

    `old` and `new` are below 65536. Values above `old` count as white, and results are rounded to
    the nearest. `out` may be `pixels`.
    """
    for rows in pixel_rows(pixels):
        part = pixels[rows]
        if old != new:
            part = (np.minimum(part, old).astype(np.uint32) * new + old // 2) // old
        out[rows] = part
    return out


def straighten_alpha(photo: Photo) -> Photo:
    """Divide colours by alpha if they are multiplied by it; return other photos unchanged."""
    if photo.alpha != "associated" or not photo.has_alpha:
        return photo
    pixels = photo.pixels.copy()
    white = float(white_of(pixels.dtype))
    for rows in pixel_rows(pixels):
        alpha = pixels[rows, :, -1:].astype(np.float64)
        straight = pixels[rows, :, :-1] * (white / np.where(alpha > 0, alpha, white))
        if pixels.dtype.kind != "f":
            straight = np.rint(np.minimum(straight, white))
        pixels[rows, :, :-1] = straight
    return replace(photo, pixels=pixels, alpha="unassociated")


def is_opaque(photo: Photo) -> bool:
    """Return whether a photo's alpha channel is opaque everywhere, so that it can be left out."""
    alpha = photo.pixels[..., -1]
    return bool((alpha == white_of(alpha.dtype)).all())
