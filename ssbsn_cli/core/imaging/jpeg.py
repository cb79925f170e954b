"""JPEG: its segments, its pixels, and the metadata between them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from PIL.JpegImagePlugin import JpegImageFile

from ssbsn_cli.core.imaging.codec import Codec, Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.photo import Metadata, Photo
from ssbsn_cli.core.imaging.pillow import save_array, to_array

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"

_SOI, _EOI, _COM = 0xD8, 0xD9, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Within compressed data 0xFF is followed by 0 or by a restart marker.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_MAX_SEGMENT = 65533
_MAX_ICC = 255 * (_MAX_SEGMENT - len(_ICC) - 2)
_FINE_CHROMA = 90


def _decode(stream: BinaryIO) -> Photo:
    """Read a grey or RGB JPEG; whatever follows the end of the image is ignored."""
    data = stream.read()
    exif = xmp = b""
    icc: dict[int, bytes] = {}
    frame = b""
    # Pillow gets no metadata: it would warn of broken ones, and joins EXIF blocks.
    plain = [data[:2]]
    kept = 2
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        if marker in _FRAMES:
            frame = body
        elif marker == _APP1 and body.startswith(_EXIF):
            exif = exif or body[len(_EXIF) :]
        elif marker == _APP1 and body.startswith(_XMP):
            xmp = xmp or body[len(_XMP) :]
        elif marker == _APP2 and body.startswith(_ICC) and len(body) > len(_ICC) + 2:
            icc[body[len(_ICC)]] = body[len(_ICC) + 2 :]
        if marker == _COM or (_APP0 < marker <= _APP15 and marker != _APP14):
            plain.append(data[kept:start])
            kept = end
        elif marker == _EOI:
            plain.append(data[kept:end])
    _check_frame(frame)
    image = JpegImageFile(io.BytesIO(b"".join(plain)))
    del data, plain
    image.load()
    profile = b"".join(icc[part] for part in sorted(icc))
    return Photo(to_array(image), Metadata(exif, xmp, profile), "jpeg")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment, up to the end of the image."""
    at = 2
    while found := _MARKER.search(data, at):
        marker = data[found.end() - 1]
        if marker == _EOI:
            yield marker, found.start(), found.end()
            return
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        if marker == _SOI or at > len(data):
            break
        yield marker, found.start(), at
    raise cut_short()


def _check_frame(frame: bytes) -> None:
    if len(frame) < 6:
        raise damaged("JPEG")
    if frame[0] != 8:
        raise Refusal(
            f"is a JPEG of {frame[0]} bits per channel, which cannot be read here",
            "Export it as a 16-bit TIFF or PNG first.",
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
    """Write a baseline JPEG, without the metadata that are too long for one."""
    kept = photo.metadata
    exif, xmp = (
        content if len(magic) + len(content) <= _MAX_SEGMENT else b""
        for magic, content in ((_EXIF, kept.exif), (_XMP, kept.xmp))
    )
    save_array(
        photo.pixels,
        stream,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= _FINE_CHROMA else "4:2:0",
        exif=_EXIF + exif if exif else b"",
        xmp=xmp,
        icc_profile=kept.icc if len(kept.icc) <= _MAX_ICC else b"",
    )


JPEG = Codec(
    name="jpeg",
    label="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe"),
    dtypes=("uint8",),
    matches=lambda head: head.startswith(b"\xff\xd8\xff"),
    decode=_decode,
    encode=_encode,
    max_side=65500,
)
