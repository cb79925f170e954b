"""Formats that Pillow reads and writes: all of WebP and BMP, and the pixels of JPEG."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ssbsn_cli.core.imaging.codec import (
    UNLIMITED,
    Codec,
    Refusal,
    animation,
    cut_short,
    damaged,
)
from ssbsn_cli.core.imaging.photo import (
    AFTER_THE_END,
    CREDENTIALS,
    LITTLE,
    PRIVATE,
    Metadata,
    Photo,
    Pixels,
    pixel_rows,
)
from ssbsn_cli.core.imaging.profile import PRIMARIES

# Of the headers of BMPs: the least length with colours, and marks of profiles in two places.
_WITH_COLORS = 108
# Some writers put a few other numbers where the corners of the colours belong; 1 << 30 means 1.
_STATED = 1 << 28
_LINKED, _EMBEDDED = b"KNIL", b"DEBM"
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_MOST_PIXELS_PER_BYTE = 128
# The chunks whose pixels are or may be lossless, and all that are known.
_LOSSLESS = {b"VP8L", b"ANMF"}
_WEBP_CHUNKS = _LOSSLESS | {b"VP8 ", b"VP8X", b"ALPH", b"ANIM", b"ICCP", b"EXIF", b"XMP ", b"C2PA"}
# Usual files have fewer than ten.
_MOST_CHUNKS = 1000
_PLAIN = {"1": "L", "P": "RGB"}


def to_array(image: Image.Image) -> Pixels:
    """Copy a Pillow image of mode 1, L, P, RGB or RGBA to (H, W, C) uint8."""
    if image.mode in _PLAIN:
        image = image.convert(_PLAIN[image.mode])
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    # Copying the whole image at once would need twice its memory in addition.
    for rows in pixel_rows(pixels):
        part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
        pixels[rows] = part.reshape(pixels[rows].shape)
    return pixels


def save_array(pixels: Pixels, stream: BinaryIO, format: str, **options: Any) -> None:
    """Write (H, W, C) uint8 in a format of Pillow, with options for its encoder."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    # With a real file, Pillow would not notice that a full disk took only some of the bytes.
    writer = SimpleNamespace(write=stream.write)
    image.save(cast(BinaryIO, writer), format, **options)


def _decode_webp(stream: BinaryIO) -> Photo:
    data = stream.read()
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise cut_short()
    image = WebPImageFile(io.BytesIO(data))
    if image.n_frames > 1:
        raise animation()
    image.load()
    info = image.info
    exif = info.get("exif", b"").removeprefix(b"Exif\0\0")
    # The file says how long it is, but not with its first 8 bytes.
    end = 8 + int.from_bytes(data[4:8], "little")
    lost = [AFTER_THE_END] if len(data) - end > LITTLE else []
    sizes = dict(islice(_webp_chunks(data, end), _MOST_CHUNKS))
    if b"C2PA" in sizes:
        lost.append(CREDENTIALS)
    if sum(size for kind, size in sizes.items() if kind not in _WEBP_CHUNKS) > LITTLE:
        lost.append(PRIVATE)
    metadata = Metadata(exif, info.get("xmp", b""), info.get("icc_profile", b""), lost=tuple(lost))
    photo = Photo(to_array(image), metadata, "webp")
    if not _LOSSLESS & sizes.keys():
        _equalise(photo.color)
    return photo


def _webp_chunks(data: bytes, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the name and the size of each chunk of a WebP, which is no longer than the data."""
    at = 12
    while at + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind, size
        at += 8 + size + size % 2


def _equalise(color: Pixels) -> None:
    """Make the channels of a grey photo equal, which a lossy WebP rounds apart."""
    groups = [color[rows] for rows in pixel_rows(color)]
    if all((np.ptp(part, axis=2) <= 1).all() for part in groups):
        for part in groups:
            part[...] = part[..., 1:2]


def _encode_webp(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a WebP: lossy even at quality 100, except for alpha."""
    kept = photo.metadata
    options = {"quality": quality, "exif": kept.exif, "xmp": kept.xmp, "icc_profile": kept.icc}
    save_array(photo.pixels, stream, "WEBP", **options)


def _open_bmp(data: bytes) -> BmpImageFile:
    try:
        return BmpImageFile(io.BytesIO(data))
    except OSError as error:
        if not str(error).startswith("Unsupported"):
            raise
        raise Refusal(
            "is a BMP of a kind that cannot be read here",
            "Save it as PNG, or with 24 bits per pixel.",
        ) from error


def _decode_bmp(stream: BinaryIO) -> Photo:
    data = stream.read()
    image: Image.Image = _open_bmp(data)
    try:
        image.load()
    except OSError as error:
        raise cut_short() if "truncated" in str(error) else damaged("BMP") from error
    # Many programs leave alpha unset.
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image = image.convert("RGB")
    icc, lost = _read_bmp_colors(data) if data[14] >= _WITH_COLORS else (b"", ())
    metadata = Metadata(icc=icc, resolution=image.info.get("dpi"), lost=lost)
    return Photo(to_array(image), metadata, "bmp")


def _read_bmp_colors(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the colour profile in a BMP, and what is lost if its colours are defined otherwise."""
    kind, *corners = struct.unpack_from("<4s9i", data, 70)
    if kind == _EMBEDDED:
        place, size = struct.unpack_from("<II", data, 126)
        return data[14 + place : 14 + place + size], ()
    other = kind == _LINKED
    points = [corners[at : at + 3] for at in (0, 3, 6)]
    if kind == bytes(4) and all(sum(point) > _STATED for point in points):
        # Writers differ in whether the three numbers of a colour add up to 1, and in the exponent.
        ratios = [value / sum(point) for point in points for value in point[:2]]
        gammas = [value / 65536 for value in struct.unpack_from("<3I", data, 110) if value]
        other = not np.allclose(ratios, PRIMARIES[1][2:], atol=0.01) or not np.allclose(
            [max(gamma, 1 / gamma) for gamma in gammas], 2.2, rtol=0.1
        )
    return b"", ("the colour space, which was taken for sRGB",) if other else ()


def _measure_bmp(stream: BinaryIO) -> tuple[int, int]:
    data = stream.read()
    width, height = _open_bmp(data).size
    # Two bytes can hold a run of up to 255 pixels. Outside runs, each pixel takes at least a bit.
    if width * height > _MOST_PIXELS_PER_BYTE * len(data):
        raise cut_short()
    return width, height


def _encode_bmp(photo: Photo, stream: BinaryIO, _: int) -> None:
    save_array(photo.pixels, stream, "BMP", dpi=photo.metadata.resolution or (0, 0))


WEBP = Codec(
    name="webp",
    label="WebP",
    extensions=(".webp",),
    lossy=True,
    dtypes=("uint8",),
    matches=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    decode=_decode_webp,
    encode=_encode_webp,
    alphas=("unassociated",),
    max_side=16383,
    grey=False,
    measure=lambda stream: WebPImageFile(io.BytesIO(stream.read())).size,
)
BMP = Codec(
    name="bmp",
    label="BMP",
    extensions=(".bmp",),
    dtypes=("uint8",),
    matches=lambda head: (
        head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    ),
    decode=_decode_bmp,
    encode=_encode_bmp,
    keeps={"resolution": UNLIMITED},
    measure=_measure_bmp,
)
