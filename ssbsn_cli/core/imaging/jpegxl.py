"""JPEG XL: OpenImageIO handles pixels and profile, this file the header and other metadata."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging.adjust import convert_depth
from ssbsn_cli.core.imaging.boxes import build_box, read_boxes, strip_exif
from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal, animation
from ssbsn_cli.core.imaging.jpegxl_header import ALPHA, CODESTREAM, deepen, read_header
from ssbsn_cli.core.imaging.orientation import settle_upright
from ssbsn_cli.core.imaging.photo import (
    AFTER_THE_END,
    CREDENTIALS,
    DAMAGED,
    GAIN_MAP,
    Metadata,
    Photo,
    Pixels,
    color_of,
)
from ssbsn_cli.core.imaging.profile import SRGB
from ssbsn_cli.core.runtime.temporary import temporary_folder
from ssbsn_cli.core.types import from_unit, to_srgb

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_FILE_TYPE = _CONTAINER + build_box(b"ftyp", b"jxl \0\0\0\0jxl ")
_HEADER_BYTES = 64
# OpenImageIO calls shorter files damaged.
_LEAST_BYTES = 128
_MAX_TEXT = 16 << 20
_CONVERTED = "the colour profile (its colours became sRGB)"
_LOST = {b"jhgm": GAIN_MAP, b"jumb": CREDENTIALS}
_TYPES = {"float16": "half", "float32": "float"}


def _split(data: bytes) -> tuple[bytes, Metadata]:
    """Return the beginning of the codestream, and the metadata: EXIF, XMP and what is lost."""
    if data.startswith(CODESTREAM):
        return data[:_HEADER_BYTES], Metadata()
    found: dict[bytes, bytes] = {}
    lost: list[str] = []
    try:
        for box in read_boxes(data):
            kind, start, end = box.kind, box.start, box.end
            if kind in (b"jxlc", b"jxlp"):
                # Each part starts with its number.
                start += 4 * (kind == b"jxlp")
                found.setdefault(b"jxlc", data[start : min(end, start + _HEADER_BYTES)])
            packed = kind == b"brob"
            if packed:
                kind, start = data[start : start + 4], start + 4
            # Only the first of a kind counts, so a bomb cannot repeat it.
            if kind in (b"Exif", b"xml ", *_LOST) and kind not in found:
                found[kind] = _decompress(data[start:end]) if packed else data[start:end]
    except Refusal:
        # What follows the last box is no box. If it was cut, libjxl says so.
        if b"jxlc" not in found:
            raise
        lost.append(AFTER_THE_END)
    lost += [word for kind, word in _LOST.items() if kind in found]
    exif, xmp = strip_exif(found.get(b"Exif", b"")), found.get(b"xml ", b"")
    if (b"Exif" in found and not exif) or (b"xml " in found and not xmp):
        lost.append(DAMAGED)
    return found.get(b"jxlc", b""), Metadata(exif, xmp, lost=tuple(lost))


def _decompress(data: bytes) -> bytes:
    try:
        return bytes(imagecodecs.brotli_decode(data, out=_MAX_TEXT))
    except imagecodecs.BrotliError:
        return b""


def _decode(stream: BinaryIO) -> Photo:
    """Read a JPEG XL, which libjxl turns as its header says; EXIF does not count."""
    data = stream.read()
    beginning, metadata = _split(data)
    header = read_header(beginning)
    if header.animated:
        raise animation()
    if header.extra > 1 or header.kind != ALPHA:
        raise Refusal(
            "has more channels than a photo, for printing or for depth",
            "Export it as an RGB image first.",
        )
    deepened = header.converted and header.depth_at
    if deepened:
        # Linear colours need more than 8 bits.
        data = deepen(data, beginning, header)
    pixels, icc, cicp = _read_pixels(data)
    if header.converted:
        metadata = replace(metadata, lost=(*metadata.lost, _CONVERTED))
        if pixels.dtype == np.uint16 and not header.associated:
            pixels, icc, cicp = _curve(pixels), b"", SRGB if pixels.shape[2] > 2 else b""
        if deepened:
            pixels = convert_depth(pixels, np.dtype(np.uint8))
    metadata = settle_upright(replace(metadata, icc=icc, cicp=cicp), header.turned)
    photo = Photo(pixels, metadata, "jxl", bits=min(header.bits, 16))
    if header.associated:
        photo.alpha = "associated"
    return photo


def _curve(pixels: Pixels) -> Pixels:
    """Give linear colours the curve of sRGB, and leave alpha as it is."""
    table = from_unit(to_srgb(np.linspace(0, 1, 1 << 16)), np.dtype(np.uint16))
    result = pixels.copy()
    color_of(result)[...] = table[color_of(pixels)]
    return result


@contextmanager
def _file() -> Iterator[Path]:
    """Yield the name of a temporary file, since OpenImageIO only reads and writes files."""
    try:
        with temporary_folder(Path(tempfile.gettempdir())) as folder:
            yield folder / "photo.jxl"
    except OSError as error:
        raise ImageError(
            f"A temporary file for JPEG XL cannot be written: {error.strerror or error}.",
            "Make room in the folder for temporary files, or set TMPDIR to another folder.",
        ) from error


def _read_pixels(data: bytes) -> tuple[Pixels, bytes, bytes]:
    """Return (H, W, C), and the ICC profile or the four numbers of H.273, if any."""
    if len(data) < _LEAST_BYTES:
        if data.startswith(CODESTREAM):
            data = _FILE_TYPE + build_box(b"jxlc", data)
        data += build_box(b"free", bytes(_LEAST_BYTES))
    with _file() as path:
        path.write_bytes(data)
        return _load(path)


def _load(path: Path) -> tuple[Pixels, bytes, bytes]:
    import OpenImageIO

    image = OpenImageIO.ImageInput.open(str(path))
    if image is None:
        raise ValueError(OpenImageIO.geterror())
    spec = image.spec()
    pixels = image.read_image(spec.format)
    image.close()
    if pixels is None:
        raise ValueError(image.geterror())
    pixels = np.asarray(pixels).reshape(spec.height, spec.width, spec.nchannels)
    codes = spec.getattribute("CICP")
    is_grey = spec.nchannels < 3
    if codes is not None and codes[1] == SRGB[1] and is_grey:
        return pixels, b"", b""
    if codes is not None and not is_grey:
        return pixels, b"", bytes(codes)
    icc = spec.getattribute("ICCProfile")
    return pixels, b"" if icc is None else np.asarray(icc).tobytes(), b""


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a JPEG XL, lossless at quality 100, and for floats: lossy ones cannot hold NaN.

    Grey becomes RGB if it has alpha, is of floats, or has its colour space in numbers.
    """
    import OpenImageIO

    pixels, metadata = photo.pixels, photo.metadata
    if pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    elif pixels.shape[2] == 1 and (pixels.dtype.kind == "f" or metadata.cicp):
        # OpenImageIO would call floats linear, and leave out the numbers.
        pixels = pixels[..., [0, 0, 0]]
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    name = pixels.dtype.name
    quality = 100 if pixels.dtype.kind == "f" else quality
    spec = OpenImageIO.ImageSpec(width, height, channels, _TYPES.get(name, name))
    spec.attribute("compression", f"jpegxl:{quality}")
    spec.attribute("jpegxl:use_boxes", 0)
    if metadata.icc:
        profile = np.frombuffer(metadata.icc, np.uint8)
        spec.attribute("ICCProfile", OpenImageIO.TypeDesc(f"uint8[{len(profile)}]"), profile)
    elif channels > 2:
        codes = np.frombuffer(metadata.cicp or SRGB, np.uint8).astype(np.int32)
        spec.attribute("CICP", OpenImageIO.TypeDesc("int[4]"), codes)
    with _file() as path:
        output = OpenImageIO.ImageOutput.create(str(path))
        if output is None:
            raise ValueError(OpenImageIO.geterror())
        if not (output.open(str(path), spec) and output.write_image(pixels) and output.close()):
            raise ValueError(output.geterror())
        encoded = path.read_bytes()
    stream.write(_add_metadata(encoded, metadata))


def _add_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    boxes = b""
    if metadata.exif:
        boxes += build_box(b"Exif", bytes(4) + metadata.exif)
    if metadata.xmp:
        boxes += build_box(b"xml ", metadata.xmp)
    if encoded.startswith(CODESTREAM):
        return _FILE_TYPE + boxes + build_box(b"jxlc", encoded) if boxes else encoded
    start = next(box.end for box in read_boxes(encoded) if box.kind == b"ftyp")
    level = encoded[start:].startswith(b"\0\0\0\x09jxll")
    start += 9 * level
    return encoded[:start] + boxes + encoded[start:]


JXL = Codec(
    name="jxl",
    label="JPEG XL",
    extensions=(".jxl",),
    lossy=True,
    dtypes=("uint8", "uint16", "float16", "float32"),
    matches=lambda head: head.startswith((CODESTREAM, _CONTAINER)),
    decode=_decode,
    encode=_encode,
    alphas=("unassociated",),
    keeps=dict.fromkeys(("exif", "xmp", "icc", "cicp"), UNLIMITED),
    measure=lambda stream: read_header(_split(stream.read())[0]).size,
    modules=("OpenImageIO",),
    extra="formats",
)
