"""AVIF with 8, 10 and 12 bits, and the metadata that the binding of libavif leaves out."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, BinaryIO

import imagecodecs
import numpy as np

from ssbsn_cli.core.imaging.adjust import rescale
from ssbsn_cli.core.imaging.boxes import build_box, read_boxes
from ssbsn_cli.core.imaging.codec import FINE_CHROMA, Codec, Refusal, animation
from ssbsn_cli.core.imaging.heif import KEEPS, codec_of_brands, coded_pixels, measure, metadata_of
from ssbsn_cli.core.imaging.items import XMP_TYPE, Items, hide_texts, read_items
from ssbsn_cli.core.imaging.photo import Metadata, Photo, Pixels
from ssbsn_cli.core.imaging.profile import SRGB

_BRAND = slice(8, 12)
_LOSSLESS = 100
# These numbers of H.273 say that the profile defines the colours.
_BY_PROFILE = bytes((2, 2, 0, 1))
# On a scale of 0 to 10: three times as fast as 6, and files are as small.
_SPEED = 8


def _decode(stream: BinaryIO) -> Photo:
    """Read an AVIF, and crop and turn it as its properties say; EXIF does not count."""
    data = stream.read()
    if data[_BRAND] == b"avis":
        raise animation()
    items = read_items(data)
    try:
        pixels = imagecodecs.avif_decode(hide_texts(data))
    except imagecodecs.AvifError as error:
        if "Not implemented" not in str(error):
            raise
        raise Refusal(
            "is an AVIF of a kind that cannot be read here", "Convert it to PNG or TIFF first."
        ) from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    bits = 16
    if pixels.dtype == np.uint16:
        # Some writers leave out the bit depth, but the codec's configuration also states it.
        config = items.find(b"av1C")[2:3]
        bits = (items.find(b"pixi")[5:6] or (b"\x0c" if config[0] & 0x20 else b"\x0a"))[0]
        rescale(pixels, (1 << bits) - 1, 65535, pixels)
    pixels, turned = _transform(pixels, items)
    return Photo(np.ascontiguousarray(pixels), metadata_of(items, turned), "avif", bits=bits)


def _transform(pixels: Pixels, items: Items) -> tuple[Pixels, bool]:
    """Crop, turn and mirror; also return whether width and height were exchanged."""
    turned = False
    for kind, body in items.properties:
        if kind == b"clap":
            pixels = _crop(pixels, body)
        elif kind == b"irot":
            pixels = np.rot90(pixels, body[0] & 3)
            turned ^= bool(body[0] & 1)
        elif kind == b"imir":
            pixels = pixels[:, ::-1] if body[0] & 1 else pixels[::-1]
    return pixels, turned


def _crop(pixels: Pixels, body: bytes) -> Pixels:
    """Crop to the clean aperture: its size, and the offset of its centre from the picture's."""
    numbers = struct.unpack(">iIiIiIiI", body)
    width, height, across, down = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    left = across + (pixels.shape[1] - width) / 2
    top = down + (pixels.shape[0] - height) / 2
    if min(left, top) < 0:
        raise ValueError("a crop outside the picture")
    return pixels[int(top) : int(top + height), int(left) : int(left + width)]


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write an AVIF, lossless at quality 100; 16 bits become 10, or 12 if the photo had 12."""
    pixels, bits = coded_pixels(photo)
    options: dict[str, Any] = {"bitspersample": bits}
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    elif pixels.shape[2] > 2 and quality < _LOSSLESS:
        options["pixelformat"] = "444" if quality >= FINE_CHROMA else "420"
    numbers = photo.metadata.cicp or (_BY_PROFILE if photo.metadata.icc else SRGB)
    primaries, transfer = numbers[:2]
    encoded = imagecodecs.avif_encode(
        pixels, level=quality, speed=_SPEED, primaries=primaries, transfer=transfer, **options
    )
    stream.write(add_metadata(bytes(encoded), photo.metadata))


def add_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Add metadata to an AVIF, as items and as a property of the image.

    The file must come from libavif: one image, maybe with alpha, with 32-bit positions.
    """
    head, meta, *_ = read_boxes(data)
    parts = {
        box.kind: data[box.start : box.end] for box in read_boxes(data, meta.start + 4, meta.end)
    }
    added = []
    if metadata.exif:
        added.append((b"ExifExif\0", bytes(4) + metadata.exif))
    if metadata.xmp:
        added.append((b"mimeXMP\0" + XMP_TYPE + b"\0", metadata.xmp))
    (count,) = struct.unpack_from(">H", parts[b"iinf"], 4)
    primary = parts[b"pitm"][4:]
    for item, (name, _) in enumerate(added, count + 1):
        parts[b"iinf"] += build_box(b"infe", b"\2\0\0\0" + struct.pack(">HH", item, 0) + name)
        reference = build_box(b"cdsc", struct.pack(">HH", item, 1) + primary)
        parts[b"iref"] = parts.get(b"iref", bytes(4)) + reference
    parts[b"iinf"] = bytes(4) + struct.pack(">H", count + len(added)) + parts[b"iinf"][6:]
    if metadata.icc:
        parts[b"iprp"] = _add_colors(parts[b"iprp"], primary, b"prof" + metadata.icc)
    grown = sum(8 + len(content) for content in parts.values()) + 4 - (meta.end - meta.start)
    grown += 14 * len(added)
    parts[b"iloc"] = _move_places(
        parts[b"iloc"], grown, [content for _, content in added], len(data)
    )
    rebuilt = build_box(b"meta", bytes(4) + b"".join(build_box(k, c) for k, c in parts.items()))
    extra = build_box(b"mdat", b"".join(content for _, content in added)) if added else b""
    return data[: head.end] + rebuilt + data[meta.end :] + extra


def _add_colors(content: bytes, primary: bytes, body: bytes) -> bytes:
    """Give the primary image a colour space."""
    store, links = (content[box.start : box.end] for box in read_boxes(content))
    store += build_box(b"colr", body)
    place = sum(1 for _ in read_boxes(store))
    # Version 0: the item, the number of its properties, and a byte for each.
    at = 8
    while links[at : at + 2] != primary:
        at += 3 + links[at + 2]
    end = at + 3 + links[at + 2]
    links = (
        links[: at + 2]
        + bytes([links[at + 2] + 1])
        + links[at + 3 : end]
        + bytes([place])
        + links[end:]
    )
    return build_box(b"ipco", store) + build_box(b"ipma", links)


def _move_places(content: bytes, by: int, added: list[bytes], size: int) -> bytes:
    """Move the positions of items by some bytes, and add new items at the end of the file."""
    assert content[:6] == b"\0\0\0\0\x44\0"
    (count,) = struct.unpack_from(">H", content, 6)
    table = []
    at = 8
    for _ in range(count):
        item, source, extents = struct.unpack_from(">3H", content, at)
        places = struct.iter_unpack(">2I", content[at + 6 : at + 6 + 8 * extents])
        table.append((item, source, [(start + by, length) for start, length in places]))
        at += 6 + 8 * extents
    end = size + by + 8
    for item, body in enumerate(added, count + 1):
        table.append((item, 0, [(end, len(body))]))
        end += len(body)
    packed = (
        struct.pack(">3H", item, source, len(places))
        + b"".join(struct.pack(">2I", *p) for p in places)
        for item, source, places in table
    )
    return content[:6] + struct.pack(">H", len(table)) + b"".join(packed)


AVIF = Codec(
    name="avif",
    label="AVIF",
    extensions=(".avif",),
    lossy=True,
    dtypes=("uint8", "uint16"),
    matches=lambda head: codec_of_brands(head) == "avif",
    decode=_decode,
    encode=_encode,
    alphas=("unassociated",),
    max_side=65536,
    keeps=KEEPS,
    measure=measure,
)
