"""The boxes that HEIF, AVIF, JPEG XL and Canon's CR3 files consist of (ISO/IEC 14496-12).

In HEIF and AVIF, one of them lists items: images, EXIF, XMP. Each image has properties, such as
its size and how to turn it (ISO/IEC 23008-12).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ssbsn_cli.core.imaging.codec import animation, cut_short

_GAIN_MAP = b"tmap"
_PICTURES = frozenset((b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"jpeg", b"unci"))


@dataclass(frozen=True)
class Box:
    """A box: its kind, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Items:
    """What a HEIF or AVIF file says about its primary image.

    Parameters
    ----------
    properties : tuple of (bytes, bytes)
        Kinds and contents, in the order in which they apply.
    others : int
        How many further images there are, not counting tiles, thumbnails, depth maps and the like.
    auxiliary : tuple of bytes
        What such maps are, as URNs, and "tmap" if one makes the image brighter on HDR displays.
    """

    properties: tuple[tuple[bytes, bytes], ...]
    others: int
    auxiliary: tuple[bytes, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before anything is turned."""
        width, height = struct.unpack(">2I", self.find(b"ispe")[4:12])
        return width, height

    def find(self, kind: bytes, beginning: bytes = b"") -> bytes:
        """Return the first property of a kind that begins so, without that; empty if none."""
        found = (body for name, body in self.properties if name == kind)
        return next((b[len(beginning) :] for b in found if b.startswith(beginning)), b"")


class _Numbers:
    """Reads big-endian numbers, one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> int:
        if self.at + size > len(self.data):
            raise cut_short()
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")


def read_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes that follow each other in a part of a file; refuse one that is longer."""
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


def read_items(data: bytes) -> Items:
    """Read what a HEIF or AVIF file says about its primary image.

    Raises
    ------
    Refusal, ValueError, KeyError, struct.error
        It is damaged or cut short.
    """
    meta = next((box for box in read_boxes(data) if box.kind == b"meta"), None)
    if meta is None:
        raise animation() if any(box.kind == b"moov" for box in read_boxes(data)) else cut_short()
    parts = {box.kind: box for box in read_boxes(data, meta.start + 4, meta.end)}
    number = _Numbers(data, parts[b"pitm"].start)
    primary = number.take(2 if number.take(4) >> 24 == 0 else 4)
    kinds = _read_kinds(data, parts[b"iinf"])
    properties = _read_properties(data, parts[b"iprp"])
    children = set(_read_references(data, parts))
    others = {item for item, kind in kinds.items() if kind in _PICTURES}
    names = [
        body[4:].split(b"\0")[0]
        for own in properties.values()
        for kind, body in own
        if kind == b"auxC"
    ]
    names += [_GAIN_MAP] * (_GAIN_MAP in kinds.values())
    return Items(
        properties=tuple(properties.get(primary, ())),
        others=len(others - children - {primary}),
        auxiliary=tuple(names),
    )


def _read_kinds(data: bytes, box: Box) -> dict[int, bytes]:
    """Map items to their type, hidden pictures left out."""
    kinds = {}
    start = box.start + (6 if data[box.start] == 0 else 8)
    for entry in read_boxes(data, start, box.end):
        number = _Numbers(data, entry.start)
        head = number.take(4)
        item = number.take(2 if head >> 24 == 2 else 4)
        number.take(2)
        kind = number.take(4).to_bytes(4, "big")
        if not (head & 1 and kind in _PICTURES):
            kinds[item] = kind
    return kinds


def _read_properties(data: bytes, box: Box) -> dict[int, list[tuple[bytes, bytes]]]:
    """Map items to their properties."""
    parts = list(read_boxes(data, box.start, box.end))
    store = next(part for part in parts if part.kind == b"ipco")
    known = [
        (one.kind, data[one.start : one.end]) for one in read_boxes(data, store.start, store.end)
    ]
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for part in parts:
        if part.kind != b"ipma":
            continue
        number = _Numbers(data, part.start)
        head = number.take(4)
        wide = head & 1
        for _ in range(number.take(4)):
            item = number.take(2 if head >> 24 == 0 else 4)
            places = [
                number.take(1 + wide) & (0x7FFF if wide else 0x7F) for _ in range(number.take(1))
            ]
            found.setdefault(item, []).extend(known[place - 1] for place in places if place)
    return found


def _read_references(data: bytes, parts: dict[bytes, Box]) -> Iterator[int]:
    """Yield the items that are parts of an image or belong to one, such as tiles, thumbnails."""
    box = parts.get(b"iref")
    if box is None:
        return
    size = 2 if data[box.start] == 0 else 4
    for reference in read_boxes(data, box.start + 4, box.end):
        number = _Numbers(data, reference.start)
        item = number.take(size)
        targets = [number.take(size) for _ in range(number.take(2))]
        if reference.kind == b"dimg":
            yield from targets
        elif reference.kind in (b"auxl", b"thmb"):
            yield item
