"""The segments of a JPEG: find them, read them, and write metadata as segments."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ssbsn_cli.core.imaging.codec import UNLIMITED, cut_short
from ssbsn_cli.core.imaging.photo import (
    CREDENTIALS,
    LITTLE,
    NOT_SQUARE,
    OTHER_PICTURES,
    PRIVATE,
    Metadata,
)
from ssbsn_cli.core.imaging.photoshop import MARK, read_resources, wrap_iptc
from ssbsn_cli.core.imaging.xmp import EXTENSION, extend, extension_id, join_extension, without

EOI, SOS = 0xD9, 0xDA
NO_END = 0
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
LS = 0xF7
ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {0xCC}

_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_SOI, _COM = 0xD8, 0xFE
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xEF
_JFIF = b"JFIF\0"
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
# After its name, an extended XMP has a digest, the total length and the position of the part.
_EXTENSION_HEAD = 40
_ICC = b"ICC_PROFILE\0"
_PICTURES = b"MPF\0"
_MAX_BODY = 65533
KEEPS = {
    "exif": _MAX_BODY - len(_EXIF),
    "xmp": UNLIMITED,
    "xmp_extension": UNLIMITED,
    "icc": 255 * (_MAX_BODY - len(_ICC) - 2),
    "iptc": _MAX_BODY - 100,
    "resolution": UNLIMITED,
    # A colon and a space separate a keyword and its text.
    "text": _MAX_BODY - 2,
}
# Within compressed data, 0 or a restart marker follows 0xFF.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_UNITS = {1: 1.0, 2: 2.54}


def only_metadata(marker: int) -> bool:
    """Return whether the pixels do not depend on a segment; Adobe's APP14 defines the colours."""
    return marker == _COM or (_APP0 < marker <= _APP15 and marker != _APP14)


def list_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment up to the end of the image.

    If there is no end marker after the last scan, `NO_END` replaces it, at the last possible end of
    the scan. A file that is cut short before the first scan is refused.
    """
    at = 2
    scanned = False
    stop = len(data)
    while found := _MARKER.search(data, at):
        marker = data[found.end() - 1]
        if marker == EOI:
            yield marker, found.start(), found.end()
            return
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        if marker == _SOI or at > len(data):
            stop = found.start()
            break
        yield marker, found.start(), at
        scanned = scanned or marker == SOS
    if not scanned:
        raise cut_short()
    yield NO_END, stop, stop


@dataclass
class Contents:
    """The contents of a file's segments."""

    frame: bytes = b""
    kind: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    extension: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    extension_length: int = 0
    icc: dict[int, bytes] = field(default_factory=dict)
    resources: bytearray = field(default_factory=bytearray)
    comments: list[str] = field(default_factory=list)
    resolution: tuple[float, float] | None = None
    lost: list[str] = field(default_factory=list)
    scans: int = 0
    exact: set[tuple[int, int]] = field(default_factory=set)

    def take(self, marker: int, body: bytes) -> None:
        """Take the contents of a segment."""
        if marker in FRAMES or marker == LS:
            self.frame, self.kind = body, marker
        elif marker == SOS:
            self.scans += 1
            self._take_scan(body)
        elif marker == _COM:
            self.comments.append(_text(body))
        elif marker == _APP0 and body.startswith(_JFIF) and len(body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            if unit in _UNITS and across and down:
                self.resolution = across * _UNITS[unit], down * _UNITS[unit]
            elif across != down and unit not in _UNITS:
                self.lost.append(NOT_SQUARE)
        elif marker == _APP1 and body.startswith(_EXIF):
            # What is too long for one segment goes on in the next.
            if not self.exif or not body.startswith((b"II*\0", b"MM\0*"), len(_EXIF)):
                self.exif += body[len(_EXIF) :]
        elif marker == _APP1 and body.startswith(_XMP) and not self.xmp:
            self.xmp = body[len(_XMP) :]
        elif marker == _APP1 and body.startswith(_XMP_EXTENSION):
            self._take_extension(body[len(_XMP_EXTENSION) :])
        elif marker == _APP2 and body.startswith(_ICC) and len(body) > len(_ICC) + 2:
            self.icc[body[len(_ICC)]] = body[len(_ICC) + 2 :]
        elif marker == _APP2 and body.startswith(_PICTURES):
            self.lost.append(OTHER_PICTURES)
        elif marker == _APP11 and body.startswith(b"JP"):
            self.lost.append(CREDENTIALS)
        elif marker == _APP13 and body.startswith(MARK):
            self.resources += body[len(MARK) :]
        elif only_metadata(marker) and len(body) > LITTLE:
            self.lost.append(PRIVATE)

    def _take_scan(self, head: bytes) -> None:
        """Note which coefficients of a block are complete to the last bit, for each component."""
        number = head[0] if head else 0
        if len(head) >= 4 + 2 * number:
            first, last, bits = head[1 + 2 * number :][:3]
            if self.kind not in _PROGRESSIVE:
                # Decoders ignore what other frames say there.
                first, last, bits = 0, 63, 0
            if not bits & 0x0F:
                places = range(first, last + 1)
                self.exact.update((head[1 + 2 * i], at) for i in range(number) for at in places)

    def is_whole(self) -> bool:
        """Return whether the scans contain every coefficient to the last bit."""
        components = self.frame[6::3]
        return all((name, at) in self.exact for name in components for at in range(64))

    def _take_extension(self, part: bytes) -> None:
        if len(part) > _EXTENSION_HEAD:
            length, at = struct.unpack_from(">II", part, 32)
            self.extension_length = length
            self.extension[part[:32].upper(), at] = part[_EXTENSION_HEAD:]

    def metadata(self) -> Metadata:
        """Return the metadata in the segments."""
        parts: list[bytes] = []
        length = 0
        xmp, name = self.xmp, extension_id(self.xmp)
        for (owner, at), part in sorted(self.extension.items()):
            if owner == name and at == length:
                parts.append(part)
                length += len(part)
        if name and (not parts or length < self.extension_length):
            xmp, parts = without(xmp, EXTENSION)[0], []
            self.lost.append("the extended XMP, which is missing or incomplete")
        iptc, paths = read_resources(bytes(self.resources))
        xmp, extension = join_extension(xmp, b"".join(parts))
        return Metadata(
            self.exif,
            xmp,
            b"".join(self.icc[part] for part in sorted(self.icc)),
            xmp_extension=extension,
            iptc=iptc,
            resolution=self.resolution,
            text=tuple(("Comment", text) for text in self.comments),
            lost=(*self.lost, *paths),
        )


def _text(body: bytes) -> str:
    try:
        return body.decode().rstrip("\0")
    except UnicodeDecodeError:
        return body.decode("latin-1").rstrip("\0")


def write_segments(metadata: Metadata) -> bytes:
    """Return segments that hold a photo's metadata, except its profile and resolution."""
    segments = []
    if metadata.exif:
        segments.append((_APP1, _EXIF + metadata.exif))
    xmp, extension = metadata.xmp, metadata.xmp_extension
    if len(xmp) > _MAX_BODY - len(_XMP):
        xmp, extension = extend(xmp)
    if xmp:
        segments.append((_APP1, _XMP + xmp))
    if metadata.iptc:
        segments.append((_APP13, MARK + wrap_iptc(metadata.iptc)))
    room = _MAX_BODY - len(_XMP_EXTENSION) - _EXTENSION_HEAD
    for at in range(0, len(extension), room):
        head = extension_id(xmp) + struct.pack(">II", len(extension), at)
        segments.append((_APP1, _XMP_EXTENSION + head + extension[at : at + room]))
    for keyword, text in metadata.text:
        line = text if keyword == "Comment" else f"{keyword}: {text}"
        segments.append((_COM, line.encode()))
    return b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
    )
