"""The segments of a JPEG: where they are, and what they say."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ssbsn_cli.core.imaging.codec import cut_short
from ssbsn_cli.core.imaging.photo import Metadata
from ssbsn_cli.core.imaging.photoshop import MARK, find_iptc
from ssbsn_cli.core.imaging.xmp import extension_id, without_extension

EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
# Of an extended XMP, beside its name: the digest, the whole length and the position.
EXTENSION_HEAD = 40
ICC = b"ICC_PROFILE\0"
EOI, SOS, COM = 0xD9, 0xDA, 0xFE
NO_END = 0
APP0, APP1, APP13, APP14, APP15 = 0xE0, 0xE1, 0xED, 0xEE, 0xEF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
LS = 0xF7
OTHER_PICTURES = "further pictures in the file"

_SOI, _APP2, _APP11 = 0xD8, 0xE2, 0xEB
_JFIF = b"JFIF\0"
_PICTURES = b"MPF\0"
# Within compressed data 0xFF is followed by 0 or by a restart marker.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_UNITS = {1: 1.0, 2: 2.54}


def list_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment up to the end of the image.

    If there is no end marker after the last scan, `NO_END` stands for it, where the scan must end
    at the latest.

    Raises
    ------
    Refusal
        The file is cut short before there is a scan.
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
    """What the segments of a file say, and what Pillow needs of it."""

    frame: bytes = b""
    kind: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    extension: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    icc: dict[int, bytes] = field(default_factory=dict)
    resources: bytearray = field(default_factory=bytearray)
    comments: list[str] = field(default_factory=list)
    resolution: tuple[float, float] | None = None
    lost: list[str] = field(default_factory=list)
    scans: int = 0
    exact: set[tuple[int, int]] = field(default_factory=set)

    def take(self, marker: int, body: bytes) -> None:
        """Note what a segment says."""
        if marker in FRAMES or marker == LS:
            self.frame, self.kind = body, marker
        elif marker == SOS:
            self.scans += 1
            self._take_scan(body)
        elif marker == COM:
            self.comments.append(_text(body))
        elif marker == APP0 and body.startswith(_JFIF) and len(body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            if unit in _UNITS and across and down:
                self.resolution = across * _UNITS[unit], down * _UNITS[unit]
        elif marker == APP1 and body.startswith(EXIF):
            self.exif = self.exif or body[len(EXIF) :]
        elif marker == APP1 and body.startswith(XMP):
            self.xmp = self.xmp or body[len(XMP) :]
        elif marker == APP1 and body.startswith(XMP_EXTENSION):
            self._take_extension(body[len(XMP_EXTENSION) :])
        elif marker == _APP2 and body.startswith(ICC) and len(body) > len(ICC) + 2:
            self.icc[body[len(ICC)]] = body[len(ICC) + 2 :]
        elif marker == _APP2 and body.startswith(_PICTURES):
            self.lost.append(OTHER_PICTURES)
        elif marker == _APP11 and body.startswith(b"JP"):
            self.lost.append("content credentials")
        elif marker == APP13 and body.startswith(MARK):
            self.resources += body[len(MARK) :]

    def _take_scan(self, head: bytes) -> None:
        """Note which coefficients of a block are known to the last bit, by their component."""
        number = head[0] if head else 0
        if len(head) >= 4 + 2 * number:
            first, last, bits = head[1 + 2 * number :][:3]
            if not bits & 0x0F:
                places = range(first, last + 1)
                self.exact.update((head[1 + 2 * i], at) for i in range(number) for at in places)

    def is_whole(self) -> bool:
        """Tell whether the scans bring every coefficient to the last bit."""
        components = self.frame[6::3]
        return all((name, at) in self.exact for name in components for at in range(64))

    def _take_extension(self, part: bytes) -> None:
        if len(part) > EXTENSION_HEAD:
            at = int.from_bytes(part[36:40], "big")
            self.extension[part[:32].upper(), at] = part[EXTENSION_HEAD:]

    def metadata(self) -> Metadata:
        """Return what was noted."""
        parts: list[bytes] = []
        length = 0
        xmp, name = self.xmp, extension_id(self.xmp)
        for (owner, at), part in sorted(self.extension.items()):
            if owner == name and at == length:
                parts.append(part)
                length += len(part)
        if name and not parts:
            xmp = without_extension(xmp)
            self.lost.append("the extended XMP, which is missing")
        return Metadata(
            self.exif,
            xmp,
            b"".join(self.icc[part] for part in sorted(self.icc)),
            xmp_extension=b"".join(parts),
            iptc=find_iptc(bytes(self.resources)),
            resolution=self.resolution,
            text=tuple(("Comment", text) for text in self.comments),
            lost=tuple(dict.fromkeys(self.lost)),
        )


def _text(body: bytes) -> str:
    try:
        return body.decode().rstrip("\0")
    except UnicodeDecodeError:
        return body.decode("latin-1").rstrip("\0")
