"""The tags of a camera raw file: metadata of the photo, and whether the file is complete."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from PIL.JpegImagePlugin import JpegImageFile

from ssbsn_cli.core.imaging.boxes import read_boxes
from ssbsn_cli.core.imaging.codec import Refusal, cut_short
from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DESCRIPTIVE,
    DNG_VERSION,
    EXIF_IFD,
    GPS_IFD,
    IPTC,
    MAKER_NOTE,
    ORIENTATION,
    SUB_DIRECTORIES,
    XMP,
    Directory,
    Entry,
    Layout,
    build_exif,
    list_tags,
    next_directory,
    parse_exif,
    read_directory,
    read_tiff_header,
    take,
)
from ssbsn_cli.core.imaging.exif_fields import LOST_NOTES
from ssbsn_cli.core.imaging.orientation import settle_upright
from ssbsn_cli.core.imaging.photo import Metadata
from ssbsn_cli.core.imaging.photoshop import order_iptc
from ssbsn_cli.core.imaging.xmp import SETTINGS, without

# Orientation, sizes, colours and positions are no longer true of a developed photo. Maker notes
# mean nothing without the raw data, and often refer to positions in its file.
_NOT_KEPT = {ORIENTATION, MAKER_NOTE, 40961, 40962, 40963, 40965, 37396, 41492}
# A DNG that was made from another raw file has maker notes here.
_PRIVATE_NOTES = 50740
# Fields that LibRaw reads from old formats are kept.
_LOST_EXIF = "EXIF except for exposure and date"
_MAX_PICTURES = 64
_EXPOSURE, _MOST_STOPS = 50730, 8
# Warps, gain maps against vignetting, and the like.
_OPCODES = {51008, 51009, 51022}
_CANON_BOX = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# The positions and lengths of strips and tiles.
_PARTS = ((273, 279), (324, 325))
_PURPOSE, _REDUCED = 254, 1
# Panasonic's files: width, height, preview, kind of packing, and the start of the raw data.
_PANASONIC = b"IIU\0"
_WIDTH, _HEIGHT, _PREVIEW, _PACKING, _RAW_DATA = 2, 3, 46, 45, 280
_STORAGE = {SUB_DIRECTORIES, _PURPOSE, _WIDTH, _HEIGHT, _PACKING, _RAW_DATA, *_OPCODES}
_STORAGE |= {tag for pair in _PARTS for tag in pair}


def read_raw_metadata(stream: BinaryIO) -> Metadata:
    """Collect the metadata of a raw photo, which each maker stores elsewhere.

    Metadata of the raw data are left out: orientation, size, maker notes, and converter settings.
    """
    stream.seek(0)
    head = stream.read(92)
    lost: list[str] = []
    try:
        if head.startswith(b"FUJIFILM"):
            start, size = (int.from_bytes(head[at : at + 4], "big") for at in (84, 88))
            stream.seek(start)
            layout, found = _read_preview(stream.read(size))
        elif head[4:8] == b"ftyp":
            layout, found = _read_canon_exif(stream)
        else:
            layout, position = read_tiff_header(stream)
            wanted = DESCRIPTIVE | {XMP, IPTC, _PREVIEW, _PRIVATE_NOTES}
            found = read_directory(stream, layout, position, wanted)
            preview = take(found, _PREVIEW)
            if head.startswith(_PANASONIC) and preview:
                with suppress(*BROKEN, SyntaxError, OSError):
                    layout, found = _read_preview(preview)
            if any(_OPCODES & set(each) for each in _read_pictures(stream, layout, position)):
                lost.append("corrections of the lens that the DNG asks for")
    except (*BROKEN, Refusal, SyntaxError, OSError, KeyError, StopIteration):
        return Metadata(lost=(_LOST_EXIF,))
    xmp, settings = without(take(found, XMP), SETTINGS)
    iptc = order_iptc(take(found, IPTC))
    inner = found.get(EXIF_IFD)
    if take(found, _PRIVATE_NOTES) or (isinstance(inner, dict) and MAKER_NOTE in inner):
        lost.append(LOST_NOTES)
    exif = build_exif(_without(found, _NOT_KEPT), layout.order) if found else b""
    return settle_upright(Metadata(exif, xmp, iptc=iptc, lost=(*lost, *settings)))


def read_dng_exposure(stream: BinaryIO) -> float | None:
    """Return by how many stops a DNG wants to be brightened, 0 or more; None for other files."""
    try:
        layout, position = read_tiff_header(stream)
        found = read_directory(stream, layout, position, {DNG_VERSION, _EXPOSURE})
    except BROKEN:
        return None
    if DNG_VERSION not in found:
        return None
    with suppress(struct.error, ArithmeticError):
        above, below = struct.unpack(layout.order + "ii", take(found, _EXPOSURE))
        return min(max(float(above / below), 0), _MOST_STOPS)
    return 0


def check_whole(stream: BinaryIO) -> None:
    """Raise `Refusal` if pictures of a file with the structure of a TIFF lie beyond its end.

    LibRaw leaves missing pixels black, or fills them with earlier ones.
    """
    end = stream.seek(0, os.SEEK_END)
    try:
        layout, position = read_tiff_header(stream)
    except BROKEN:
        return
    for found in _read_pictures(stream, layout, position):
        tags = {tag: _numbers(item, layout) for tag, item in found.items()}
        if tags.get(_PURPOSE, [0])[0] & _REDUCED:
            continue
        parts = [
            part
            for places, sizes in _PARTS
            for part in zip(tags.get(places, ()), tags.get(sizes, ()), strict=False)
        ]
        if 4 <= tags.get(_PACKING, [0])[0] <= 7 and {_WIDTH, _HEIGHT, _RAW_DATA} <= set(tags):
            # At least 16 bytes for 14 pixels; the strips that these cameras state are wrong.
            area = tags[_WIDTH][0] * tags[_HEIGHT][0]
            parts = [(tags[_RAW_DATA][0], area * 8 // 7)]
        missing = sum(min(size, max(0, start + size - end)) for start, size in parts)
        total, different = sum(size for _, size in parts), {size for _, size in parts}
        # Old Olympus cameras claim that the last strip is as long as the others.
        if missing > (total // 32 if len(different) < len(parts) else 0):
            raise cut_short()


def _read_pictures(stream: BinaryIO, layout: Layout, first: int) -> Iterator[Directory]:
    """Read how a file's pictures are stored, from its directories and those below them."""
    places = [(first, True)]
    for _ in range(_MAX_PICTURES):
        if not places:
            return
        place, in_chain = places.pop(0)
        try:
            found = read_directory(stream, layout, place, _STORAGE)
            below = _numbers(found.pop(SUB_DIRECTORIES, None), layout)
            places += [(each, False) for each in below]
            if in_chain:
                number = len(list_tags(stream, layout, place))
                after = next_directory(stream, layout, place, number)
                places += [(after, True)] if after else []
        except BROKEN:
            continue
        yield found


def _numbers(item: Entry | Directory | None, layout: Layout) -> list[int]:
    if not isinstance(item, Entry):
        return []
    size = layout.sizes[item.kind]
    parts = (item.data[at : at + size] for at in range(0, len(item.data), size))
    return [int.from_bytes(part, layout.endian) for part in parts]


def _read_preview(jpeg: bytes) -> tuple[Layout, Directory]:
    """Read the EXIF and XMP of a camera's own JPEG."""
    preview = JpegImageFile(io.BytesIO(jpeg))
    layout, found = parse_exif(preview.info.get("exif", b"").removeprefix(b"Exif\0\0"))
    xmp = preview.info.get("xmp", b"")
    return layout, found | {XMP: Entry(1, len(xmp), xmp)}


def _read_canon_exif(stream: BinaryIO) -> tuple[Layout, Directory]:
    """Read the EXIF and XMP of a CR3, which are in separate boxes."""
    stream.seek(0)
    data = stream.read()
    outer = {data[box.start : box.start + 16]: box for box in read_boxes(data)}
    movie = next(box for box in outer.values() if box.kind == b"moov")
    inner = read_boxes(data, movie.start, movie.end)
    canon = next(box for box in inner if data[box.start : box.start + 16] == _CANON_BOX)
    blocks = {
        box.kind: data[box.start : box.end] for box in read_boxes(data, canon.start + 16, canon.end)
    }
    layout, found = parse_exif(blocks[b"CMT1"])
    for kind, tag in ((b"CMT2", EXIF_IFD), (b"CMT4", GPS_IFD)):
        if kind in blocks and (entries := parse_exif(blocks[kind])[1]):
            found[tag] = entries
    below = found.get(EXIF_IFD)
    if isinstance(below, dict) and (notes := blocks.get(b"CMT3")):
        below[MAKER_NOTE] = Entry(7, len(notes), notes)
    if box := outer.get(_XMP_BOX):
        xmp = data[box.start + 16 : box.end]
        found[XMP] = Entry(1, len(xmp), xmp)
    return layout, found


def _without(directory: Directory, tags: set[int]) -> Directory:
    return {
        tag: _without(item, tags) if isinstance(item, dict) else item
        for tag, item in directory.items()
        if tag not in tags
    }
