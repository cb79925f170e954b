"""PNG: its chunks and its pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np

from ssbsn_cli.core.imaging.adjust import swap_red_and_blue
from ssbsn_cli.core.imaging.codec import Codec, Refusal, animation, cut_short, damaged
from ssbsn_cli.core.imaging.photo import Photo, Pixels
from ssbsn_cli.core.imaging.png_chunks import KEEPS, Statements, write_statements
from ssbsn_cli.core.types import white_of

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33
_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
_MAX_SIDE = 1_000_000
# OpenCV's own limit.
_MAX_PIXELS = 1 << 30


def _decode(stream: BinaryIO) -> Photo:
    """Read a PNG: a palette becomes RGB, transparent entries and colours become alpha."""
    data = stream.read()
    key = b""
    depth = color = -1
    said = Statements()
    # libpng gets only what it needs, since it complains about the rest on stderr.
    plain: list[bytes | memoryview] = [_SIGNATURE]
    view = memoryview(data)
    for kind, start, end in _chunks(data):
        body = data[start + 8 : end - 4] if kind != b"IDAT" else b""
        if kind == b"IHDR" and depth < 0:
            depth, color = _read_header(body)
        elif kind == b"acTL":
            raise animation()
        elif kind == b"tRNS":
            key = body
        else:
            said.take(kind, body)
        if _is_critical(kind) or (kind == b"tRNS" and color == _PALETTE):
            plain.append(view[start:end])
    if depth < 0:
        raise damaged("PNG")
    packed = np.frombuffer(b"".join(plain), np.uint8)
    del data, view, plain  # OpenCV needs memory for a second image now.
    pixels = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise damaged("PNG")
    grey = color in (_GREY, _GREY_ALPHA)
    return Photo(_as_stored(pixels, depth, color, key), said.metadata(grey), "png")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each sound chunk, up to the end of the image."""
    view = memoryview(data)
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big"):
            yield kind, at, end
        elif _is_critical(kind):
            raise damaged("PNG")
        if kind == b"IEND":
            return
        at = end
    raise cut_short()


def _is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20


def _read_header(body: bytes) -> tuple[int, int]:
    """Return the bits of a channel and the kind of colour."""
    if len(body) != 13:
        raise damaged("PNG")
    width, height, depth, color = struct.unpack(">IIBB", body[:10])
    if max(width, height) > _MAX_SIDE or width * height > _MAX_PIXELS:
        raise Refusal(
            f"claims to be {width} x {height} pixels, too large for a PNG here",
            "Export it as TIFF first.",
        )
    return depth, color


def _as_stored(pixels: Pixels, depth: int, color: int, key: bytes) -> Pixels:
    """Bring what OpenCV decoded into our order of channels, and apply a colour key."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if color == _GREY_ALPHA:
        return np.ascontiguousarray(pixels[..., [0, 3]])
    if pixels.shape[2] >= 3:
        swap_red_and_blue(pixels)
    if color in (_GREY, _RGB) and len(key) == 2 * pixels.shape[2]:
        white = white_of(pixels.dtype)
        top = (1 << depth) - 1
        values = np.frombuffer(key, ">u2") & top
        # OpenCV widens grey of less than 8 bits.
        values = values * (white // top)
        alpha = np.where((pixels == values).all(axis=2, keepdims=True), 0, white)
        pixels = np.concatenate([pixels, alpha.astype(pixels.dtype)], axis=2)
    return pixels


def _encode(photo: Photo, stream: BinaryIO, _: int) -> None:
    pixels, metadata = photo.pixels, photo.metadata
    if pixels.shape[2] == 2:
        plain = memoryview(_encode_grey_alpha(pixels))
    else:
        code = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(pixels.shape[2])
        _, encoded = cv2.imencode(".png", pixels if code is None else cv2.cvtColor(pixels, code))
        plain = encoded.data
    stream.write(plain[:_HEADER_END])
    for kind, content in write_statements(metadata):
        stream.write(_chunk(kind, content))
    stream.write(plain[_HEADER_END:])


def _encode_grey_alpha(pixels: Pixels) -> bytes:
    """Write the one kind of PNG that OpenCV cannot."""
    height, width, _ = pixels.shape
    depth = pixels.dtype.itemsize * 8
    header = struct.pack(">IIBBBBB", width, height, depth, _GREY_ALPHA, 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    # Filter 2 of PNG: each byte less the one above it.
    up = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(filtered.tobytes())),
            _chunk(b"IEND", b""),
        ]
    )


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
    measure=lambda stream: struct.unpack(">II", stream.read(24)[16:]),
)
