"""ICC profiles for colours that a file describes in numbers: primaries, white and a curve."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

# The cicp of sRGB, which is assumed if a file states nothing.
SRGB = bytes((1, 13, 0, 1))

# x and y of white, red, green and blue, by their numbers in ITU-T H.273.
_D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    **dict.fromkeys((6, 7), (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
ADOBE_RGB = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# Parameters of an ICC curve: only an exponent, or also where the curve becomes a line.
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
ADOBE_CURVE = (563 / 256,)
_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: dict[int, tuple[float, ...]] = {
    **dict.fromkeys((1, 6, 14, 15), _BT709_CURVE),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
    13: SRGB_CURVE,
}
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def profile_of_cicp(cicp: bytes, grey: bool) -> bytes:
    """Return a profile that is equivalent to a `Metadata.cicp`, or b"" if there is none.

    There is none for PQ and HLG, the curves of HDR, which encode light beyond white.
    """
    corners, curve = PRIMARIES.get(cicp[0]), _CURVES.get(cicp[1])
    return make_profile(corners, curve, grey) if corners and curve else b""


def profile_of_gamma(gamma: float | None, corners: tuple[float, ...] | None, grey: bool) -> bytes:
    """Return a profile for the chunks gAMA and cHRM of a PNG; a missing chunk means sRGB.

    `gamma` is the exponent that encoded the light, such as 0.45455; `corners` are as in
    `make_profile`. The result is empty if the numbers make no sense.
    """
    curve = (1 / gamma,) if gamma else SRGB_CURVE
    try:
        return make_profile(corners or PRIMARIES[1], curve, grey)
    except (ArithmeticError, ValueError, struct.error, np.linalg.LinAlgError):
        return b""


def is_grey_profile(icc: bytes) -> bool:
    """Return whether a profile is for grey pixels."""
    return icc[16:20] == b"GRAY"


def colour_profile(icc: bytes) -> bytes:
    """Return an RGB profile that shows equal values as a grey profile does, or b"" if none can."""
    for at in range(132, min(132 + 12 * int.from_bytes(icc[128:132], "big"), len(icc)), 12):
        start, size = (int.from_bytes(icc[at + i : at + i + 4], "big") for i in (4, 8))
        # In the other space that profiles may refer to, a curve means lightness and not light.
        if icc[at : at + 4] == b"kTRC" and icc[20:24] == b"XYZ ":
            return make_profile(PRIMARIES[1], icc[start : start + size], False)
    return b""


def make_profile(
    corners: tuple[float, ...],
    curve: tuple[float, ...] | bytes,
    grey: bool,
    title: str = "Colours as the file described them",
) -> bytes:
    """Make an ICC profile, version 4.

    Parameters
    ----------
    corners : tuple of float
        x and y of white, red, green and blue.
    curve : tuple of float, or bytes
        An exponent g, or g, a, b, c, d: light is (a v + b)^g from d on and c v below. Or a curve
        as it is in a profile.
    grey : bool
        Whether the pixels are grey; the primaries then do not matter.
    title : str
        Its name in other programs.

    References
    ----------
    ICC.1:2022, sections 7.2, 9 and 10.18; the adaptation to D50 is Bradford's of annex E.
    """
    white, *primaries = (
        np.array([x / y, 1, (1 - x - y) / y])
        for x, y in zip(corners[::2], corners[1::2], strict=True)
    )
    cones = _BRADFORD @ white
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / cones) @ _BRADFORD
    if isinstance(curve, bytes):
        light = curve
    else:
        kind = 3 if len(curve) > 1 else 0
        light = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(curve)
    tags = {
        b"desc": _text(title),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adapt.ravel()),
    }
    if grey:
        tags[b"kTRC"] = light
    else:
        matrix = np.stack(primaries, axis=1)
        columns = adapt @ (matrix * np.linalg.solve(matrix, white))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True):
            tags[name] = b"XYZ " + bytes(4) + _fixed(column)
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), light)
    return _pack(tags, b"GRAY" if grey else b"RGB ")


def encode_light(light: NDArray[np.float64], curve: tuple[float, ...]) -> NDArray[np.uint16]:
    """Return the 16-bit values for light, 0 to 1, given a curve as in `make_profile`."""
    gamma, scale, offset, slope, start = (*curve, 1, 0, 0, 0)[:5]
    values = np.linspace(0, 1, 1 << 16)
    known = np.where(values < start, slope * values, (scale * values + offset) ** gamma)
    return np.rint(65535 * np.interp(light, known, values)).astype(np.uint16)


def _fixed(values: NDArray[np.float64] | tuple[float, ...]) -> bytes:
    """Encode numbers as the fixed-point numbers of a profile."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(encoded), 28) + encoded


def _pack(tags: dict[bytes, bytes], space: bytes) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x04400000, b"mntr", space, b"XYZ ")
    # A fixed date, so that the same photo always gives the same file.
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(_D50)
    return head.ljust(128, b"\0") + table + body
