"""HEIF, which phones call HEIC, with 8, 10 and 12 bits, and functions that AVIF shares."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.imaging.adjust import rescale, widen_range
from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal
from ssbsn_cli.core.imaging.items import Items, hide_texts, read_items
from ssbsn_cli.core.imaging.orientation import settle_upright
from ssbsn_cli.core.imaging.photo import (
    BEYOND,
    BRIGHTNESS,
    DAMAGED,
    DEPTH_MAP,
    GAIN_MAP,
    NOT_SQUARE,
    OTHER_PICTURES,
    Metadata,
    Photo,
    Pixels,
)
from ssbsn_cli.core.imaging.profile import SRGB

_HEVC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_AV1_BRANDS = (b"avif", b"avis")
_ANY_BRANDS = (b"mif1", b"msf1")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_USUAL_BITS = 10
_FINE_BITS = (10, 12)
# By the property that tells how a picture is coded.
_OTHER_CODINGS = {
    b"avcC": "AVC",
    b"vvcC": "VVC",
    b"evcC": "EVC",
    b"j2kH": "JPEG 2000",
    b"uncC": "uncompressed numbers",
}
KEEPS = dict.fromkeys(("exif", "xmp", "icc", "cicp"), UNLIMITED)
_UNSPECIFIED = (0, 2)
# The endings of the names of alpha maps, which are kept.
_ALPHAS = (b":auxid:1", b":auxiliary:alpha")
# Maps that a result will lack, by a part of their names.
_MAPS = {
    b"hdrgainmap": GAIN_MAP,
    b"tmap": GAIN_MAP,
    b"auxid:2": DEPTH_MAP,
    b"disparity": DEPTH_MAP,
    b"depth": DEPTH_MAP,
    b"matte": "masks of people",
    b"": "further maps",
}
# Takes half the time of x265's default and looks the same at high qualities.
_PRESET = "medium"


def codec_of_brands(head: bytes) -> str:
    """Return what a HEIF contains, by its first bytes: "heic", "avif", or "" if it is no HEIF."""
    if head[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[at : at + 4] for at in (8, *range(16, end, 4))]
    for brand in brands:
        if brand in _HEVC_BRANDS or brand in _AV1_BRANDS:
            return "heic" if brand in _HEVC_BRANDS else "avif"
    return "heic" if brands[0] in _ANY_BRANDS else ""


def _decode(stream: BinaryIO) -> Photo:
    """Read the primary image, which libheif turns as its properties say; EXIF does not count."""
    import pillow_heif

    data = stream.read()
    items = read_items(data)
    stored = io.BytesIO(hide_texts(data))
    try:
        image = pillow_heif.open_heif(stored, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        pixels = np.array(image)
    except (IndexError, RuntimeError, ValueError):
        # Of a picture that it cannot decode, libheif only says that there is none.
        for box, coding in _OTHER_CODINGS.items():
            if items.find(box):
                hint = "Convert it to JPEG, PNG or TIFF first."
                raise Refusal(f"is coded in {coding}, which cannot be read here", hint) from None
        raise
    height, width = pixels.shape[:2]
    pixels = pixels[:, : image.size[0]].reshape(height, min(width, image.size[0]), -1)
    name, _, bits = image.mode.partition(";")
    clipped = False
    if not image.info.get("chroma"):
        # Grey with alpha comes as RGB with alpha, and grey in the narrow range as it is.
        pixels = pixels[..., [0, -1][: 2 - pixels.shape[2] % 2]]
        if items.find(b"colr", b"nclx")[6:7] == b"\0":
            pixels, clipped = widen_range(pixels, int(bits or 8))
    if bits:
        rescale(pixels, (1 << int(bits)) - 1, 65535, pixels)
    turned = bool(items.find(b"irot") and items.find(b"irot")[0] & 1)
    metadata = metadata_of(items, turned)
    if clipped:
        metadata = replace(metadata, lost=(*metadata.lost, BEYOND))
    photo = Photo(pixels, metadata, "heic", bits=int(bits or 16))
    if name.endswith("a"):
        photo.alpha = "associated"
    return photo


def metadata_of(items: Items, turned: bool) -> Metadata:
    """Return the metadata of a HEIF or AVIF for upright pixels.

    `turned` is whether turning them exchanged width and height.
    """
    icc = items.find(b"colr", b"prof") or items.find(b"colr", b"rICC")
    nclx = items.find(b"colr", b"nclx")
    cicp = b""
    if len(nclx) >= 4 and not icc:
        stated = nclx[1], nclx[3]
        # What one of them leaves open is taken for that of sRGB.
        if any(own not in _UNSPECIFIED for own in stated):
            pairs = zip(stated, SRGB, strict=False)
            cicp = bytes(usual if own in _UNSPECIFIED else own for own, usual in pairs) + SRGB[2:]
    lost = [
        next(word for part, word in _MAPS.items() if part in name)
        for name in items.auxiliary
        if not name.endswith(_ALPHAS)
    ]
    if items.find(b"clli") or items.find(b"mdcv"):
        lost.append(BRIGHTNESS)
    aspect = items.find(b"pasp")
    if aspect[:4] != aspect[4:8]:
        lost.append(NOT_SQUARE)
    if items.damaged:
        lost.append(DAMAGED)
    if items.others:
        lost.append(OTHER_PICTURES)
    lost += items.beside
    metadata = Metadata(items.exif, items.xmp, icc, cicp=cicp, lost=tuple(lost))
    return settle_upright(metadata, turned)


def coded_pixels(photo: Photo) -> tuple[Pixels, int]:
    """Return the pixels to encode and their bits; 16 become 10, or 12 if the original has 12."""
    pixels = photo.pixels
    if pixels.dtype == np.uint8:
        return pixels, 8
    bits = photo.bits if photo.bits in _FINE_BITS else _USUAL_BITS
    return rescale(pixels, 65535, (1 << bits) - 1, np.empty_like(pixels)), bits


def measure(stream: BinaryIO) -> tuple[int, int]:
    """Return the width and height of the primary image of a HEIF or AVIF."""
    return read_items(stream.read()).size


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a HEIC with colours at half the resolution, as phones do; 16 bits become 10 or 12."""
    import pillow_heif

    pixels, bits = coded_pixels(photo)
    height, width, channels = pixels.shape
    mode = _MODES[channels] if bits == 8 else f"{_MODES[channels]};{bits}"
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
    lossy=True,
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
