"""EXIF blocks: reading, building, and marking their photograph as upright."""

from __future__ import annotations

import io
import struct

from ssbsn_cli.core.imaging.ifd import (
    BROKEN,
    EXIF_IFD,
    POINTERS,
    SIZES,
    Directory,
    Entry,
    Layout,
    list_entries,
    pack,
    read_directory,
    read_header,
)

ORIENTATION = 274

# The tags of a first directory that describe the photograph rather than how its bytes are laid out:
# titles, camera, software, dates, people, resolution, rating and the XP tags of Windows.
DESCRIPTIVE = {269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 18246, 18249, 33432}
DESCRIPTIVE |= {40091, 40092, 40093, 40094, 40095, *POINTERS}

_DIMENSIONS = (40962, 40963)
_ORIENTATION_KINDS = (1, 3, 4)
_ENTRY_SIZE = 12


def _open(blob: bytes) -> tuple[io.BytesIO, Layout, int]:
    stream = io.BytesIO(blob)
    layout, position = read_header(stream)
    if layout.big:
        raise ValueError("EXIF is never a BigTIFF")
    return stream, layout, position


def parse_exif(blob: bytes) -> tuple[Layout, Directory]:
    """Read an EXIF block.

    Parameters
    ----------
    blob : bytes
        As in `Metadata.exif`.

    Returns
    -------
    layout : Layout
        Its byte order.
    directory : Directory
        The first directory and those below it; the thumbnail's is not read.

    Raises
    ------
    ValueError, struct.error
        It is broken.
    """
    stream, layout, position = _open(blob)
    return layout, read_directory(stream, layout, position)


def build_exif(directory: Directory, order: str) -> bytes:
    """Write an EXIF block.

    Parameters
    ----------
    directory : Directory
        What is to be in it; values in the byte order `order`.
    order : {"<", ">"}
        The byte order.

    Returns
    -------
    bytes
        As in `Metadata.exif`.
    """
    layout = Layout(order)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + pack(_without_big(directory), layout, len(head))


def _without_big(directory: Directory) -> Directory:
    """Leave out the values of types that only BigTIFF has."""
    return {
        tag: _without_big(item) if isinstance(item, dict) else item
        for tag, item in directory.items()
        if isinstance(item, dict) or item.kind in SIZES
    }


def orientation_of(blob: bytes) -> int:
    """Read how a photograph is to be turned.

    Parameters
    ----------
    blob : bytes
        As in `Metadata.exif`.

    Returns
    -------
    int
        1 to 8; 0 if the block does not say, or is broken.
    """
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
    """Make an EXIF block say that its photograph needs no turning any more.

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
        entries = list_entries(stream, layout, position)
        stream.seek(position + layout.count.size + len(entries) * _ENTRY_SIZE)
        stream.write(layout.offset.pack(0))
        for tag, kind, _, place in entries:
            if tag == ORIENTATION and kind in _ORIENTATION_KINDS:
                stream.seek(place)
                stream.write(int.to_bytes(1, SIZES[kind], layout.endian))
            elif tag == EXIF_IFD and turned:
                stream.seek(place)
                (below,) = layout.offset.unpack(stream.read(layout.offset.size))
                _swap_dimensions(stream, layout, below)
    except BROKEN:
        return blob
    return stream.getvalue()


def _swap_dimensions(stream: io.BytesIO, layout: Layout, position: int) -> None:
    """Exchange PixelXDimension and PixelYDimension: type, count and value."""
    places = [
        place - 6
        for tag, _, count, place in list_entries(stream, layout, position)
        if tag in _DIMENSIONS and count == 1
    ]
    if len(places) != len(_DIMENSIONS):
        return
    fields = []
    for place in places:
        stream.seek(place)
        fields.append(stream.read(_ENTRY_SIZE - 2))
    for place, content in zip(places, reversed(fields), strict=True):
        stream.seek(place)
        stream.write(content)
