"""Find the page of a TIFF that is the photo, and check whether it can be denoised."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, TiffFile, TiffPage

from ssbsn_cli.core.imaging.codec import Refusal, cut_short, damaged
from ssbsn_cli.core.imaging.exif import (
    BROKEN,
    DNG_VERSION,
    SUB_DIRECTORIES,
    list_tags,
    next_directory,
    read_tiff_header,
)
from ssbsn_cli.core.imaging.tiff_parts import check_parts

_REDUCED_OR_MASK = 1 | 4
_RAW_PHOTOMETRICS = {PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW}
# The number of grey or colour channels.
_COLORS: dict[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
}
_EXPORT = "Export it as an 8-bit or 16-bit RGB TIFF first."
# The tag that `TiffPage.photometric` comes from. Without it, tifffile assumes that 0 is white.
_MEANING = 262
_TEXT = 2
# The most characters in a directory. Microscopes write many, but they cost tifffile much memory.
_MAX_TEXT = 4 << 20
# Includes a photo's smaller copies and masks.
_MAX_PAGES = 64


@contextmanager
def open_tiff(stream: BinaryIO) -> Iterator[TiffFile]:
    """Open a TIFF; refuse too many directories, too much text, and circular directories.

    Until it is closed, tifffile logs nothing about oddities of the file.
    """

    def nothing(_: logging.LogRecord) -> bool:
        return False

    _check_chain(stream)
    logger = logging.getLogger("tifffile")
    logger.addFilter(nothing)
    try:
        with TiffFile(stream, _multifile=False) as tiff:
            yield tiff
    finally:
        logger.removeFilter(nothing)


def _check_chain(stream: BinaryIO) -> None:
    """Follow the chain of directories; tifffile would follow a circle forever."""
    seen: set[int] = set()
    try:
        layout, position = read_tiff_header(stream)
        while position:
            if position in seen:
                raise damaged("TIFF")
            seen.add(position)
            if len(seen) > _MAX_PAGES:
                raise _several(f"more than {_MAX_PAGES} pages", "page")
            tags = list_tags(stream, layout, position)
            if sum(count for _, kind, count, _ in tags if kind == _TEXT) > _MAX_TEXT:
                raise Refusal("holds more text than a photo has", "Export it anew.")
            position = next_directory(stream, layout, position, len(tags))
    except BROKEN:
        # tifffile, too, stops at the end of a truncated file.
        pass
    finally:
        stream.seek(0)


def find_photo(tiff: TiffFile) -> tuple[TiffPage, TiffPage]:
    """Return the one picture in the file, except thumbnails and masks, and the page describing it.

    That page is the picture's own, or one in front of it that holds a thumbnail.

    Raises
    ------
    Refusal
        There are no pictures or several, or the picture is of a kind that cannot be denoised, or
        the file is damaged or cut short.
    """
    pages = [page for page in tiff.pages if isinstance(page, TiffPage)]
    families = [(page, [page, *_pages_below(page)]) for page in pages]
    for page, family in families:
        if DNG_VERSION in page.tags or any(
            candidate.photometric in _RAW_PHOTOMETRICS for candidate in family
        ):
            raise Refusal(
                "is a camera raw file, but not named as one",
                "Save it under the extension of its camera, such as .dng or .nef, to have it "
                "developed.",
            )
    whole = [(page, front) for front, family in families for page in _largest(family)]
    if len(whole) > 1:
        raise _several(f"{len(whole)} pages", "page")
    if not pages:
        raise cut_short()
    photo, front = whole[0] if whole else (pages[0], pages[0])
    _check_kind(photo)
    check_parts(photo, tiff.filehandle)
    _check_alone(photo, tiff)
    return photo, front


def _several(what: str, part: str) -> Refusal:
    return Refusal(f"holds {what}, not one photo", f"Split it into one file for each {part}.")


def _pages_below(page: TiffPage) -> list[TiffPage]:
    """Return the pages that a page points to: usually smaller copies, or the photo itself."""
    tag = page.tags.get(SUB_DIRECTORIES)
    if tag is not None and tag.count > _MAX_PAGES:
        raise damaged("TIFF")
    return [below for below in page.pages or () if isinstance(below, TiffPage)]


def _largest(family: list[TiffPage]) -> list[TiffPage]:
    """Return the largest pictures of a family: smaller ones are copies, even if not marked so."""
    whole = [page for page in family if not page.subfiletype & _REDUCED_OR_MASK]
    largest = max((_count_pixels(page) for page in whole), default=0)
    return [page for page in whole if _count_pixels(page) == largest]


def _count_pixels(page: TiffPage) -> int:
    return page.imagewidth * page.imagelength


def _check_alone(photo: TiffPage, tiff: TiffFile) -> None:
    """Refuse a stack with a single directory, as ImageJ, MetaMorph and tifffile itself write it."""
    if photo.parent is not tiff or photo.is_subifd:
        return
    try:
        found = tiff.series
    except Exception:
        # A description that tifffile cannot parse describes no stack.
        return
    for series in found:
        number = math.prod(series.shape) // max(1, math.prod(photo.shape))
        if series.keyframe is not None and series.keyframe.index == photo.index and number > 1:
            raise _several(f"a stack of {number} pictures", "picture")


def _check_kind(page: TiffPage) -> None:
    photometric = page.photometric
    if _MEANING not in page.tags:
        raise Refusal("does not say whether its lowest value is black or white", "Export it anew.")
    if photometric == PHOTOMETRIC.SEPARATED:
        raise Refusal(
            "is a CMYK TIFF, made for printing", "Convert it to sRGB first, in an image editor."
        )
    colors = _COLORS.get(photometric)
    is_jpeg = page.compression == COMPRESSION.JPEG
    if colors is None or (photometric == PHOTOMETRIC.YCBCR and not is_jpeg):
        name = getattr(photometric, "name", str(photometric))
        raise Refusal(f"is a TIFF of kind {name}, which cannot be read here", _EXPORT)
    _check_depth(page)
    in_planes = page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    if in_planes and page.compression == COMPRESSION.JPEG:
        raise Refusal("holds a JPEG for each channel, which cannot be read here", _EXPORT)
    if page.imagedepth > 1:
        raise Refusal("is a volume, not a photo", "Export one layer of it first.")
    extra = page.samplesperpixel - colors
    if extra < 0 or extra > (photometric != PHOTOMETRIC.PALETTE):
        raise Refusal(f"has {page.samplesperpixel} channels, more or fewer than a photo", _EXPORT)


def _check_depth(page: TiffPage) -> None:
    bits, kind = page.bitspersample, page.dtype.kind if page.dtype else "?"
    # A page states one number for each channel if they differ.
    if not isinstance(bits, int):
        raise Refusal("has channels of different numbers of bits", _EXPORT)
    if page.photometric == PHOTOMETRIC.PALETTE:
        known = kind in "bu" and bits in (1, 2, 4, 8)
    else:
        known = (kind in "bu" and bits <= 16) or (kind == "f" and bits in (16, 32, 64))
    if not known:
        name = {"i": "signed integer", "u": "unsigned integer", "c": "complex", "f": "float"}
        raise Refusal(
            f"has {bits}-bit {name.get(kind, 'unknown')} pixels, which cannot be read here", _EXPORT
        )
