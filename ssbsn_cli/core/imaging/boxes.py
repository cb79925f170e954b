"""The boxes of HEIF, AVIF, JPEG XL and Canon's CR3 files (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ssbsn_cli.core.imaging.codec import cut_short
from ssbsn_cli.core.imaging.exif import BROKEN, parse_exif


@dataclass(frozen=True)
class Box:
    """A box: its kind, and the start and end of its content."""

    kind: bytes
    start: int
    end: int


def read_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the successive boxes in a part of a file; refuse a box that exceeds the part."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and body + 8 <= end:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        elif size == 0:
            size = end - start
        if start + size > end or start + size < body:
            raise cut_short()
        start += size
        yield Box(kind, body, start)


def build_box(kind: bytes, content: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def strip_exif(content: bytes) -> bytes:
    """Return the EXIF block of an item or a box, or b"" if there is none.

    The first four bytes are the number of bytes to skip, but some writers put something else there.
    """
    for start in (4 + int.from_bytes(content[:4], "big"), 4):
        block = content[start:].removeprefix(b"Exif\0\0")
        with suppress(*BROKEN):
            parse_exif(block)
            return block
    return b""
