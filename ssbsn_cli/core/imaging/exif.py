"""EXIF blocks, and the tag directories of EXIF blocks and TIFF files.

Values stay the bytes that they are in the file, so that unusual values of a camera cannot cause
errors and do not change when they are copied.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias, Union

ORIENTATION, XMP, ICC = 274, 700, 34675
# Captions on their own, and among the image resources of Photoshop.
IPTC, RESOURCES = 33723, 34377
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
EXIF_IFD, MAKER_NOTE = 34665, 37500
GPS_IFD, INTEROP_IFD = 34853, 40965
NODATA = 42113
SUB_DIRECTORIES, DNG_VERSION = 330, 50706
_POINTERS = {EXIF_IFD, GPS_IFD, INTEROP_IFD}

# The tags of a first directory that describe the photo, not the layout of its bytes: titles,
# camera, software, dates, people, white and primaries, resolution, rating, the XP tags of Windows,
# the geographic position of the pixels (GeoTIFF and GDAL), and fields of EXIF, as TIFF/EP puts them
# there.
DESCRIPTIVE = {11, 269, 270, 271, 272, 285, 286, 287, 305, 306, 315, 316, 318, 319}
DESCRIPTIVE |= {18246, 18249, 33432, 33434, 33437, 34850, 34855, 36867, 36868, 50735}
DESCRIPTIVE |= {*range(37377, 37397), *range(42032, 42038)}
DESCRIPTIVE |= {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
DESCRIPTIVE |= {50341, 40091, 40092, 40093, 40094, 40095, *_POINTERS}
DESCRIPTIVE |= {33550, 33920, 33922, 34264, 34735, 34736, 34737, 42112, NODATA, 50844}

# Text in ASCII, and in UTF-8 as of EXIF 3.
ASCII, UTF8 = 2, 129
# Bytes per value, by TIFF type.
SIZES = {1: 1, ASCII: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES[UTF8] = 1
_BIG_SIZES = SIZES | {16: 8, 17: 8, 18: 8}
_LONG, _LONG8 = 4, 16
# The most bytes that all values of a block may take.
_MAX_VALUES = 64 << 20
_MAX_DEPTH = 2

# Errors that reading a broken block raises.
BROKEN = (struct.error, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Entry:
    """One tag: the TIFF type, the number of values, and their bytes in the file's byte order."""

    kind: int
    count: int
    data: bytes


Directory: TypeAlias = dict[int, Union[Entry, "Directory"]]


class Layout:
    """The layout of a TIFF structure: byte order ("<" or ">"), and classic or BigTIFF."""

    def __init__(self, order: str, big: bool = False) -> None:
        self.order, self.big = order, big
        self.endian: Literal["little", "big"] = "little" if order == "<" else "big"
        # Bytes per value, by TIFF type.
        self.sizes = _BIG_SIZES if big else SIZES
        # Tag, type and number of values.
        self.head = struct.Struct(order + ("HHQ" if big else "HHI"))
        # Number of tags in a directory.
        self.count = struct.Struct(order + ("Q" if big else "H"))
        # A position in the file; values that fit into its bytes are stored there instead.
        self.offset = struct.Struct(order + ("Q" if big else "I"))

    def read_offset(self, stream: BinaryIO, place: int) -> int:
        """Read the position that is stored at a place in the file."""
        stream.seek(place)
        (position,) = self.offset.unpack(stream.read(self.offset.size))
        return int(position)


def read_tiff_header(stream: BinaryIO) -> tuple[Layout, int]:
    """Read the layout of the TIFF structure in a stream, and the position of its first directory.

    Raises one of `BROKEN` if there is no TIFF header.
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
    stream: BinaryIO, layout: Layout, position: int, wanted: set[int] | None = None
) -> Directory:
    """Read a directory and those that its EXIF, GPS and interoperability tags point to.

    Tags that point outside the file or have an unknown type are left out, and so are values that
    together exceed 64 MiB or the size of the file. If `wanted` is given, only those tags are read,
    but directories below them are read completely. Raises one of `BROKEN` if the directory itself
    is broken.
    """
    # Values of an honest file do not overlap.
    room = min(_MAX_VALUES, stream.seek(0, 2))
    return _read(stream, layout, position, wanted, room, depth=0)[0]


def _read(
    stream: BinaryIO, layout: Layout, position: int, wanted: set[int] | None, room: int, depth: int
) -> tuple[Directory, int]:
    """Return a directory, and the room that its values leave."""
    found: Directory = {}
    for tag, kind, count, place in list_tags(stream, layout, position):
        size = layout.sizes.get(kind, 0) * count
        # The first of repeated tags counts, so a bomb cannot repeat a tag many times.
        if tag in found or (wanted is not None and tag not in wanted) or not 0 < size <= room:
            continue
        stream.seek(place if size <= layout.offset.size else layout.read_offset(stream, place))
        data = stream.read(size)
        if len(data) != size:
            continue
        room -= size
        if tag not in _POINTERS:
            found[tag] = Entry(kind, count, data)
        elif depth < _MAX_DEPTH:
            below = int.from_bytes(data, layout.endian)
            try:
                found[tag], room = _read(stream, layout, below, None, room, depth + 1)
            except BROKEN:
                continue
    return found, room


def take(directory: Directory, tag: int) -> bytes:
    """Remove a tag from a directory and return its bytes, or b"" if it is missing."""
    item = directory.pop(tag, None)
    return item.data if isinstance(item, Entry) else b""


def list_tags(stream: BinaryIO, layout: Layout, position: int) -> list[tuple[int, int, int, int]]:
    """List the tags of a directory: tag, type, number of values, and place.

    The place holds the values, or their position if they are too long. Raises one of `BROKEN` if
    the directory is broken.
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


def next_directory(stream: BinaryIO, layout: Layout, position: int, tags: int) -> int:
    """Return the position of the directory after one with this number of tags; 0 after the last.

    Raises struct.error if the file is too short.
    """
    size = layout.head.size + layout.offset.size
    return layout.read_offset(stream, position + layout.count.size + tags * size)


def pack(directory: Directory, layout: Layout, base: int) -> bytes:
    """Return the bytes of a directory, its values, and the directories below it.

    They must be written at the position `base` of the file, which must be even. Values must have
    the layout's byte order. Values of types that the layout lacks are left out.
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
    """Read an EXIF block without its thumbnail; raise one of `BROKEN` if it is broken."""
    stream, layout, position = open_exif(blob)
    return layout, read_directory(stream, layout, position)


def open_exif(blob: bytes) -> tuple[io.BytesIO, Layout, int]:
    """Return an EXIF block as a stream, its layout, and the position of its first directory.

    Raises one of `BROKEN` if it is not an EXIF block.
    """
    stream = io.BytesIO(blob)
    layout, position = read_tiff_header(stream)
    if layout.big:
        raise ValueError("EXIF is never a BigTIFF")
    return stream, layout, position


def build_exif(directory: Directory, order: str) -> bytes:
    """Return an EXIF block as in `Metadata.exif`, for values in the byte order "<" or ">"."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + pack(directory, Layout(order), len(head))
