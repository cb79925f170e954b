"""Which of a photo's metadata a format keeps, and which are lost."""

from __future__ import annotations

from dataclasses import replace

from ssbsn_cli.core.imaging.codec import Codec
from ssbsn_cli.core.imaging.exif_fields import (
    add_resolution,
    movable_exif,
    private_size,
    resolution_of,
)
from ssbsn_cli.core.imaging.photo import LITTLE, NOT_SQUARE, PRIVATE, Metadata
from ssbsn_cli.core.imaging.profile import SRGB, colour_profile, profile_of_cicp
from ssbsn_cli.core.imaging.xmp import CLAIMS, EXTENSION, without

_WORDS = {
    "exif": "EXIF",
    "xmp": "XMP",
    "xmp_extension": "the extended XMP",
    "icc": "the colour profile",
    "cicp": "the colour space",
    "iptc": "the IPTC captions",
    "resolution": "the print resolution",
    "text": "comments",
}
# In other formats, a profile for viewers that do not know the numbers would override them.
_NUMBERS_FIRST = ("png",)
# The numbers of PQ and HLG in ITU-T H.273.
_HDR_CURVES = (16, 18)
# The most pixels per inch that JPEG holds.
_MAX_RESOLUTION = 65535


def keep_metadata(metadata: Metadata, codec: Codec, channels: int) -> Metadata:
    """Return the metadata that are written with a photo in a format.

    If the format lacks a field, an equivalent one is used: a colour space in numbers becomes a
    profile, and a resolution becomes EXIF. ``lost`` also names what the format does not keep.
    `channels` counts alpha.
    """
    lost = list(metadata.lost)
    kept, grey = metadata, channels <= 2
    if kept.icc and _fits(kept.icc, grey):
        icc = kept.icc if codec.grey or not grey else colour_profile(kept.icc)
    else:
        icc = b""
    if kept.icc and not icc:
        lost.append("a colour profile that is damaged or not for such pixels")
    kept = replace(kept, icc=icc)
    if kept.cicp and "cicp" not in codec.keeps:
        # If no profile can be kept either, viewers assume sRGB.
        same = profile_of_cicp(kept.cicp, grey and codec.grey)
        plain = kept.cicp == SRGB and "icc" not in codec.keeps
        icc = b"" if plain else same or kept.icc
        kept = replace(kept, icc=icc, cicp=b"" if same else kept.cicp)
    elif kept.cicp and codec.name not in _NUMBERS_FIRST:
        kept = replace(kept, icc=b"")
    if kept.resolution and not _sane(kept.resolution):
        square = kept.resolution[0] == kept.resolution[1]
        lost.append(_WORDS["resolution"] if square else NOT_SQUARE)
        kept = replace(kept, resolution=None)
    resolution = kept.resolution or _sane(resolution_of(kept.exif))
    if resolution and "resolution" in codec.keeps:
        kept = replace(kept, resolution=resolution)
    elif resolution and "exif" in codec.keeps:
        kept = replace(kept, resolution=None)
    added = None if kept.resolution or resolution_of(kept.exif) else resolution
    if kept.exif and (codec.moves_exif or added):
        exif, left_out = movable_exif(kept.exif)
        kept = replace(kept, exif=exif)
        lost += [left_out] if left_out else []
    if codec.moves_exif and private_size(kept.exif) > LITTLE:
        lost.append(PRIVATE)
    if added:
        kept = replace(kept, exif=add_resolution(kept.exif, added))
    if kept.xmp_extension and "xmp_extension" not in codec.keeps:
        kept = replace(kept, xmp=without(kept.xmp, EXTENSION)[0])
    for field, word in _WORDS.items():
        value = getattr(kept, field)
        if value and _size(value) > codec.keeps.get(field, 0):
            kept = replace(kept, **{field: getattr(Metadata(), field)})
            hdr = field == "cicp" and value[1] in _HDR_CURVES
            lost.append("the HDR colour space" if hdr else word)
    return replace(kept, lost=tuple(dict.fromkeys(lost)))


def without_claims(metadata: Metadata) -> Metadata:
    """Remove claims of a gain map, a video or the like from XMP: only one picture is read."""
    xmp, claimed = without(metadata.xmp, CLAIMS)
    return replace(metadata, xmp=xmp, lost=tuple(dict.fromkeys((*metadata.lost, *claimed))))


def _fits(icc: bytes, grey: bool) -> bool:
    """Return whether a profile is valid and for such pixels."""
    whole = int.from_bytes(icc[:4], "big") <= len(icc)
    return whole and icc[36:40] == b"acsp" and icc[16:20] == (b"GRAY" if grey else b"RGB ")


def _sane(resolution: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the resolution if every format can hold it, otherwise None."""
    known = resolution is not None and all(1 <= value <= _MAX_RESOLUTION for value in resolution)
    return resolution if known else None


def _size(value: bytes | tuple[object, ...]) -> int:
    """Return the size of a `Metadata` value in bytes: of the longest text; 1 for a resolution."""
    if isinstance(value, bytes):
        return len(value)
    texts = [": ".join(pair).encode() for pair in value if isinstance(pair, tuple)]
    return max([1, *map(len, texts)])
