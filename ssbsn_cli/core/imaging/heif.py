"""HEIF, which phones call HEIC: 8, 10 and 12 bits, and what it shares with AVIF."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.imaging.adjust import rescale, settle_turn
from ssbsn_cli.core.imaging.boxes import Items, read_items
from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec
from ssbsn_cli.core.imaging.exif_fields import mark_upright
from ssbsn_cli.core.imaging.jpeg_segments import OTHER_PICTURES
from ssbsn_cli.core.imaging.photo import Metadata, Photo
from ssbsn_cli.core.imaging.profile import SRGB

_HEVC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_AV1_BRANDS = (b"avif", b"avis")
_ANY_BRANDS = (b"mif1", b"msf1")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_USUAL_BITS = 10
KEEPS = dict.fromkeys(("exif", "xmp", "icc", "cicp"), UNLIMITED)
_UNSPECIFIED = (0, 2)
# What a result will lack, by a part of the name of each map.
_MAPS = {
    b"hdrgainmap": "the gain map for HDR displays",
    b"tmap": "the gain map for HDR displays",
    b"auxid:2": "the depth map",
    b"disparity": "the depth map",
    b"depth": "the depth map",
    b"matte": "masks of people",
}
# Takes half the time of x265's default and looks the same at high qualities.
_PRESET = "medium"


def codec_of_brands(head: bytes) -> str:
    """Tell by its first bytes what is in a HEIF: "heic", "avif", or "" if it is none."""
    if head[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[at : at + 4] for at in (8, *range(16, end, 4))]
    for brand in brands:
        if brand in _HEVC_BRANDS or brand in _AV1_BRANDS:
            return "heic" if brand in _HEVC_BRANDS else "avif"
    return "heic" if brands[0] in _ANY_BRANDS else ""


def _decode(stream: BinaryIO) -> Photo:
    """Read the primary image, which libheif turns as the file says: EXIF does not count."""
    import pillow_heif

    data = stream.read()
    items = read_items(data)
    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    pixels = np.array(image)
    height, width = pixels.shape[:2]
    pixels = pixels[:, : image.size[0]].reshape(height, min(width, image.size[0]), -1)
    name, _, bits = image.mode.partition(";")
    if bits:
        rescale(pixels, (1 << int(bits)) - 1, 65535, pixels)
    turned = bool(items.find(b"irot") and items.find(b"irot")[0] & 1)
    photo = Photo(pixels, metadata_of(items, turned), "heic", bits=int(bits or 16))
    if name.endswith("a"):
        photo.alpha = "associated"
    return photo


def metadata_of(items: Items, turned: bool) -> Metadata:
    """Return the metadata of a HEIF or AVIF, as they are once its pixels are upright.

    `turned` tells whether that exchanged width and height.
    """
    icc = items.find(b"colr", b"prof") or items.find(b"colr", b"rICC")
    nclx = items.find(b"colr", b"nclx")
    cicp = b""
    if len(nclx) >= 4 and not icc:
        cicp = bytes([nclx[1], nclx[3], 0, 1])
        # Unspecified colours are sRGB, too.
        if cicp == SRGB or cicp[0] in _UNSPECIFIED or cicp[1] in _UNSPECIFIED:
            cicp = b""
    lost = [word for part, word in _MAPS.items() if any(part in name for name in items.auxiliary)]
    if items.others:
        lost.append(OTHER_PICTURES)
    named = tuple(dict.fromkeys(lost))
    _, kept = settle_turn(Metadata(items.exif, items.xmp, icc, cicp=cicp, lost=named))
    return replace(kept, exif=mark_upright(kept.exif, turned))


def coded_bits(photo: Photo) -> int:
    """Return how many bits to write of a 16-bit photo: those it came with, else what most use."""
    return photo.bits if photo.bits < 16 else _USUAL_BITS


def measure(stream: BinaryIO) -> tuple[int, int]:
    """Return the width and height of the primary image of a HEIF or AVIF."""
    return read_items(stream.read()).size


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a HEIC with colours at half the resolution, as phones do; 16 bits become 10 or 12."""
    import pillow_heif

    pixels = photo.pixels
    height, width, channels = pixels.shape
    mode, bits = _MODES[channels], 8
    if pixels.dtype == np.uint16:
        bits = coded_bits(photo)
        pixels = rescale(pixels, 65535, (1 << bits) - 1, np.empty_like(pixels))
        mode = f"{mode};{bits}"
    metadata = photo.metadata
    primaries, transfer = (metadata.cicp or SRGB)[:2]
    buffer = io.BytesIO()
    pillow_heif.encode(
        mode,
        (width, height),
        pixels.tobytes(),
        buffer,
        quality=quality,
        bit_depth=bits,
        exif=metadata.exif or None,
        xmp=metadata.xmp or None,
        icc_profile=metadata.icc or None,
        color_primaries=primaries,
        transfer_characteristics=transfer,
        enc_params={"preset": _PRESET},
    )
    stream.write(buffer.getvalue())


HEIC = Codec(
    name="heic",
    label="HEIC",
    extensions=(".heic", ".heif", ".hif"),
    dtypes=("uint8", "uint16"),
    matches=lambda head: codec_of_brands(head) == "heic",
    decode=_decode,
    encode=_encode,
    alphas=("unassociated",),
    max_side=16384,
    keeps=KEEPS,
    measure=measure,
    modules=("pillow_heif",),
    extra="heif",
)
