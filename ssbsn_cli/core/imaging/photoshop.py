"""IPTC captions, which JPEG and TIFF keep in Photoshop's image resources."""

from __future__ import annotations

import struct

import numpy as np

MARK = b"Photoshop 3.0\0"
RESOURCE = b"8BIM"
_IPTC, _COPYRIGHTED, _COPYRIGHT_URL = 0x0404, 0x040A, 0x040B
_PATHS = range(2000, 2998)
_IPTC_MARK = b"\x1c"
_MOST = 1000


def read_resources(resources: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the IPTC records in image resources, and names of other parts that are lost."""
    found: dict[int, bytes] = {}
    at = 0
    for _ in range(_MOST):
        if resources[at : at + 4] != RESOURCE or len(resources) < at + 12:
            break
        number, name = struct.unpack_from(">HB", resources, at + 4)
        # The name and the content are each padded to an even length.
        at += 6 + (name + 2) // 2 * 2
        length = int.from_bytes(resources[at : at + 4], "big")
        found.setdefault(number, resources[at + 4 : at + 4 + length])
        at += 4 + (length + 1) // 2 * 2
    lost = []
    if any(number in _PATHS for number in found):
        lost.append("the paths of Photoshop")
    if found.get(_COPYRIGHTED, b"").strip(b"\0") or found.get(_COPYRIGHT_URL):
        lost.append("the copyright flag and address of Photoshop")
    return found.get(_IPTC, b""), tuple(lost)


def order_iptc(iptc: bytes) -> bytes:
    """Return IPTC records in byte order; some programs write them as swapped 32-bit numbers."""
    if not iptc or iptc[:1] == _IPTC_MARK or len(iptc) % 4:
        return iptc
    swapped = np.frombuffer(iptc, np.uint32).byteswap().tobytes()
    return swapped if swapped[:1] == _IPTC_MARK else iptc


def wrap_iptc(iptc: bytes) -> bytes:
    """Return image resources that hold IPTC records."""
    head = RESOURCE + struct.pack(">HHI", _IPTC, 0, len(iptc))
    return head + iptc + bytes(len(iptc) % 2)
