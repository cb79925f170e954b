"""The items of HEIF and AVIF files: images, EXIF, XMP (ISO/IEC 23008-12).

One box lists them. Each image has properties, such as its size and orientation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ssbsn_cli.core.imaging.boxes import Box, read_boxes, strip_exif
from ssbsn_cli.core.imaging.codec import Refusal, animation, cut_short
from ssbsn_cli.core.imaging.photo import (
    AFTER_THE_END,
    CREDENTIALS,
    LITTLE,
    OTHER_PICTURES,
    PRIVATE,
)
from ssbsn_cli.core.imaging.xmp import LOST_VIDEO

XMP_TYPE = b"application/rdf+xml"
_EXIF_TYPE, _GAIN_MAP = b"Exif", b"tmap"
# Spaces and byte order marks.
_BEFORE_XMP = b"\xef\xbb\xbf\xfe\xff\0 \t\r\n"
# The boxes that every file may have at its top level.
_USUAL = (b"ftyp", b"meta", b"mdat", b"free", b"skip", b"wide")
# That of C2PA.
_CREDENTIALS_ID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_PICTURES = frozenset((b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"jpeg", b"unci"))


@dataclass(frozen=True)
class Items:
    """What a HEIF or AVIF file says about its primary image.

    Parameters
    ----------
    properties : tuple of (bytes, bytes)
        Kinds and contents, in the order in which they apply.
    others : int
        The number of other images, not counting tiles, thumbnails, depth maps and the like.
    auxiliary : tuple of bytes
        The kinds of such maps, as URNs, and "tmap" for a map that brightens the image for HDR.
    damaged : bool
        Whether EXIF or XMP is listed but missing or invalid.
    beside : tuple of str
        What the file holds beside its images, in words.
    """

    properties: tuple[tuple[bytes, bytes], ...]
    exif: bytes
    xmp: bytes
    others: int
    auxiliary: tuple[bytes, ...] = ()
    damaged: bool = False
    beside: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before the image is turned."""
        width, height = struct.unpack(">2I", self.find(b"ispe")[4:12])
        return width, height

    def find(self, kind: bytes, beginning: bytes = b"") -> bytes:
        """Return the first property of this kind and beginning, without the beginning, or b""."""
        found = (body for name, body in self.properties if name == kind)
        return next((b[len(beginning) :] for b in found if b.startswith(beginning)), b"")


class _Numbers:
    """Reads successive big-endian numbers and strings."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> int:
        if self.at + size > len(self.data):
            raise cut_short()
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    def text(self) -> bytes:
        end = self.data.index(b"\0", self.at)
        found = self.data[self.at : end]
        self.at = end + 1
        return found


def hide_texts(data: bytes) -> bytes:
    """Return a HEIF or AVIF with EXIF and XMP hidden, so that decoders cannot fail on them."""
    hidden = bytearray(data)
    for _, kind, place in _read_entries(data, _read_meta(data)[b"iinf"]):
        if kind in (_EXIF_TYPE, XMP_TYPE):
            hidden[place : place + 4] = b"skip"
    return bytes(hidden)


def read_items(data: bytes) -> Items:
    """Read what a HEIF or AVIF file says about its primary image.

    Raises
    ------
    Refusal, ValueError, KeyError, struct.error
        It is damaged or cut short.
    """
    parts = _read_meta(data)
    number = _Numbers(data, parts[b"pitm"].start)
    primary = number.take(2 if number.take(4) >> 24 == 0 else 4)
    kinds = {item: kind for item, kind, _ in _read_entries(data, parts[b"iinf"])}
    places = _read_places(data, parts)
    properties = _read_properties(data, parts[b"iprp"])
    children = set(_read_references(data, parts, primary))
    own = [(kind, item) for item, kind in reversed(kinds.items()) if item not in children]
    wanted = {kind: places.get(item, []) for kind, item in own}
    content, text = (_join(data, wanted.get(kind, [])) for kind in (_EXIF_TYPE, XMP_TYPE))
    exif = strip_exif(content)
    xmp = text if text.lstrip(_BEFORE_XMP).startswith(b"<") else b""
    damaged = bool((wanted.get(_EXIF_TYPE) and not exif) or (wanted.get(XMP_TYPE) and not xmp))
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
        exif=exif,
        xmp=xmp,
        others=len(others - children - {primary}),
        auxiliary=tuple(names),
        damaged=damaged,
        beside=tuple(_beside(data)),
    )


def _beside(data: bytes) -> Iterator[str]:
    """Name what a file holds beside its images."""
    end = 0
    try:
        for box in read_boxes(data):
            end = box.end
            if box.kind == b"mpvd":
                yield LOST_VIDEO
            elif box.kind == b"moov":
                yield OTHER_PICTURES
            elif box.kind == b"uuid" and data.startswith(_CREDENTIALS_ID, box.start):
                yield CREDENTIALS
            elif box.kind not in _USUAL and box.end - box.start > LITTLE:
                yield PRIVATE
    # What follows the last box is no box.
    except Refusal:
        if len(data) - end > LITTLE:
            yield AFTER_THE_END


def _read_meta(data: bytes) -> dict[bytes, Box]:
    """Return the boxes that describe the items; refuse a file without a primary item."""
    is_movie = False
    for box in read_boxes(data):
        is_movie = is_movie or box.kind == b"moov"
        if box.kind == b"meta":
            parts = {part.kind: part for part in read_boxes(data, box.start + 4, box.end)}
            if b"pitm" in parts:
                return parts
    raise animation() if is_movie else cut_short()


def _join(data: bytes, places: list[tuple[int, int]]) -> bytes:
    """Return an item, or b"" if it is incomplete or longer than its file."""
    whole = all(end <= len(data) for _, end in places)
    if not whole or sum(end - start for start, end in places) > len(data):
        return b""
    return b"".join(data[start:end] for start, end in places)


def _read_entries(data: bytes, box: Box) -> Iterator[tuple[int, bytes, int]]:
    """Yield visible items, their type (for texts the content type), and the type's position."""
    start = box.start + (6 if data[box.start] == 0 else 8)
    for entry in read_boxes(data, start, box.end):
        number = _Numbers(data, entry.start)
        head = number.take(4)
        item = number.take(2 if head >> 24 == 2 else 4)
        number.take(2)
        place = number.at
        kind = number.take(4).to_bytes(4, "big")
        if kind == b"mime":
            number.text()
            kind = number.text()
        if not (head & 1 and kind in _PICTURES):
            yield item, kind, place


def _read_places(data: bytes, parts: dict[bytes, Box]) -> dict[int, list[tuple[int, int]]]:
    """Map items to the parts of the file that hold them, as (start, end)."""
    number = _Numbers(data, parts[b"iloc"].start)
    version = number.take(4) >> 24
    sizes = number.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> s & 15 for s in (12, 8, 4, 0))
    places: dict[int, list[tuple[int, int]]] = {}
    # Places may take no bytes at all, so a large count must be refused.
    left = len(data)
    for _ in range(number.take(2 if version < 2 else 4)):
        item = number.take(2 if version < 2 else 4)
        method = number.take(2) & 15 if version else 0
        number.take(2)
        base = number.take(base_size)
        if method == 1:
            base += parts[b"idat"].start
        places[item] = []
        count = number.take(2)
        left -= count
        if left < 0:
            raise ValueError("more places than bytes")
        for _ in range(count):
            number.take(index_size if version else 0)
            start = base + number.take(offset_size)
            places[item].append((start, start + number.take(length_size)))
    return places


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


def _read_references(data: bytes, parts: dict[bytes, Box], primary: int) -> Iterator[int]:
    """Yield tiles of images, their thumbnails and maps, and metadata of other images."""
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
        elif reference.kind in (b"auxl", b"thmb") or (
            reference.kind == b"cdsc" and primary not in targets
        ):
            yield item
