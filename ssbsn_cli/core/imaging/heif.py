"""HEIF, which phones call HEIC: 8, 10 and 12 bits, and what it shares with AVIF."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.imaging.adjust import narrow, settle_turn, widen
from ssbsn_cli.core.imaging.boxes import Items, read_items
from ssbsn_cli.core.imaging.codec import Codec, check_size
from ssbsn_cli.core.imaging.exif import mark_upright
from ssbsn_cli.core.imaging.photo import Metadata, Photo
from ssbsn_cli.core.imaging.profiles import profile_of_codes

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_USUAL_BITS = 10
_SRGB = (1, 13)


def _decode(stream: BinaryIO) -> Photo:
    """Read the primary image, which libheif turns as the file says: EXIF does not count."""
    import pillow_heif

    data = stream.read()
    items = read_items(data)
    check_size(*items.size, "HEIC")
    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    pixels = np.array(image)
    height, width = pixels.shape[:2]
    pixels = pixels[:, : image.size[0]].reshape(height, min(width, image.size[0]), -1)
    name, _, bits = image.mode.partition(";")
    if bits:
        widen(pixels, int(bits))
    turned = bool(items.find(b"irot") and items.find(b"irot")[0] & 1)
    photo = Photo(pixels, metadata_of(items, turned), "heic", bits=int(bits or 16))
    if name.endswith("a"):
        photo.alpha = "associated"
    return photo


def metadata_of(items: Items, turned: bool) -> Metadata:
    """Return the metadata of a HEIF or AVIF, as they are once its pixels are upright.

    Parameters
    ----------
    items : Items
        What the file says.
    turned : bool
        Whether turning has exchanged width and height.
    """
    icc = items.find(b"colr", b"prof") or items.find(b"colr", b"rICC")
    nclx = items.find(b"colr", b"nclx")
    cicp = None
    if nclx and not icc:
        primaries, transfer = struct.unpack_from(">2H", nclx)
        icc = profile_of_codes(primaries, transfer)
        cicp = (primaries, transfer) if icc else None
    _, kept = settle_turn(Metadata(items.exif, items.xmp, icc, cicp=cicp))
    return replace(kept, exif=mark_upright(kept.exif, turned))


def coded_bits(photo: Photo) -> int:
    """Return how many bits to write of a 16-bit photo: those it came with, else what most use."""
    return photo.bits if photo.bits < 16 else _USUAL_BITS


def coded_colors(metadata: Metadata) -> tuple[tuple[int, int], Metadata]:
    """Return the code points to write, and the metadata without a profile made from them."""
    if metadata.cicp:
        return metadata.cicp, replace(metadata, icc=b"")
    return _SRGB, metadata


def _encode(photo: Photo, stream: BinaryIO, quality: int) -> None:
    """Write a HEIC with colours at half the resolution, as phones do; 16 bits become 10 or 12."""
    import pillow_heif

    pixels = photo.pixels
    height, width, channels = pixels.shape
    mode, bits = _MODES[channels], 8
    if pixels.dtype == np.uint16:
        bits = coded_bits(photo)
        pixels = narrow(pixels, bits)
        mode = f"{mode};{bits}"
    (primaries, transfer), metadata = coded_colors(photo.metadata)
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
    )
    stream.write(buffer.getvalue())


HEIC = Codec(
    name="heic",
    label="HEIC",
    extensions=(".heic", ".heif", ".hif"),
    dtypes=("uint8", "uint16"),
    matches=lambda head: head[4:8] == b"ftyp" and head[8:12] in _BRANDS,
    decode=_decode,
    encode=_encode,
    alphas=("unassociated",),
    max_side=16384,
)
