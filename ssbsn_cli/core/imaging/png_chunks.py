"""The metadata chunks of a PNG: colours, EXIF, XMP, IPTC, print size, text."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from ssbsn_cli.core.imaging.codec import UNLIMITED
from ssbsn_cli.core.imaging.photo import (
    BRIGHTNESS,
    CREDENTIALS,
    DAMAGED,
    LITTLE,
    NOT_SQUARE,
    PRIVATE,
    Metadata,
)
from ssbsn_cli.core.imaging.photoshop import RESOURCE, read_resources, wrap_iptc
from ssbsn_cli.core.imaging.profile import PRIMARIES, SRGB, profile_of_gamma

KEEPS = dict.fromkeys(("exif", "xmp", "icc", "cicp", "iptc", "resolution", "text"), UNLIMITED)

_EXIF = b"Exif\0\0"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP = "XML:com.adobe.xmp"
_RAW_PROFILE = "Raw profile type "
_IPTC_PROFILE = _RAW_PROFILE + "iptc"
# The name of a profile, its length, and its bytes as lines of hexadecimal digits.
_RAW_BODY = re.compile(rb"\s*+[^\n]*+\n\s*+\d++\s++([0-9A-Fa-f\s]*+)")
_LINE = 72
_INCH = 0.0254
# The most inflated bytes of all compressed chunks together, and the most texts.
_MAX_INFLATED = 64 << 20
_MAX_TEXTS = 1000
_SRGB_GAMMA = 0.45455
_CLOSE = 0.002
_LOST = {b"caBX": CREDENTIALS, b"mDCV": BRIGHTNESS, b"cLLI": BRIGHTNESS}


@dataclass
class Statements:
    """The contents of a file's metadata chunks, collected one by one."""

    icc: bytes | None = None
    cicp: bytes = b""
    narrow: bool = False
    srgb: bool = False
    gamma: float | None = None
    corners: tuple[float, ...] | None = None
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    resolution: tuple[float, float] | None = None
    text: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _room: int = _MAX_INFLATED

    def take(self, kind: bytes, body: bytes) -> None:
        """Take the contents of a chunk, or note that it is broken or one too many."""
        try:
            if kind in (b"tEXt", b"zTXt", b"iTXt"):
                self._take_text(kind, body)
            elif kind == b"eXIf":
                self.exif = body.removeprefix(_EXIF)
            elif kind == b"iCCP" and self.icc is None:
                self.icc = self._inflate(body[body.index(b"\0") + 2 :])
            elif kind == b"cICP" and len(body) == 4:
                # Pixels here are always RGB, and are converted to the full range.
                self.cicp = body[:2] + b"\0\1"
                self.narrow = body[3] == 0
            elif kind == b"sRGB":
                self.srgb = True
            elif kind == b"gAMA":
                self.gamma = struct.unpack(">I", body)[0] / 1e5
            elif kind == b"cHRM":
                self.corners = tuple(value / 1e5 for value in struct.unpack(">8I", body))
            elif kind == b"pHYs":
                across, down, unit = struct.unpack(">IIB", body)
                if unit == 1 and across and down:
                    self.resolution = across * _INCH, down * _INCH
                elif across != down and not unit:
                    self.lost.append(NOT_SQUARE)
            elif kind in _LOST:
                self.lost.append(_LOST[kind])
            elif kind[0] & 0x20 and len(body) > LITTLE:
                self.lost.append(PRIVATE)
        except (ValueError, struct.error, zlib.error):
            self.lost.append(DAMAGED)

    def _take_text(self, kind: bytes, body: bytes) -> None:
        name, rest = body.split(b"\0", 1)
        keyword = name.decode("latin-1")
        coding = "latin-1"
        if kind == b"zTXt":
            rest = self._inflate(rest[1:])
        elif kind == b"iTXt":
            packed, coding = rest[:1] == b"\1", "utf-8"
            rest = rest[2:].split(b"\0", 2)[2]
            rest = self._inflate(rest) if packed else rest
        if keyword == _XMP:
            self.xmp = rest
        elif keyword.startswith(_RAW_PROFILE):
            self._take_profile(keyword.removeprefix(_RAW_PROFILE), rest)
        elif len(self.text) < _MAX_TEXTS:
            self.text.append((keyword, rest.decode(coding)))
        else:
            self.lost.append(DAMAGED)

    def _take_profile(self, name: str, body: bytes) -> None:
        """Take a profile that older programs write as text."""
        found = _RAW_BODY.match(body)
        content = bytes.fromhex(found[1].decode()) if found else b""
        if content.startswith(_EXIF) or name == "exif":
            self.exif = self.exif or content.removeprefix(_EXIF)
        elif name == "xmp" or content.startswith(_JPEG_XMP):
            self.xmp = self.xmp or content.removeprefix(_JPEG_XMP)
        elif name in ("iptc", "8bim"):
            lost: tuple[str, ...] = ()
            if content.startswith(RESOURCE):
                content, lost = read_resources(content)
            self.iptc = self.iptc or content
            self.lost += lost
        elif name in ("icc", "icm"):
            self.icc = self.icc or content
        else:
            self.lost.append(PRIVATE)

    def _inflate(self, data: bytes) -> bytes:
        inflater = zlib.decompressobj()
        # 0 would mean no limit.
        content = inflater.decompress(data, max(self._room, 1))
        self._room -= len(content)
        if inflater.unconsumed_tail:
            raise ValueError("more than a photo has")
        return content

    def metadata(self, grey: bool) -> Metadata:
        """Return the metadata in the chunks, for grey or coloured pixels."""
        icc, cicp = self.icc or b"", self.cicp
        # Of several statements, cICP wins, then iCCP, then sRGB.
        if self.srgb and not icc:
            cicp = cicp or SRGB
        if not icc and not cicp and (self.gamma or self.corners):
            if self._is_srgb(grey):
                cicp = SRGB
            else:
                icc = profile_of_gamma(self.gamma, self.corners, grey)
        return Metadata(
            self.exif,
            self.xmp,
            icc,
            cicp=cicp,
            iptc=self.iptc,
            resolution=self.resolution,
            text=tuple(self.text),
            lost=tuple(self.lost),
        )

    def _is_srgb(self, grey: bool) -> bool:
        gamma, corners = self.gamma or _SRGB_GAMMA, self.corners or PRIMARIES[1]
        pairs = [(gamma, _SRGB_GAMMA), *(() if grey else zip(corners, PRIMARIES[1], strict=True))]
        return all(abs(one - other) < _CLOSE for one, other in pairs)


def write_statements(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and content of each chunk that holds a photo's metadata."""
    if metadata.cicp == SRGB:
        yield b"sRGB", b"\0"
    elif metadata.cicp:
        yield b"cICP", metadata.cicp
    if metadata.icc and metadata.cicp != SRGB:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)
    if metadata.resolution:
        across, down = (round(value / _INCH) for value in metadata.resolution)
        yield b"pHYs", struct.pack(">IIB", across, down, 1)
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        yield b"iTXt", _XMP.encode() + bytes(5) + metadata.xmp
    if metadata.iptc:
        resources = wrap_iptc(metadata.iptc)
        digits = resources.hex()
        lines = [digits[at : at + _LINE] for at in range(0, len(digits), _LINE)]
        body = "\n".join(["\niptc", f"{len(resources):8d}", *lines, ""])
        yield b"zTXt", _IPTC_PROFILE.encode() + bytes(2) + zlib.compress(body.encode())
    for keyword, text in metadata.text:
        name = keyword.encode("latin-1", "replace")[:79] + b"\0"
        try:
            yield b"tEXt", name + text.encode("latin-1")
        except UnicodeEncodeError:
            yield b"iTXt", name + bytes(4) + text.encode()
