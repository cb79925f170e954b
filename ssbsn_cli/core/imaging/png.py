"""PNG: chunks and pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs

from ssbsn_cli.core.imaging.adjust import widen_range
from ssbsn_cli.core.imaging.codec import Codec, Refusal, animation, cut_short, damaged
from ssbsn_cli.core.imaging.photo import AFTER_THE_END, BEYOND, DAMAGED, LITTLE, Photo
from ssbsn_cli.core.imaging.png_chunks import KEEPS, Statements, write_statements

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33
_GREYS = (0, 4)
_ONE_FRAME = b"\0\0\0\1"
# libpng's own limit.
_MAX_SIDE = 1_000_000
# OpenCV's defaults: three times as fast as zlib's own, and photos are no larger.
_FAST = {"level": 1, "strategy": 3, "filter": 16}
# Compressed noise is larger than the noise by at most this part of it, and by the PNG's headers.
_OVERHEAD, _HEADERS = 256, 4096


def _decode(stream: BinaryIO) -> Photo:
    """Read a PNG: a palette becomes RGB, transparent entries and colours become alpha."""
    data = stream.read()
    color = -1
    said = Statements()
    # libpng gets only necessary chunks, since it would also unpack texts and profiles.
    plain: list[bytes | memoryview] = [_SIGNATURE]
    view = memoryview(data)
    for kind, start, end, sound in _chunks(data):
        if not sound:
            said.lost.append(DAMAGED)
            continue
        body = data[start + 8 : end - 4] if kind != b"IDAT" else b""
        if kind == b"IEND" and len(data) - end > LITTLE:
            said.lost.append(AFTER_THE_END)
        if kind == b"IHDR" and color < 0:
            color = _read_header(body)
        elif kind == b"fdAT" or (kind == b"acTL" and body[:4] != _ONE_FRAME):
            raise animation()
        else:
            said.take(kind, body)
        if _is_critical(kind) or kind == b"tRNS":
            plain.append(view[start:end])
    if color < 0:
        raise damaged("PNG")
    packed = b"".join(plain)
    del data, view, plain
    pixels = imagecodecs.png_decode(packed)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if said.narrow:
        pixels, clipped = widen_range(pixels, 8 * pixels.itemsize)
        said.lost += [BEYOND] if clipped else []
    return Photo(pixels, said.metadata(grey=color in _GREYS), "png")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yield (kind, start, end, whether it is intact) of each chunk, up to the end of the image."""
    view = memoryview(data)
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        sound = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
        if not sound and _is_critical(kind):
            raise damaged("PNG")
        yield kind, at, end, sound
        if kind == b"IEND":
            return
        at = end
    raise cut_short()


def _is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20


def _read_header(body: bytes) -> int:
    """Return the colour type."""
    if len(body) != 13:
        raise damaged("PNG")
    width, height, _, color = struct.unpack(">IIBB", body[:10])
    if max(width, height) > _MAX_SIDE:
        raise Refusal(
            f"claims to be {width} x {height} pixels, too large for a PNG here",
            "Export it as TIFF first.",
        )
    return int(color)


def _measure(stream: BinaryIO) -> tuple[int, int]:
    head = stream.read(24)
    if head[12:16] == b"CgBI":
        raise Refusal("is a PNG for Apple's devices alone", "Export it as PNG, TIFF or JPEG first.")
    if head[12:16] != b"IHDR":
        raise damaged("PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height


def _encode(photo: Photo, stream: BinaryIO, _: int) -> None:
    pixels = photo.pixels[..., 0] if photo.pixels.shape[2] == 1 else photo.pixels
    # Each row begins with a byte. By default, imagecodecs leaves too little room for narrow photos.
    most = pixels.nbytes + len(pixels)
    room = most + most // _OVERHEAD + _HEADERS
    encoded = imagecodecs.png_encode(pixels, out=room, **_FAST)
    plain = memoryview(encoded)
    stream.write(plain[:_HEADER_END])
    for kind, content in write_statements(photo.metadata):
        stream.write(_chunk(kind, content))
    stream.write(plain[_HEADER_END:])


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


PNG = Codec(
    name="png",
    label="PNG",
    extensions=(".png",),
    dtypes=("uint8", "uint16"),
    matches=lambda head: head.startswith(_SIGNATURE),
    decode=_decode,
    encode=_encode,
    alphas=("unassociated",),
    max_side=_MAX_SIDE,
    keeps=KEEPS,
    measure=_measure,
)
