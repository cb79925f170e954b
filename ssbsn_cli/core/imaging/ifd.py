"""The directories of tags that EXIF blocks and TIFF files are made of.

Values stay the bytes they are in the file: what a strange camera wrote into a tag can then neither
fail nor change on its way from one file to another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias, Union

EXIF_IFD = 34665
GPS_IFD = 34853
INTEROP_IFD = 40965
POINTERS = {EXIF_IFD, GPS_IFD, INTEROP_IFD}

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BIG_SIZES = {16: 8, 17: 8, 18: 8}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
_LONG, _LONG8 = 4, 16
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
    def head(self) -> struct.Struct:
        """Tag, type and number of values."""
        return struct.Struct(self.order + ("HHQ" if self.big else "HHI"))

    @property
    def count(self) -> struct.Struct:
        """Number of tags in a directory."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def offset(self) -> struct.Struct:
        """A position in the file; its size is also what a tag holds without one."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))


def read_header(stream: BinaryIO) -> tuple[Layout, int]:
    """Read the start of a TIFF structure.

    Parameters
    ----------
    stream : binary file
        Its position 0 is the start.

    Returns
    -------
    layout : Layout
        How the rest is to be read.
    position : int
        Where the first directory is.

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

    Parameters
    ----------
    stream : binary file
        A TIFF structure.
    layout : Layout
        From `read_header`.
    position : int
        Where the directory starts.
    wanted : set of int, optional
        The tags to read; all if None. The directories below are read whole.
    depth : int
        How far below the first directory this one is.

    Returns
    -------
    Directory
        Tags that point outside the file or are of unknown type are left out.

    Raises
    ------
    ValueError, struct.error
        The directory itself is broken.
    """
    found: Directory = {}
    for tag, kind, count, place in list_entries(stream, layout, position):
        if wanted is not None and tag not in wanted:
            continue
        size = (SIZES | _BIG_SIZES if layout.big else SIZES).get(kind, 0) * count
        if not 0 < size <= _MAX_VALUE:
            continue
        if size > layout.offset.size:
            stream.seek(place)
            place = layout.offset.unpack(stream.read(layout.offset.size))[0]
        stream.seek(place)
        data = stream.read(size)
        if len(data) != size:
            continue
        if tag not in POINTERS:
            found[tag] = Entry(kind, count, data)
        elif depth < _MAX_DEPTH:
            below = int.from_bytes(data, layout.endian)
            try:
                found[tag] = read_directory(stream, layout, below, depth=depth + 1)
            except BROKEN:
                continue
    return found


def list_entries(
    stream: BinaryIO, layout: Layout, position: int
) -> list[tuple[int, int, int, int]]:
    """List the tags of a directory.

    Parameters
    ----------
    stream : binary file
        A TIFF structure.
    layout : Layout
        From `read_header`.
    position : int
        Where the directory starts.

    Returns
    -------
    list of tuple of int
        For each tag: the tag, its type, the number of values, and where in the file the value
        (or, if that is too long, its position) is.

    Raises
    ------
    ValueError, struct.error
        The directory is broken.
    """
    stream.seek(position)
    (number,) = layout.count.unpack(stream.read(layout.count.size))
    if number > 0xFFFF:
        raise ValueError("too many tags")
    size = layout.head.size + layout.offset.size
    table = stream.read(number * size)
    start = position + layout.count.size
    return [
        (*layout.head.unpack_from(table, index * size), start + index * size + layout.head.size)
        for index in range(number)
    ]


def pack(directory: Directory, layout: Layout, base: int) -> bytes:
    """Write a directory and those below it.

    Parameters
    ----------
    directory : Directory
        Its values must be in the layout's byte order.
    layout : Layout
        What to write.
    base : int
        Where in the file the result will be put; must be even.

    Returns
    -------
    bytes
        The directory, its values, and the directories below it.
    """
    inline = layout.offset.size
    start = layout.count.size + len(directory) * (layout.head.size + inline) + inline
    table = bytearray(layout.count.pack(len(directory)))
    body = bytearray()
    for tag, item in sorted(directory.items()):
        body += bytes((start + len(body)) % 2)
        here = base + start + len(body)
        if isinstance(item, dict):
            table += layout.head.pack(tag, _LONG8 if layout.big else _LONG, 1)
            table += layout.offset.pack(here)
            body += pack(item, layout, here)
        else:
            table += layout.head.pack(tag, item.kind, item.count)
            if len(item.data) <= inline:
                table += item.data.ljust(inline, b"\0")
            else:
                table += layout.offset.pack(here)
                body += item.data
    return bytes(table + bytes(inline) + body)


def swap_bytes(directory: Directory) -> Directory:
    """Turn the values of a directory, and those below it, to the other byte order.

    Parameters
    ----------
    directory : Directory
        Left as it is.

    Returns
    -------
    Directory
        Bytes of undefined meaning, such as maker notes, stay as they are.
    """
    swapped: Directory = {}
    for tag, item in directory.items():
        if isinstance(item, dict):
            swapped[tag] = swap_bytes(item)
            continue
        word = _WORDS.get(item.kind, 1)
        data = bytearray(len(item.data))
        for byte in range(word):
            data[byte::word] = item.data[word - 1 - byte :: word]
        swapped[tag] = Entry(item.kind, item.count, bytes(data))
    return swapped
