"""Reading TIFF: pixels and metadata."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from tifffile import PHOTOMETRIC, TiffPage

from ssbsn_cli.core.imaging.adjust import rescale
from ssbsn_cli.core.imaging.codec import UNLIMITED, Codec, Refusal, damaged
from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DESCRIPTIVE,
    ICC,
    IPTC,
    NODATA,
    ORIENTATION,
    RESOURCES,
    XMP,
    Directory,
    Entry,
    build_exif,
    read_directory,
    read_tiff_header,
    take,
)
from ssbsn_cli.core.imaging.exif_fields import LOST_NOTES, drop_fixed_note
from ssbsn_cli.core.imaging.photo import (
    DAMAGED,
    LITTLE,
    PRIVATE,
    Alpha,
    Metadata,
    Photo,
    Pixels,
    pixel_rows,
)
from ssbsn_cli.core.imaging.photoshop import order_iptc, read_resources
from ssbsn_cli.core.imaging.tiff_pages import find_photo, open_tiff
from ssbsn_cli.core.imaging.tiff_write import write_tiff
from ssbsn_cli.core.types import white_of

_WANTED = DESCRIPTIVE | {ORIENTATION, ICC, XMP, IPTC, RESOURCES}
_LAYERS = 37724
# TransferFunction.
_CURVE = 301
_NAMED = _WANTED | {_LAYERS}
# Tags from this number on are not defined by the standard.
_FIRST_PRIVATE = 32768
_MASK = 4
_ALPHAS: dict[int, Alpha] = {0: "unspecified", 1: "associated", 2: "unassociated"}
_FLOAT_HEADROOM = 16.0
# How much of a file tifffile reads at once; by default, it often reads everything.
_BATCH_BYTES = 4 << 20


def _decode(stream: BinaryIO) -> Photo:
    """Read a TIFF: palettes become RGB, and black becomes 0."""
    with open_tiff(stream) as tiff:
        page, front = find_photo(tiff)
        pixels = normalise(_decode_page(page), page)
        metadata = read_metadata(stream, page, front)
    if pixels.dtype.kind == "f":
        _check_floats(pixels)
    bits = page.bitspersample if page.colormap is None else 16
    photo = Photo(pixels, metadata, "tiff", bits=bits)
    if photo.has_alpha:
        # Without this tag, nothing says that the last channel is opacity.
        meaning = page.extrasamples[0] if page.extrasamples else 0
        photo.alpha = _ALPHAS.get(meaning, "unspecified")
    return photo


def _measure(stream: BinaryIO) -> tuple[int, int]:
    with open_tiff(stream) as tiff:
        photo, _ = find_photo(tiff)
        return photo.imagewidth, photo.imagelength


def _decode_page(page: TiffPage) -> Pixels:
    """Return (H, W, C) with the values of the file."""
    try:
        pixels = page.asarray(buffersize=_BATCH_BYTES)
    except (ImportError, ValueError) as error:
        if "COMPRESSION" not in str(error) and not isinstance(error, ImportError):
            raise
        name = getattr(page.compression, "name", page.compression)
        raise Refusal(
            f"is a TIFF compressed as {name}, which cannot be read here",
            "Save it with ZIP compression.",
        ) from error
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.reshape(page.imagelength, page.imagewidth, -1)


def normalise(pixels: Pixels, page: TiffPage) -> Pixels:
    """Convert values of the file, (H, W, C) of all or a part of a page, to those of a `Photo`.

    Palettes become RGB, fewer bits than 8 or 16 are stretched to them, black becomes 0, and the
    byte order is native. The array may be changed in place.
    """
    if page.photometric == PHOTOMETRIC.PALETTE:
        if page.colormap is None or page.colormap.shape != (3, 1 << page.bitspersample):
            raise damaged("TIFF")
        # Palettes hold 16 bits; old writers filled only the lower 8.
        colors = page.colormap.T
        colors = (colors >> 8 if colors.max() > 255 else colors).astype(np.uint8)
        return np.ascontiguousarray(colors[pixels[..., 0].astype(np.uint8)])
    if pixels.dtype == bool:
        pixels = pixels.view(np.uint8)
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if pixels.dtype.kind == "u":
        rescale(pixels, (1 << page.bitspersample) - 1, white_of(pixels.dtype), pixels)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        grey = pixels[..., 0]
        white = white_of(pixels.dtype)
        np.subtract(pixels.dtype.type(white), grey, out=grey)
    return pixels


def _check_floats(pixels: Pixels) -> None:
    parts = [pixels[rows] for rows in pixel_rows(pixels)]
    lowest = min(part.min(where=np.isfinite(part), initial=0) for part in parts)
    highest = max(part.max(where=np.isfinite(part), initial=0) for part in parts)
    if highest > _FLOAT_HEADROOM:
        raise Refusal(
            f"holds floats up to {highest:g}, while white is expected at 1",
            "Divide them by the white level, such as 255 or 65535, first.",
        )
    if lowest < -_FLOAT_HEADROOM:
        raise Refusal(
            f"holds floats down to {lowest:g}, while black is expected at 0",
            "Subtract the black level first, and write NaN for pixels without data.",
        )


def read_metadata(stream: BinaryIO, page: TiffPage, front: TiffPage) -> Metadata:
    """Collect the photo's metadata; EXIF becomes a separate block. Broken tags give no metadata.

    The photo's own page overrides the page in front of it.
    """
    lost = ["the layers of Photoshop"] if _LAYERS in front.tags else []
    others = (tag for one in (front, page) for tag in one.tags if tag.code >= _FIRST_PRIVATE)
    if any(tag.code not in _NAMED and tag.valuebytecount > LITTLE for tag in others):
        lost.append(PRIVATE)
    pages = (other for other in front.parent.pages if isinstance(other, TiffPage))
    if any(other.subfiletype & _MASK for other in pages):
        lost.append("masks")
    try:
        layout, _ = read_tiff_header(stream)
        found: Directory = {}
        for position in dict.fromkeys((front.offset, page.offset)):
            found |= read_directory(stream, layout, position, _WANTED)
        xmp, icc, iptc, resources = (take(found, tag) for tag in (XMP, ICC, IPTC, RESOURCES))
        if _CURVE in page.tags and not icc:
            lost.append("the tone curve of the colours")
        if drop_fixed_note(found):
            lost.append(LOST_NOTES)
        nodata = found.get(NODATA)
        if isinstance(nodata, Entry) and nodata.data.strip(b" \0").lower() != b"nan":
            # Denoising changes such values; only NaN stays.
            del found[NODATA]
            lost.append("the mark of pixels without data (GDAL_NODATA)")
        captions, paths = read_resources(resources)
        exif = build_exif(found, layout.order) if found else b""
    except BROKEN:
        return Metadata(lost=(*lost, DAMAGED))
    return Metadata(exif, xmp, icc, iptc=order_iptc(iptc) or captions, lost=(*lost, *paths))


TIFF = Codec(
    name="tiff",
    label="TIFF",
    extensions=(".tif", ".tiff"),
    dtypes=("uint8", "uint16", "float16", "float32", "float64"),
    matches=lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    decode=_decode,
    encode=write_tiff,
    alphas=("unassociated", "associated", "unspecified"),
    keeps=dict.fromkeys(("exif", "xmp", "icc", "iptc"), UNLIMITED),
    moves_exif=True,
    measure=_measure,
)
