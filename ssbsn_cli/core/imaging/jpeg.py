"""JPEG: its segments, its pixels, and the metadata between them."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.photo import Metadata, Photo, Pixels
from ssbsn_cli.core.imaging.photoshop import MARK, find_iptc, wrap_iptc
from ssbsn_cli.core.imaging.pillow import save_array, to_array
from ssbsn_cli.core.imaging.xmp import LOST_VIDEO, extension_id, without_extension

_JFIF = b"JFIF\0"
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_PICTURES = b"MPF\0"
_OTHER_PICTURES = "further pictures in the file"
# Padding and the like.
_LITTLE = 4096

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS, _LS = {0xC3, 0xC7, 0xCB, 0xCF}, 0xF7
# Within compressed data 0xFF is followed by 0 or by a restart marker.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_MAX_SEGMENT = 65533
_MAX_ICC = 255 * (_MAX_SEGMENT - len(_ICC) - 2)
# Of an extended XMP, beside its name: the digest, the whole length and the position.
_EXTENSION_HEAD = 40
_FINE_CHROMA = 90
_UNITS = {1: 1.0, 2: 2.54}
# Progressive photos have about ten; each one more costs time for every pixel.
_MAX_SCANS = 100
# The mean of a block of 64 pixels takes at least one bit.
_MOST_PIXELS_PER_BYTE = 512
_FILL = np.random.default_rng(0).integers(1, 255, 1 << 14, dtype=np.uint8).tobytes()


@dataclass
class _Contents:
    """What the segments of a file say, and what Pillow needs of it."""

    frame: bytes = b""
    kind: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    extension: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    icc: dict[int, bytes] = field(default_factory=dict)
    resources: bytes = b""
    comments: list[str] = field(default_factory=list)
    resolution: tuple[float, float] | None = None
    lost: list[str] = field(default_factory=list)
    scans: int = 0

    def take(self, marker: int, body: bytes) -> None:
        """Note what a segment says."""
        if marker in _FRAMES or marker == _LS:
            self.frame, self.kind = body, marker
        elif marker == _SOS:
            self.scans += 1
        elif marker == _COM:
            self.comments.append(_text(body))
        elif marker == _APP0 and body.startswith(_JFIF) and len(body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            if unit in _UNITS and across and down:
                self.resolution = across * _UNITS[unit], down * _UNITS[unit]
        elif marker == _APP1 and body.startswith(_EXIF):
            self.exif = self.exif or body[len(_EXIF) :]
        elif marker == _APP1 and body.startswith(_XMP):
            self.xmp = self.xmp or body[len(_XMP) :]
        elif marker == _APP1 and body.startswith(_XMP_EXTENSION):
            self._take_extension(body[len(_XMP_EXTENSION) :])
        elif marker == _APP2 and body.startswith(_ICC) and len(body) > len(_ICC) + 2:
            self.icc[body[len(_ICC)]] = body[len(_ICC) + 2 :]
        elif marker == _APP2 and body.startswith(_PICTURES):
            self.lost.append(_OTHER_PICTURES)
        elif marker == _APP11 and body.startswith(b"JP"):
            self.lost.append("content credentials")
        elif marker == _APP13 and body.startswith(MARK):
            self.resources += body[len(MARK) :]

    def _take_extension(self, part: bytes) -> None:
        if len(part) > _EXTENSION_HEAD:
            at = int.from_bytes(part[36:40], "big")
            self.extension[part[:32].upper(), at] = part[_EXTENSION_HEAD:]

    def metadata(self) -> Metadata:
        """Return what was noted."""
        extension = b""
        xmp, name = self.xmp, extension_id(self.xmp)
        for (owner, at), part in sorted(self.extension.items()):
            if owner == name and at == len(extension):
                extension += part
        if name and not extension:
            xmp = without_extension(xmp)
            self.lost.append("the extended XMP, which is missing")
        return Metadata(
            self.exif,
            xmp,
            b"".join(self.icc[part] for part in sorted(self.icc)),
            xmp_extension=extension,
            iptc=find_iptc(self.resources),
            resolution=self.resolution,
            text=tuple(("Comment", text) for text in self.comments),
            lost=tuple(dict.fromkeys(self.lost)),
        )


def _decode(stream: BinaryIO) -> Photo:
    """Read a grey or RGB JPEG; whatever follows the end of the image is ignored."""
    data = stream.read()
    found = _Contents()
    # Pillow gets no metadata: it would warn of broken ones, and joins EXIF blocks.
    plain = [data[:2]]
    kept = end = 2
    marker = 0
    for marker, start, end in _segments(data):
        if marker == _EOI:
            break
        found.take(marker, data[start + 4 : end])
        if marker == _COM or (_APP0 < marker <= _APP15 and marker != _APP14):
            plain.append(data[kept:start])
            kept = end
    _check_frame(found)
    if not found.scans:
        raise cut_short()
    if found.scans > _MAX_SCANS:
        raise Refusal(f"is a JPEG of {found.scans} scans, more than a photo has", "Export it anew.")
    if marker == _EOI:
        plain.append(data[kept:end])
        found.lost += _name_rest(data[end:])
        del data
        pixels = _pixels(plain)
    else:
        # A disk that was cleared before all was copied is no picture.
        plain.append(data[kept:].rstrip(b"\0\xff"))
        pixels = _pixels_without_end(plain)
    return Photo(pixels, found.metadata(), "jpeg")


def _name_rest(rest: bytes) -> list[str]:
    """Say what follows the end of the image, unless it is little."""
    if b"MotionPhoto_Data" in rest or rest[4:8] == b"ftyp":
        return [LOST_VIDEO]
    if rest.startswith(b"\xff\xd8"):
        return [_OTHER_PICTURES]
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
    end = bytes((0xFF, _EOI))
    pixels = _pixels([*parts, end])
    if not np.array_equal(pixels, _pixels([*parts, _FILL, end])):
        raise cut_short()
    return pixels


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment, up to the end of the image, or of its scans."""
    at = 2
    scanned = False
    while found := _MARKER.search(data, at):
        marker = data[found.end() - 1]
        if marker == _EOI:
            yield marker, found.start(), found.end()
            return
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        if marker == _SOI or at > len(data):
            break
        yield marker, found.start(), at
        scanned = scanned or marker == _SOS
    if not scanned:
        raise cut_short()


def _measure(stream: BinaryIO) -> tuple[int, int]:
    data = stream.read()
    for marker, start, end in _segments(data):
        if marker in _FRAMES and end - start >= 9:
            height, width = struct.unpack_from(">HH", data, start + 5)
            if height * width > _MOST_PIXELS_PER_BYTE * len(data):
                raise cut_short()
            return width, height
        if marker == _SOS:
            break
    return 0, 0


def _text(body: bytes) -> str:
    try:
        return body.decode().rstrip("\0")
    except UnicodeDecodeError:
        return body.decode("latin-1").rstrip("\0")


def _check_frame(found: _Contents) -> None:
    frame = found.frame
    if len(frame) < 6:
        raise damaged("JPEG")
    export = "Export it as a 16-bit TIFF or PNG first."
    if found.kind == _LS:
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
        more += _segment(_APP1, _XMP + kept.xmp)
    if kept.iptc:
        more += _segment(_APP13, MARK + wrap_iptc(kept.iptc))
    room = _MAX_SEGMENT - len(_XMP_EXTENSION) - _EXTENSION_HEAD
    for at in range(0, len(kept.xmp_extension), room):
        place = struct.pack(">II", len(kept.xmp_extension), at)
        head = _XMP_EXTENSION + extension_id(kept.xmp) + place
        more += _segment(_APP1, head + kept.xmp_extension[at : at + room])
    for keyword, text in kept.text:
        line = text if keyword == "Comment" else f"{keyword}: {text}"
        more += _segment(_COM, line.encode()[:_MAX_SEGMENT])
    save_array(
        photo.pixels,
        stream,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= _FINE_CHROMA else "4:2:0",
        exif=_EXIF + kept.exif if kept.exif else b"",
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
        "exif": _MAX_SEGMENT - len(_EXIF),
        "xmp": _MAX_SEGMENT - len(_XMP),
        "xmp_extension": UNLIMITED,
        "icc": _MAX_ICC,
        "iptc": _MAX_SEGMENT - 100,
        "resolution": UNLIMITED,
        "text": _MAX_SEGMENT,
    },
    measure=_measure,
)
