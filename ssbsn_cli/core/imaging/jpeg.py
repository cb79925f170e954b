"""JPEG: pixels and metadata."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from ssbsn_cli.core.imaging.codec import FINE_CHROMA, Codec, Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.jpeg_segments import (
    ARITHMETIC,
    EOI,
    FRAMES,
    KEEPS,
    LS,
    NO_END,
    SOS,
    Contents,
    list_segments,
    only_metadata,
    write_segments,
)
from ssbsn_cli.core.imaging.photo import (
    AFTER_THE_END,
    LITTLE,
    OTHER_PICTURES,
    Photo,
    Pixels,
    pixel_rows,
)
from ssbsn_cli.core.imaging.pillow import save_array, to_array
from ssbsn_cli.core.imaging.xmp import LOST_VIDEO

_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
# Progressive photos have about ten. Every scan takes time for every pixel.
_MAX_SCANS = 100
# The mean of a block of 64 pixels takes at least one bit.
_MOST_PIXELS_PER_BYTE = 512
# The most zeros that an arithmetic coder leaves out at the end; a guess on the safe side.
_MOST_OMITTED = 16
# Decoders continue with zeros after the end of the data; these bytes start with ones.
_FILL = b"\xfe" + np.random.default_rng(0).integers(1, 255, 1 << 14, dtype=np.uint8).tobytes()


def _decode(stream: BinaryIO) -> Photo:
    """Read a grey or RGB JPEG; data after the end of the image are ignored."""
    data = stream.read()
    found = Contents()
    # Pillow gets no metadata, since it warns of broken metadata and joins EXIF blocks.
    plain = [data[:2]]
    kept = end = last = 2
    marker = NO_END
    for marker, start, end in list_segments(data):
        if marker in (EOI, NO_END):
            break
        if start > last and not found.scans:
            # Some segments claim to be shorter than they are, and Pillow wants a marker at once.
            plain.append(data[kept:last])
            kept = start
        last = end
        found.take(marker, data[start + 4 : end])
        if only_metadata(marker):
            plain.append(data[kept:start])
            kept = end
        if found.scans > _MAX_SCANS:
            raise Refusal(
                f"is a JPEG of more than {_MAX_SCANS} scans, which no photo has", "Export it anew."
            )
    _check_frame(found)
    if not found.is_whole():
        raise cut_short()
    if marker == EOI:
        plain.append(data[kept:start])
        found.lost += _name_rest(data[end:])
    else:
        # If copying was interrupted, the rest may be zeros or ones.
        plain.append(data[kept:end].rstrip(b"\0\xff"))
    del data
    # Arithmetic coding leaves out zeros at the end.
    omitted = bytes(_MOST_OMITTED) if found.kind in ARITHMETIC else b""
    return Photo(_pixels(plain, omitted + _FILL), found.metadata(), "jpeg")


def _name_rest(rest: bytes) -> list[str]:
    """Name what follows the end of the image, unless it is as little as padding."""
    if b"MotionPhoto_Data" in rest or rest[4:8] == b"ftyp":
        return [LOST_VIDEO]
    if rest.startswith(b"\xff\xd8"):
        return [OTHER_PICTURES]
    return [AFTER_THE_END] if len(rest.strip(b"\0\xff")) > LITTLE else []


def _pixels(parts: list[bytes], fill: bytes) -> Pixels:
    """Decode an image, given without its end marker; refuse it if rows are missing.

    Bytes after the last row do not matter. But if rows are missing, the bytes become rows, so those
    of `fill` give different pixels.
    """
    end = bytes((0xFF, EOI))
    pixels = to_array(_open([*parts, end]))
    filled = _open([*parts, fill, end])
    for rows in pixel_rows(pixels):
        part = np.asarray(filled.crop((0, rows.start, filled.width, rows.stop)))
        if not np.array_equal(part.reshape(pixels[rows].shape), pixels[rows]):
            raise cut_short()
    return pixels


def _open(parts: list[bytes]) -> JpegImageFile:
    image = JpegImageFile(io.BytesIO(b"".join(parts)))
    image.load()
    return image


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
    save_array(
        photo.pixels,
        stream,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= FINE_CHROMA else "4:2:0",
        icc_profile=photo.metadata.icc,
        dpi=photo.metadata.resolution or (0, 0),
        extra=write_segments(photo.metadata),
    )


JPEG = Codec(
    name="jpeg",
    label="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
    lossy=True,
    dtypes=("uint8",),
    matches=lambda head: head.startswith(b"\xff\xd8\xff"),
    decode=_decode,
    encode=_encode,
    max_side=65500,
    keeps=KEEPS,
    measure=_measure,
)
