"""Colour profiles of the spaces that files name by number, or that raw files are developed to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Curve: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_STEPS = 4096
_DATE = slice(24, 36)
_D65, _D50 = (0.3127, 0.3290), (0.3457, 0.3585)


@dataclass(frozen=True)
class Space:
    """A space of RGB colours.

    Parameters
    ----------
    white : tuple of float
        x and y of white.
    primaries : tuple of float
        x and y of red, green and blue.
    curve : callable
        Maps encoded values in [0, 1] to light, the brightest at 1.
    """

    white: tuple[float, float]
    primaries: tuple[float, float, float, float, float, float]
    curve: Curve


def _srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _bt709(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))


def _pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    root = values ** (32 / 2523)
    ratio = np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)
    light: NDArray[np.float64] = ratio ** (8192 / 1305)
    return light


def _hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)


SRGB = Space(_D65, (0.64, 0.33, 0.30, 0.60, 0.15, 0.06), _srgb)
DISPLAY_P3 = Space(_D65, (0.68, 0.32, 0.265, 0.69, 0.15, 0.06), _srgb)
ADOBE = Space(_D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), lambda values: values ** (563 / 256))
PROPHOTO = Space(_D50, (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), lambda values: values**1.8)

# White and primaries, and curves, by their code points in ITU-T H.273.
_BT601 = _D65, (0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
_COLORS = {
    1: (_D65, SRGB.primaries),
    5: (_D65, (0.64, 0.33, 0.29, 0.60, 0.15, 0.06)),
    6: _BT601,
    7: _BT601,
    9: (_D65, (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    11: ((0.314, 0.351), DISPLAY_P3.primaries),
    12: (_D65, DISPLAY_P3.primaries),
}
_CURVES: dict[int, Curve] = {
    1: _bt709,
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    6: _bt709,
    8: lambda values: values,
    13: _srgb,
    14: _bt709,
    15: _bt709,
    16: _pq,
    18: _hlg,
}


def profile_of_codes(primaries: int, transfer: int) -> bytes:
    """Return the ICC profile of a space by its code points (ITU-T H.273).

    Returns
    -------
    bytes
        Empty for sRGB, which needs none, and for code points that name no space.
    """
    if primaries not in _COLORS or transfer not in _CURVES:
        return b""
    space = Space(*_COLORS[primaries], _CURVES[transfer])
    return b"" if space == SRGB else make_profile(space)


@cache
def make_profile(space: Space) -> bytes:
    """Return the ICC profile of a space, always the same bytes."""
    import imagecodecs

    light = space.curve(np.linspace(0, 1, _STEPS))
    profile = bytearray(
        imagecodecs.cms_profile(
            "rgb",
            whitepoint=space.white,
            primaries=space.primaries,
            transferfunction=np.rint(light * 65535).astype(np.uint16),
        )
    )
    # It would say when this was called.
    profile[_DATE] = np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes()
    return bytes(profile)
