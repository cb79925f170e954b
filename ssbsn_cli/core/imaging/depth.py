"""Numbers of one type turned into another, and colours freed from their alpha."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ssbsn_cli.core.imaging.photo import Photo, Pixels, pixel_rows


def convert_depth(pixels: Pixels, dtype: np.dtype[np.generic]) -> Pixels:
    """Convert to a shallower type of number, rounding to the nearest.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, C); uint16, or floats with white at 1.
    dtype : numpy.dtype
        The type to convert to: uint8 or uint16.

    Returns
    -------
    numpy.ndarray
        (H, W, C); floats outside [0, 1] are clipped. The same array if it has that type already.
    """
    if pixels.dtype == dtype:
        return pixels
    result = np.empty(pixels.shape, dtype)
    white = np.iinfo(result.dtype).max
    for rows in pixel_rows(pixels):
        part = pixels[rows]
        if pixels.dtype.kind == "f":
            wide = part.astype(np.result_type(pixels.dtype, np.float32))
            result[rows] = np.rint(np.clip(wide, 0, 1) * white)
        else:
            result[rows] = (part.astype(np.uint32) + 128) // 257
    return result


def straighten_alpha(photo: Photo) -> Photo:
    """Divide the colours by the alpha that they are multiplied by.

    Parameters
    ----------
    photo : Photo
        Of any kind of alpha, or none.

    Returns
    -------
    Photo
        Its alpha channel is unassociated and has the values it had; the same object if the
        colours were not multiplied.
    """
    if photo.alpha != "associated" or not photo.has_alpha:
        return photo
    pixels = photo.pixels.copy()
    white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    for rows in pixel_rows(pixels):
        alpha = pixels[rows, :, -1:].astype(np.float64)
        straight = pixels[rows, :, :-1] * (white / np.where(alpha > 0, alpha, white))
        if pixels.dtype.kind != "f":
            straight = np.rint(np.minimum(straight, white))
        pixels[rows, :, :-1] = straight
    return replace(photo, pixels=pixels, alpha="unassociated")


def swap_red_and_blue(pixels: Pixels) -> Pixels:
    """Turn BGR into RGB, in place.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, 3) or (H, W, 4).

    Returns
    -------
    numpy.ndarray
        The same array.
    """
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    for rows in pixel_rows(pixels):
        pixels[rows] = cv2.cvtColor(pixels[rows], code)
    return pixels
