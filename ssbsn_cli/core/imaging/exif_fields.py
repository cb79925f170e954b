"""Single fields of EXIF blocks: orientation, print resolution, maker notes.

If possible, a block is changed in place and every other byte keeps its position, since maker notes
may refer to positions in the block.
"""

from __future__ import annotations

import struct

from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DESCRIPTIVE,
    EXIF_IFD,
    INTEROP_IFD,
    MAKER_NOTE,
    ORIENTATION,
    RESOLUTION_UNIT,
    SIZES,
    X_RESOLUTION,
    Y_RESOLUTION,
    Directory,
    Entry,
    Layout,
    build_exif,
    list_tags,
    open_exif,
    parse_exif,
)

_DIMENSIONS = (40962, 40963)
# SubjectArea and SubjectLocation.
_AREAS = (37396, 41492)
_INTEROP_INDEX = 1
_ENTRY_SIZE = 12
# From this orientation on, width and height are exchanged.
FIRST_ON_SIDE = 5
# The directions in which an orientation mirrors a photo, once that is done.
MIRRORED = {2: "x", 3: "xy", 4: "y", 6: "x", 7: "xy", 8: "y"}
# All integers.
_ORIENTATION_KINDS = (1, 3, 4, 6, 8, 9)
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_LARGEST_SHORT = 0xFFFF
_INCH, _CENTIMETRE = 2, 3
_CM_PER_INCH = 2.54
# The entry in `Metadata.lost` if maker notes refer to positions.
LOST_NOTES = "maker notes"
# Maker notes with these beginnings refer to nothing outside themselves, and may be moved.
_MOVABLE_NOTES = (
    b"Apple iOS\0",
    b"FUJIFILM",
    b"Nikon\0\x02",
    b"OLYMPUS\0",
    b"OM SYSTEM\0",
    b"PENTAX \0",
)


def orientation_of(blob: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8, or 0 if it is broken or states none."""
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
    """Make an EXIF block say that its photo is upright.

    Its thumbnail, whose orientation would now be wrong, is left out. `turned` is whether width and
    height were exchanged. A broken block is returned unchanged.
    """
    try:
        stream, layout, position = open_exif(blob)
        tags = list_tags(stream, layout, position)
    except BROKEN:
        return blob
    upright = bytearray(blob)
    orientation = orientation_of(blob)
    # The position of the next directory, the thumbnail's, follows the tags.
    end = position + layout.count.size + len(tags) * _ENTRY_SIZE
    upright[end : end + layout.offset.size] = bytes(layout.offset.size)
    for tag, kind, _, place in tags:
        if tag == ORIENTATION and kind in _ORIENTATION_KINDS:
            size = SIZES[kind]
            upright[place : place + size] = int.to_bytes(1, size, layout.endian)
        elif tag == EXIF_IFD:
            try:
                below = list_tags(stream, layout, layout.read_offset(stream, place))
            except BROKEN:
                # The pointer is invalid, so no viewer finds dimensions there either.
                continue
            # Otherwise, it is not known how the pixels were turned.
            if turned == (orientation >= FIRST_ON_SIDE):
                _turn_areas(upright, below, orientation, layout)
            if turned:
                _swap_values(upright, below, _DIMENSIONS)
    if turned:
        _swap_values(upright, tags, (X_RESOLUTION, Y_RESOLUTION))
    return bytes(upright)


def _turn_areas(
    blob: bytearray, tags: list[tuple[int, int, int, int]], orientation: int, layout: Layout
) -> None:
    """Turn areas that the camera focused on: the middle, and perhaps the width and height."""
    sizes = {}
    for tag, kind, _, place in tags:
        if tag in _DIMENSIONS and kind in (_SHORT, _LONG):
            sizes[tag] = int.from_bytes(blob[place : place + SIZES[kind]], layout.endian)
    if orientation < 2 or len(sizes) < 2:
        return
    for tag, kind, count, place in tags:
        if tag not in _AREAS or kind != _SHORT or not 2 <= count <= 4:
            continue
        codec = struct.Struct(f"{layout.order}{count}H")
        at = place if count == 2 else int.from_bytes(blob[place : place + 4], layout.endian)
        if at + codec.size > len(blob):
            continue
        x, y, *extent = codec.unpack_from(blob, at)
        right, bottom = (sizes[each] - 1 for each in _DIMENSIONS)
        if orientation >= FIRST_ON_SIDE:
            x, y, right, bottom = y, x, bottom, right
            extent.reverse()
        mirrored = MIRRORED.get(orientation, "")
        x = right - x if "x" in mirrored else x
        y = bottom - y if "y" in mirrored else y
        if min(x, y) >= 0 and max(x, y) <= _LARGEST_SHORT:
            codec.pack_into(blob, at, x, y, *extent)


def _swap_values(
    blob: bytearray, tags: list[tuple[int, int, int, int]], pair: tuple[int, int]
) -> None:
    """Exchange the type, count and value (or its position) of two tags."""
    fields = [
        slice(place - 6, place + 4)
        for tag, _, count, place in tags
        if tag in pair and count == 1 and place + 4 <= len(blob)
    ]
    if len(fields) == len(pair):
        one, other = fields
        blob[one], blob[other] = blob[other], blob[one]


def is_adobe_rgb(blob: bytes) -> bool:
    """Return whether an EXIF block says that the colours are those of Adobe RGB.

    Cameras embed no profile then, but mark the block as a "DCF option file" (DCF 2.0).
    """
    try:
        item: Entry | Directory | None = parse_exif(blob)[1]
    except BROKEN:
        return False
    for tag in (EXIF_IFD, INTEROP_IFD, _INTEROP_INDEX):
        item = item.get(tag) if isinstance(item, dict) else None
    return isinstance(item, Entry) and item.data.startswith(b"R03")


def resolution_of(blob: bytes) -> tuple[float, float] | None:
    """Return the print resolution in an EXIF block, in pixels per inch across and down."""
    try:
        layout, directory = parse_exif(blob)
        unit = directory.get(RESOLUTION_UNIT)
        x, y = (_rational(directory.get(tag), layout) for tag in (X_RESOLUTION, Y_RESOLUTION))
    except (*BROKEN, ZeroDivisionError):
        return None
    kind = int.from_bytes(unit.data[:2], layout.endian) if isinstance(unit, Entry) else _INCH
    scale = {_INCH: 1.0, _CENTIMETRE: _CM_PER_INCH}.get(kind)
    return (x * scale, y * scale) if scale and x > 0 and y > 0 else None


def _rational(item: Entry | Directory | None, layout: Layout) -> float:
    if not isinstance(item, Entry):
        return 0
    above, below = struct.unpack_from(layout.order + "II", item.data)
    return float(above / below)


def add_resolution(blob: bytes, resolution: tuple[float, float]) -> bytes:
    """Rewrite an EXIF block, which may be empty, with pixels per inch and without a thumbnail."""
    layout, directory = parse_exif(blob) if blob else (Layout("<"), {})
    directory |= {
        X_RESOLUTION: _ratio(resolution[0], layout),
        Y_RESOLUTION: _ratio(resolution[1], layout),
        RESOLUTION_UNIT: Entry(_SHORT, 1, struct.pack(layout.order + "H", _INCH)),
    }
    return build_exif(directory, layout.order)


def _ratio(value: float, layout: Layout) -> Entry:
    return Entry(_RATIONAL, 1, struct.pack(layout.order + "II", round(value * 1000), 1000))


def drop_fixed_note(directory: Directory) -> bool:
    """Remove maker notes that would become garbage when moved; return whether there were any."""
    below = directory.get(EXIF_IFD)
    note = below.get(MAKER_NOTE) if isinstance(below, dict) else None
    if not isinstance(below, dict) or not isinstance(note, Entry):
        return False
    if note.data.startswith(_MOVABLE_NOTES):
        return False
    del below[MAKER_NOTE]
    return True


def private_size(blob: bytes) -> int:
    """Return the bytes of an EXIF block's values that describe no photo, as of private tags."""
    try:
        _, directory = parse_exif(blob)
    except BROKEN:
        return 0
    others = (item for tag, item in directory.items() if tag not in DESCRIPTIVE)
    return sum(len(item.data) for item in others if isinstance(item, Entry))


def movable_exif(blob: bytes) -> tuple[bytes, str]:
    """Return an EXIF block without parts that cannot be moved, and the name of those parts, or "".

    Maker notes that refer to positions become garbage when moved. Broken blocks cannot be moved.
    """
    try:
        layout, directory = parse_exif(blob)
        if drop_fixed_note(directory):
            return build_exif(directory, layout.order), LOST_NOTES
    except BROKEN:
        return b"", "EXIF, which is damaged"
    return blob, ""
