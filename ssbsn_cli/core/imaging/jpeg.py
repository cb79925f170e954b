"""JPEG: its segments, its pixels, and the metadata between them."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.jpeg_segments import (
    APP0,
    APP1,
    APP13,
    APP14,
    APP15,
    COM,
    EOI,
    EXIF,
    EXTENSION_HEAD,
    FRAMES,
    ICC,
    LS,
    NO_END,
    OTHER_PICTURES,
    SOS,
    XMP,
    XMP_EXTENSION,
    Contents,
    list_segments,
)
from ssbsn_cli.core.imaging.photo import Photo, Pixels
from ssbsn_cli.core.imaging.photoshop import MARK, wrap_iptc
from ssbsn_cli.core.imaging.pillow import save_array, to_array
from ssbsn_cli.core.imaging.xmp import LOST_VIDEO, extension_id

_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_MAX_SEGMENT = 65533
_MAX_ICC = 255 * (_MAX_SEGMENT - len(ICC) - 2)
# Padding and the like.
_LITTLE = 4096
_FINE_CHROMA = 90
# Progressive photos have about ten; each one more costs time for every pixel.
_MAX_SCANS = 100
# The mean of a block of 64 pixels takes at least one bit.
_MOST_PIXELS_PER_BYTE = 512
# Without data, decoders go on with zeros; this begins with ones.
_FILL = b"\xfe" + np.random.default_rng(0).integers(1, 255, 1 << 14, dtype=np.uint8).tobytes()


def _decode(stream: BinaryIO) -> Photo:
    """Read a grey or RGB JPEG; whatever follows the end of the image is ignored."""
    data = stream.read()
    found = Contents()
    # Pillow gets no metadata: it would warn of broken ones, and joins EXIF blocks.
    plain = [data[:2]]
    kept = end = 2
    marker = NO_END
    for marker, start, end in list_segments(data):
        if marker in (EOI, NO_END):
            break
        found.take(marker, data[start + 4 : end])
        if marker == COM or (APP0 < marker <= APP15 and marker != APP14):
            plain.append(data[kept:start])
            kept = end
        if found.scans > _MAX_SCANS:
            raise Refusal(
                f"is a JPEG of more than {_MAX_SCANS} scans, which no photo has", "Export it anew."
            )
    _check_frame(found)
    if not found.scans or (marker == NO_END and not found.is_whole()):
        raise cut_short()
    if marker == EOI:
        plain.append(data[kept:end])
        found.lost += _name_rest(data[end:])
        del data
        pixels = _pixels(plain)
    else:
        # A disk that was cleared before all was copied is no picture.
        plain.append(data[kept:end].rstrip(b"\0\xff"))
        pixels = _pixels_without_end(plain)
    return Photo(pixels, found.metadata(), "jpeg")


def _name_rest(rest: bytes) -> list[str]:
    """Say what follows the end of the image, unless it is little."""
    if b"MotionPhoto_Data" in rest or rest[4:8] == b"ftyp":
        return [LOST_VIDEO]
    if rest.startswith(b"\xff\xd8"):
        return [OTHER_PICTURES]
    return ["data after the picture's end"] if len(rest) > _LITTLE else []


def _pixels(parts: list[bytes]) -> Pixels:
    image = JpegImageFile(io.BytesIO(b"".join(parts)))
    parts.clear()
    image.load()
    return to_array(image)


def _pixels_without_end(parts: list[bytes]) -> Pixels:
    """Decode an image without an end marker if all of its rows are there.

    What follows the last row does not matter, but what follows the last of too few becomes rows.
    """
    end = bytes((0xFF, EOI))
    pixels = _pixels([*parts, end])
    if not np.array_equal(pixels, _pixels([*parts, _FILL, end])):
        raise cut_short()
    return pixels


def _measure(stream: BinaryIO) -> tuple[int, int]:
    data = stream.read()
    for marker, start, end in list_segments(data):
        if marker in FRAMES and end - start >= 9:
            height, width = struct.unpack_from(">HH", data, start + 5)
            if height * width > _MOST_PIXELS_PER_BYTE * len(data):
                raise cut_short()
            return width, height
        if marker == SOS:
            break
    return 0, 0


def _check_frame(found: Contents) -> None:
    frame = found.frame
    if len(frame) < 6:
        raise damaged("JPEG")
    export = "Export it as a 16-bit TIFF or PNG first."
    if found.kind == LS:
        raise Refusal("is a JPEG-LS, which cannot be read here", export)
    if found.kind in _LOSSLESS:
        raise Refusal("is a lossless JPEG, which cannot be read here", export)
    if frame[0] != 8:
        raise Refusal(
            f"is a JPEG of {frame[0]} bits per channel, which cannot be read here", export
        )
    if frame[5] == 4:
        raise Refusal(
            "is a CMYK JPEG, made for printing", "Convert it to sRGB first, in an image editor."
        )
    if frame[5] not in (1, 3):
        raise Refusal(
            f"is a JPEG of {frame[5]} channels, which cannot be read here",
            "Export it as an RGB image first.",
        )


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a baseline JPEG."""
    kept = photo.metadata
    more = b""
    if kept.xmp:
        more += _segment(APP1, XMP + kept.xmp)
    if kept.iptc:
        more += _segment(APP13, MARK + wrap_iptc(kept.iptc))
    room = _MAX_SEGMENT - len(XMP_EXTENSION) - EXTENSION_HEAD
    for at in range(0, len(kept.xmp_extension), room):
        place = struct.pack(">II", len(kept.xmp_extension), at)
        head = XMP_EXTENSION + extension_id(kept.xmp) + place
        more += _segment(APP1, head + kept.xmp_extension[at : at + room])
    for keyword, text in kept.text:
        line = text if keyword == "Comment" else f"{keyword}: {text}"
        more += _segment(COM, line.encode()[:_MAX_SEGMENT])
    save_array(
        photo.pixels,
        stream,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= _FINE_CHROMA else "4:2:0",
        exif=EXIF + kept.exif if kept.exif else b"",
        icc_profile=kept.icc,
        dpi=kept.resolution or (0, 0),
        extra=more,
    )


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


JPEG = Codec(
    name="jpeg",
    label="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
    dtypes=("uint8",),
    matches=lambda head: head.startswith(b"\xff\xd8\xff"),
    decode=_decode,
    encode=_encode,
    max_side=65500,
    keeps={
        "exif": _MAX_SEGMENT - len(EXIF),
        "xmp": _MAX_SEGMENT - len(XMP),
        "xmp_extension": UNLIMITED,
        "icc": _MAX_ICC,
        "iptc": _MAX_SEGMENT - 100,
        "resolution": UNLIMITED,
        "text": _MAX_SEGMENT,
    },
    measure=_measure,
)
