"""Camera raw files, developed by LibRaw."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from ssbsn_cli.core.imaging.adjust import settle_upright
from ssbsn_cli.core.imaging.boxes import read_boxes
from ssbsn_cli.core.imaging.codec import Codec, Refusal
from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DESCRIPTIVE,
    DNG_VERSION,
    EXIF_IFD,
    GPS_IFD,
    IPTC,
    MAKER_NOTE,
    ORIENTATION,
    SUB_DIRECTORIES,
    XMP,
    Directory,
    Entry,
    Layout,
    build_exif,
    list_tags,
    parse_exif,
    read_directory,
    read_header,
    take,
)
from ssbsn_cli.core.imaging.exif_fields import LOST_NOTES
from ssbsn_cli.core.imaging.photo import Metadata, Photo, Pixels
from ssbsn_cli.core.imaging.photoshop import order_iptc
from ssbsn_cli.core.imaging.profile import PRIMARIES, SRGB_CURVE, make_profile
from ssbsn_cli.core.imaging.xmp import SETTINGS, without
from ssbsn_cli.core.types import RawSpace

if TYPE_CHECKING:
    import rawpy

_EXTENSIONS = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef "
    ".raf .rw2 .rwl .sr2 .srf .srw .x3f"
)
_MAGIC = (
    b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb",
    b"II\x1a\0\0\0HEAPCCDR",
)  # fmt: skip
# Maker notes mean nothing without the raw data, and often refer to places in its file.
_NOT_KEPT = {ORIENTATION, MAKER_NOTE, 40961, 40962, 40963, 40965}
_MAX_PICTURES = 64
# Warps, gain maps against vignetting, and the like.
_OPCODES = {51008, 51009, 51022}
_UNKNOWN_COLORS = "true colours because LibRaw has no colour matrix for the camera"
_CANON_BOX = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_STEPS = 65536
# Light from here on is compressed; a sky that the sensor could not hold ends at 95 %.
_KNEE = 0.8


# What LibRaw calls a space; x and y of its white, red, green and blue; its curve as in a profile.
_SPACES: dict[RawSpace, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "srgb": ("sRGB", PRIMARIES[1], SRGB_CURVE),
    "p3": ("P3D65", PRIMARIES[12], SRGB_CURVE),
    "adobe": ("Adobe", (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (563 / 256,)),
    "prophoto": (
        "ProPhoto", (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), (1.8,)
    ),
}  # fmt: skip


def develop(stream: BinaryIO, space: RawSpace = "srgb") -> Photo:
    """Turn a camera raw file into a 16-bit photo in a colour space, without removing noise.

    The white balance is the camera's. Brightness is that of a linear development, except that
    what would become brighter than white is compressed instead of clipped, as in [1]_.

    The result is the right way up, and has the profile of that colour space and the EXIF of the
    raw file. Its format is "tiff".

    Raises
    ------
    Refusal
        LibRaw does not know the camera, or the picture is too large.

    References
    ----------
    .. [1] Reinhard, Stark, Shirley & Ferwerda, "Photographic tone reproduction for digital
       images", SIGGRAPH 2002, equation 4.
    """
    import rawpy

    name, corners, curve = _SPACES[space]
    metadata = read_raw_metadata(stream)
    with _opened(stream) as raw:
        raw.unpack()
        light = raw.postprocess(
            use_camera_wb=True,
            output_color=rawpy.ColorSpace[name],
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            # Otherwise LibRaw clips what the white balance lifts above white.
            highlight_mode=rawpy.HighlightMode.Blend,
            fbdd_noise_reduction=rawpy.FBDDNoiseReductionMode.Off,
            noise_thr=None,
            median_filter_passes=0,
        )
        metadata = replace(metadata, exif=metadata.exif or _describe(raw))
        if raw.num_colors > 1 and not (raw.rgb_xyz_matrix.any() or raw.color_matrix.any()):
            metadata = replace(metadata, lost=(*metadata.lost, _UNKNOWN_COLORS))
        table = _tone(curve, _gain(raw))
    pixels: Pixels = table[light.reshape(*light.shape[:2], -1)]
    icc = make_profile(corners, curve, pixels.shape[2] == 1, f"{name}, developed")
    return Photo(pixels, replace(metadata, icc=icc), "tiff")


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[rawpy.RawPy]:
    import rawpy

    stream.seek(0)
    with rawpy.RawPy() as raw:
        try:
            raw.open_buffer(stream)
        except rawpy.LibRawFileUnsupportedError as error:
            raise Refusal(
                "is a camera raw file that LibRaw does not know, or is cut short",
                "Copy it again, or export it as a 16-bit TIFF from the camera's raw converter.",
            ) from error
        yield raw


def _gain(raw: rawpy.RawPy) -> float:
    """Return how much darker LibRaw makes a photo whose highlights it keeps."""
    factors = [raw.camera_whitebalance, raw.daylight_whitebalance]
    used = next((some[:3] for some in factors if min(some[:3]) > 0), [1.0])
    return max(used) / min(used)


def _tone(curve: tuple[float, ...], gain: float) -> NDArray[np.uint16]:
    """Map 16-bit light to 16-bit values of a space: brighter by a gain, with a shoulder."""
    light = np.linspace(0, gain, _STEPS)
    above = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    most = (gain - _KNEE) / (1 - _KNEE)
    shoulder = _KNEE + (1 - _KNEE) * above * (1 + above / most**2) / (1 + above)
    light = np.where(light > _KNEE, shoulder, light)
    gamma, scale, offset, slope, start = (*curve, 1, 0, 0, 0)[:5]
    values = np.linspace(0, 1, _STEPS)
    known = np.where(values < start, slope * values, (scale * values + offset) ** gamma)
    return np.rint(65535 * np.interp(light, known, values)).astype(np.uint16)


def read_raw_metadata(stream: BinaryIO) -> Metadata:
    """Collect what describes a raw photo, from where its maker put it.

    What describes the raw data is left out: orientation, sides, notes of the maker, and how to
    develop them.
    """
    stream.seek(0)
    head = stream.read(92)
    lost: list[str] = []
    try:
        if head.startswith(b"FUJIFILM"):
            start, size = (int.from_bytes(head[at : at + 4], "big") for at in (84, 88))
            stream.seek(start)
            preview = JpegImageFile(io.BytesIO(stream.read(size)))
            layout, found = parse_exif(preview.info.get("exif", b"").removeprefix(b"Exif\0\0"))
        elif head[4:8] == b"ftyp":
            layout, found = _read_canon_exif(stream)
        else:
            layout, position = read_header(stream)
            found = read_directory(stream, layout, position, DESCRIPTIVE | {XMP, IPTC})
            if _asks_for_corrections(stream, layout, position):
                lost.append("corrections of the lens that the DNG asks for")
    except (*BROKEN, Refusal, SyntaxError, OSError, KeyError, StopIteration):
        return Metadata()
    xmp, settings = without(take(found, XMP), SETTINGS)
    iptc = order_iptc(take(found, IPTC))
    inner = found.get(EXIF_IFD)
    if isinstance(inner, dict) and MAKER_NOTE in inner:
        lost.append(LOST_NOTES)
    exif = build_exif(_without(found, _NOT_KEPT), layout.order) if found else b""
    return settle_upright(Metadata(exif, xmp, iptc=iptc, lost=(*lost, *settings)))


def _asks_for_corrections(stream: BinaryIO, layout: Layout, position: int) -> bool:
    """Tell whether a DNG lists operations that LibRaw does not know."""
    below = read_directory(stream, layout, position, {SUB_DIRECTORIES}).get(SUB_DIRECTORIES)
    places = [position]
    if isinstance(below, Entry):
        size = layout.sizes[below.kind]
        parts = (below.data[at : at + size] for at in range(0, len(below.data), size))
        places += [int.from_bytes(part, layout.endian) for part in parts][:_MAX_PICTURES]
    tags = (tag for place in places for tag, *_ in list_tags(stream, layout, place))
    return any(tag in _OPCODES for tag in tags)


def _read_canon_exif(stream: BinaryIO) -> tuple[Layout, Directory]:
    """Read the EXIF of a CR3, whose directories are in boxes of their own."""
    stream.seek(0)
    data = stream.read()
    movie = next(box for box in read_boxes(data) if box.kind == b"moov")
    boxes = read_boxes(data, movie.start, movie.end)
    canon = next(box for box in boxes if data[box.start : box.start + 16] == _CANON_BOX)
    parts = {
        box.kind: parse_exif(data[box.start : box.end])
        for box in read_boxes(data, canon.start + 16, canon.end)
        if box.kind in (b"CMT1", b"CMT2", b"CMT4")
    }
    layout, found = parts[b"CMT1"]
    for kind, tag in ((b"CMT2", EXIF_IFD), (b"CMT4", GPS_IFD)):
        if kind in parts and parts[kind][1]:
            found[tag] = parts[kind][1]
    return layout, found


def _without(directory: Directory, tags: set[int]) -> Directory:
    return {
        tag: _without(item, tags) if isinstance(item, dict) else item
        for tag, item in directory.items()
        if tag not in tags
    }


def _describe(raw: rawpy.RawPy) -> bytes:
    """Make EXIF of what LibRaw found in a file that has none."""
    other = raw.other
    inner: Directory = {}
    for tag, value in (
        (33434, other.shutter_speed), (33437, other.aperture), (37386, other.focal_length)
    ):  # fmt: skip
        if value > 0:
            ratio = Fraction(value).limit_denominator(10_000)
            pair = (ratio.numerator, ratio.denominator)
            inner[tag] = Entry(5, 1, b"".join(number.to_bytes(4, "little") for number in pair))
    if 0 < other.iso_speed < _STEPS:
        inner[34855] = Entry(3, 1, int(other.iso_speed).to_bytes(2, "little"))
    if other.timestamp > datetime(1980, 1, 1):
        text = other.timestamp.strftime("%Y:%m:%d %H:%M:%S").encode() + b"\0"
        inner[36867] = Entry(2, len(text), text)
    return build_exif({EXIF_IFD: inner}, "<") if inner else b""


def _matches(head: bytes) -> bool:
    is_cr2 = head.startswith(b"II") and head[8:10] == b"CR"
    if is_cr2 or head.startswith(_MAGIC) or head[4:12] == b"ftypcrx ":
        return True
    try:
        layout, position = read_header(io.BytesIO(head))
        return DNG_VERSION in read_directory(io.BytesIO(head), layout, position, {DNG_VERSION})
    except BROKEN:
        return False


def _measure(stream: BinaryIO) -> tuple[int, int]:
    with _opened(stream) as raw:
        return raw.sizes.raw_width, raw.sizes.raw_height


RAW = Codec(
    name="raw",
    label="camera raw file",
    extensions=tuple(_EXTENSIONS.split()),
    dtypes=("uint16",),
    matches=_matches,
    decode=develop,
    encode=None,
    keeps={},
    measure=_measure,
    modules=("rawpy",),
    extra="raw",
)
