"""JPEG XL: OpenImageIO handles pixels and profile, this file the header and other metadata."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np

from ssbsn_cli.core.imaging.adjust import settle_upright
from ssbsn_cli.core.imaging.boxes import build_box, read_boxes, strip_exif
from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal, animation, cut_short
from ssbsn_cli.core.imaging.photo import CREDENTIALS, DAMAGED, GAIN_MAP, Metadata, Photo, Pixels
from ssbsn_cli.core.imaging.profile import SRGB

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_FILE_TYPE = _CONTAINER + build_box(b"ftyp", b"jxl \0\0\0\0jxl ")
_HEADER_BYTES = 64
# OpenImageIO calls shorter files damaged.
_LEAST_BYTES = 128
_MAX_TEXT = 16 << 20
_ALPHA = 0
_LOST = {b"jhgm": GAIN_MAP, b"jumb": CREDENTIALS}
_TYPES = {"float16": "half", "float32": "float"}
# Ratios of width to height, by their number in the header.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


@dataclass(frozen=True)
class _Header:
    """The size of the upright picture, and facts about channels other than its colours."""

    size: tuple[int, int]
    turned: bool = False
    animated: bool = False
    extra: int = 0
    kind: int = _ALPHA
    associated: bool = False


class _Bits:
    """Reads numbers bit by bit, the lowest bit first (ISO/IEC 18181-1)."""

    def __init__(self, data: bytes) -> None:
        self.rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """Read which of four choices follows, and its value: a minimum plus some bits."""
        least, count = choices[self.take(2)]
        return least + self.take(count)

    def size(self) -> tuple[int, int]:
        choices = (1, 9), (1, 13), (1, 18), (1, 30)
        small = self.take(1)
        height = 8 * (1 + self.take(5)) if small else self.choose(*choices)
        ratio = self.take(3)
        if ratio:
            across, down = _RATIOS[ratio]
            return height * across // down, height
        return 8 * (1 + self.take(5)) if small else self.choose(*choices), height

    def skip_preview_size(self) -> None:
        eighths = self.take(1)
        choices = (
            ((16, 0), (32, 0), (1, 5), (33, 9))
            if eighths
            else ((1, 6), (65, 8), (321, 10), (1345, 12))
        )
        self.choose(*choices)
        if not self.take(3):
            self.choose(*choices)

    def skip_depth(self) -> None:
        if self.take(1):
            self.choose((32, 0), (16, 0), (24, 0), (1, 6))
            self.take(4)
        else:
            self.choose((8, 0), (10, 0), (12, 0), (1, 6))


def _read_header(codestream: bytes) -> _Header:
    if not codestream.startswith(_CODESTREAM):
        raise cut_short()
    bits = _Bits(codestream[2:])
    width, height = bits.size()
    if bits.take(1):
        return _Header((width, height))
    turned = False
    if bits.take(1):
        turned = bits.take(3) >= 4
        if bits.take(1):
            bits.size()
        if bits.take(1):
            bits.skip_preview_size()
        if bits.take(1):
            return _Header((width, height), turned, animated=True)
    size = (height, width) if turned else (width, height)
    bits.skip_depth()
    bits.take(1)
    extra = bits.choose((0, 0), (1, 0), (2, 4), (1, 12))
    if not extra or bits.take(1):
        return _Header(size, turned, extra=extra)
    kind = bits.choose((0, 0), (1, 0), (2, 4), (18, 6))
    bits.skip_depth()
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.choose((0, 0), (0, 4), (16, 5), (48, 10)))
    associated = kind == _ALPHA and bool(bits.take(1))
    return _Header(size, turned, extra=extra, kind=kind, associated=associated)


def _split(data: bytes) -> tuple[bytes, Metadata]:
    """Return the beginning of the codestream, and the metadata: EXIF, XMP and what is lost."""
    if data.startswith(_CODESTREAM):
        return data[:_HEADER_BYTES], Metadata()
    found: dict[bytes, bytes] = {}
    for box in read_boxes(data):
        kind, start, end = box.kind, box.start, box.end
        if kind in (b"jxlc", b"jxlp"):
            # Each part starts with its number.
            start += 4 * (kind == b"jxlp")
            found.setdefault(b"jxlc", data[start : min(end, start + _HEADER_BYTES)])
        elif kind == b"brob":
            found.setdefault(data[start : start + 4], _decompress(data[start + 4 : end]))
        elif kind in (b"Exif", b"xml ", *_LOST):
            found.setdefault(kind, data[start:end])
    lost = [word for kind, word in _LOST.items() if kind in found]
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
    header = _read_header(beginning)
    if header.animated:
        raise animation()
    if header.extra > 1 or header.kind != _ALPHA:
        raise Refusal(
            "has more channels than a photograph, for printing or for depth",
            "Export it as an RGB image first.",
        )
    pixels, icc, cicp = _read_pixels(data)
    metadata = settle_upright(replace(metadata, icc=icc, cicp=cicp), header.turned)
    photo = Photo(pixels, metadata, "jxl")
    if header.associated:
        photo.alpha = "associated"
    return photo


@contextmanager
def _file() -> Iterator[Path]:
    """Yield the name of a temporary file, since OpenImageIO only reads and writes files."""
    with tempfile.TemporaryDirectory(prefix="ssbsn-") as folder:
        yield Path(folder) / "photo.jxl"


def _read_pixels(data: bytes) -> tuple[Pixels, bytes, bytes]:
    """Return (H, W, C), and the ICC profile or the four numbers of H.273; neither for sRGB."""
    if len(data) < _LEAST_BYTES:
        if data.startswith(_CODESTREAM):
            data = _FILE_TYPE + build_box(b"jxlc", data)
        data += build_box(b"free", bytes(_LEAST_BYTES))
    try:
        with _file() as path:
            path.write_bytes(data)
            return _load(path)
    except OSError as error:
        raise Refusal(
            f"needs a temporary file in {tempfile.gettempdir()}, which cannot be written: "
            f"{error.strerror}",
            "Make room there, or set TMPDIR to another folder.",
        ) from error


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
    if codes is not None and codes[1] == SRGB[1] and (is_grey or codes[0] == SRGB[0]):
        return pixels, b"", b""
    if codes is not None and not is_grey:
        return pixels, b"", bytes(codes)
    icc = spec.getattribute("ICCProfile")
    return pixels, b"" if icc is None else np.asarray(icc).tobytes(), b""


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a JPEG XL, lossless at quality 100.

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
    if encoded.startswith(_CODESTREAM):
        return _FILE_TYPE + boxes + build_box(b"jxlc", encoded) if boxes else encoded
    start = next(box.end for box in read_boxes(encoded) if box.kind == b"ftyp")
    level = encoded[start:].startswith(b"\0\0\0\x09jxll")
    start += 9 * level
    return encoded[:start] + boxes + encoded[start:]


JXL = Codec(
    name="jxl",
    label="JPEG XL",
    extensions=(".jxl",),
    dtypes=("uint8", "uint16", "float16", "float32"),
    matches=lambda head: head.startswith((_CODESTREAM, _CONTAINER)),
    decode=_decode,
    encode=_encode,
    alphas=("unassociated",),
    keeps=dict.fromkeys(("exif", "xmp", "icc", "cicp"), UNLIMITED),
    measure=lambda stream: _read_header(_split(stream.read())[0]).size,
    modules=("OpenImageIO",),
    extra="formats",
)
