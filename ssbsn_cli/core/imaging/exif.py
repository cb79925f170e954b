"""EXIF blocks, and the directories of tags that they and TIFF files consist of.

Values stay the bytes they are in the file: what a strange camera wrote into a tag can then neither
fail nor change on its way from one file to another.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias, Union

ORIENTATION, XMP, ICC = 274, 700, 34675
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
_POINTERS = {_EXIF_IFD, _GPS_IFD, _INTEROP_IFD}
_DIMENSIONS = (40962, 40963)

# The tags of a first directory that describe the photo rather than how its bytes are laid out:
# titles, camera, software, dates, people, resolution, rating and the XP tags of Windows.
DESCRIPTIVE = {269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 18246, 18249, 33432}
DESCRIPTIVE |= {40091, 40092, 40093, 40094, 40095, *_POINTERS}

# Bytes of a value by its TIFF type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BIG_SIZES = SIZES | {16: 8, 17: 8, 18: 8}
_LONG, _LONG8 = 4, 16
_ENTRY_SIZE = 12
_ORIENTATION_KINDS = (1, 3, 4)
_MAX_VALUE = 64 << 20
_MAX_DEPTH = 2

# What reading a broken block can raise.
BROKEN = (struct.error, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Entry:
    """One tag: the TIFF type, how many values, and their bytes in the file's byte order."""

    kind: int
    count: int
    data: bytes


Directory: TypeAlias = dict[int, Union[Entry, "Directory"]]


@dataclass(frozen=True)
class Layout:
    """How a TIFF structure is laid out: byte order ("<" or ">"), and classic or BigTIFF."""

    order: str
    big: bool = False

    @property
    def endian(self) -> Literal["little", "big"]:
        """The byte order as `int.from_bytes` names it."""
        return "little" if self.order == "<" else "big"

    @property
    def sizes(self) -> dict[int, int]:
        """The bytes that a value of each TIFF type takes."""
        return _BIG_SIZES if self.big else SIZES

    @property
    def head(self) -> struct.Struct:
        """Tag, type and number of values."""
        return struct.Struct(self.order + ("HHQ" if self.big else "HHI"))

    @property
    def count(self) -> struct.Struct:
        """Number of tags in a directory."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def offset(self) -> struct.Struct:
        """A position in the file; values of at most its size are stored in its place."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    def read_offset(self, stream: BinaryIO, place: int) -> int:
        """Read the position that is stored at a place in the file."""
        stream.seek(place)
        (position,) = self.offset.unpack(stream.read(self.offset.size))
        return int(position)


def read_header(stream: BinaryIO) -> tuple[Layout, int]:
    """Read how a TIFF structure, at the start of a stream, is laid out, and where its tags are.

    Raises
    ------
    ValueError, struct.error
        There is no TIFF header.
    """
    stream.seek(0)
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise ValueError("no TIFF header")
    big = struct.unpack_from(order + "H", head, 2)[0] == 43
    layout = Layout(order, big)
    return layout, layout.offset.unpack_from(head, 8 if big else 4)[0]


def read_directory(
    stream: BinaryIO, layout: Layout, position: int, wanted: set[int] | None = None, depth: int = 0
) -> Directory:
    """Read a directory and those that its EXIF, GPS and interoperability tags point to.

    Tags that point outside the file or are of unknown type are left out.

    Parameters
    ----------
    stream, layout, position
        A TIFF structure, how it is laid out, and where the directory starts.
    wanted : set of int, optional
        The tags to read; all if None. The directories below are read whole.
    depth : int
        How far below the first directory this one is.

    Raises
    ------
    ValueError, struct.error
        The directory itself is broken.
    """
    found: Directory = {}
    for tag, kind, count, place in _list_tags(stream, layout, position):
        size = layout.sizes.get(kind, 0) * count
        if (wanted is not None and tag not in wanted) or not 0 < size <= _MAX_VALUE:
            continue
        stream.seek(place if size <= layout.offset.size else layout.read_offset(stream, place))
        data = stream.read(size)
        if len(data) != size:
            continue
        if tag not in _POINTERS:
            found[tag] = Entry(kind, count, data)
        elif depth < _MAX_DEPTH:
            below = int.from_bytes(data, layout.endian)
            try:
                found[tag] = read_directory(stream, layout, below, depth=depth + 1)
            except BROKEN:
                continue
    return found


def _list_tags(stream: BinaryIO, layout: Layout, position: int) -> list[tuple[int, int, int, int]]:
    """List each tag of a directory, its type, the number of its values, and their place.

    If the values are too long for that place, their position is there.
    """
    stream.seek(position)
    (number,) = layout.count.unpack(stream.read(layout.count.size))
    if number > 0xFFFF:
        raise ValueError("too many tags")
    size = layout.head.size + layout.offset.size
    table = stream.read(number * size)
    start = position + layout.count.size
    return [
        (*layout.head.unpack_from(table, at), start + at + layout.head.size)
        for at in range(0, number * size, size)
    ]


def pack(directory: Directory, layout: Layout, base: int) -> bytes:
    """Write a directory, its values, and the directories below it.

    Parameters
    ----------
    directory : Directory
        Its values must be in the layout's byte order. Types that the layout lacks are left out.
    layout : Layout
        How to write.
    base : int
        Where in the file the result will be put; must be even.
    """
    known = [
        (tag, item)
        for tag, item in sorted(directory.items())
        if isinstance(item, dict) or item.kind in layout.sizes
    ]
    inline = layout.offset.size
    start = layout.count.size + len(known) * (layout.head.size + inline) + inline
    table = bytearray(layout.count.pack(len(known)))
    body = bytearray()
    for tag, item in known:
        body += bytes((start + len(body)) % 2)
        here = base + start + len(body)
        if isinstance(item, dict):
            table += layout.head.pack(tag, _LONG8 if layout.big else _LONG, 1)
            table += layout.offset.pack(here)
            body += pack(item, layout, here)
            continue
        table += layout.head.pack(tag, item.kind, item.count)
        if len(item.data) <= inline:
            table += item.data.ljust(inline, b"\0")
        else:
            table += layout.offset.pack(here)
            body += item.data
    return bytes(table + bytes(inline) + body)


def parse_exif(blob: bytes) -> tuple[Layout, Directory]:
    """Read an EXIF block as in `Metadata.exif`, except for its thumbnail.

    Raises
    ------
    ValueError, struct.error
        It is broken.
    """
    stream, layout, position = _open(blob)
    return layout, read_directory(stream, layout, position)


def _open(blob: bytes) -> tuple[io.BytesIO, Layout, int]:
    stream = io.BytesIO(blob)
    layout, position = read_header(stream)
    if layout.big:
        raise ValueError("EXIF is never a BigTIFF")
    return stream, layout, position


def build_exif(directory: Directory, order: str) -> bytes:
    """Write an EXIF block as in `Metadata.exif`, of values in the byte order "<" or ">"."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + pack(directory, Layout(order), len(head))


def orientation_of(blob: bytes) -> int:
    """Read from an EXIF block how to turn its photo: 1 to 8, or 0 if it is broken or silent."""
    try:
        layout, directory = parse_exif(blob)
    except BROKEN:
        return 0
    item = directory.get(ORIENTATION)
    if not isinstance(item, Entry) or item.kind not in _ORIENTATION_KINDS:
        return 0
    value = int.from_bytes(item.data[: SIZES[item.kind]], layout.endian)
    return value if 1 <= value <= 8 else 0


def mark_upright(blob: bytes, turned: bool) -> bytes:
    """Make an EXIF block say that its photo needs no turning any more.

    Every other byte stays where it is, since maker notes may refer to positions in the block.

    Parameters
    ----------
    blob : bytes
        As in `Metadata.exif`.
    turned : bool
        Whether width and height have changed places.

    Returns
    -------
    bytes
        Without the thumbnail, which would now be the wrong way up; unchanged if broken.
    """
    try:
        stream, layout, position = _open(blob)
        tags = _list_tags(stream, layout, position)
        upright = bytearray(blob)
        # The position of the next directory, the thumbnail's, follows the tags.
        end = position + layout.count.size + len(tags) * _ENTRY_SIZE
        upright[end : end + layout.offset.size] = bytes(layout.offset.size)
        for tag, kind, _, place in tags:
            if tag == ORIENTATION and kind in _ORIENTATION_KINDS:
                size = SIZES[kind]
                upright[place : place + size] = int.to_bytes(1, size, layout.endian)
            elif tag == _EXIF_IFD and turned:
                below = _list_tags(stream, layout, layout.read_offset(stream, place))
                _swap_dimensions(upright, below)
    except BROKEN:
        return blob
    return bytes(upright)


def _swap_dimensions(blob: bytearray, tags: list[tuple[int, int, int, int]]) -> None:
    """Exchange PixelXDimension and PixelYDimension: type, count and value."""
    fields = [
        slice(place - 6, place + 4)
        for tag, _, count, place in tags
        if tag in _DIMENSIONS and count == 1 and place + 4 <= len(blob)
    ]
    if len(fields) == len(_DIMENSIONS):
        one, other = fields
        blob[one], blob[other] = blob[other], blob[one]
