"""All file formats, and how they are told apart: by content when reading, by name when writing."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging.codec import Codec, Refusal, camera_raw
from ssbsn_cli.core.imaging.jpeg import JPEG
from ssbsn_cli.core.imaging.photo import Photo
from ssbsn_cli.core.imaging.pillow import BMP, WEBP
from ssbsn_cli.core.imaging.png import PNG
from ssbsn_cli.core.imaging.pnm import PNM
from ssbsn_cli.core.imaging.tiff import TIFF

CODECS = {codec.name: codec for codec in (JPEG, PNG, WEBP, BMP, TIFF, PNM)}
_BY_EXTENSION = {ext: codec.name for codec in CODECS.values() for ext in codec.extensions}
PHOTO_EXTENSIONS = frozenset(_BY_EXTENSION)

_HEAD = 4096
_RAW_EXTENSIONS = re.compile(
    r"\.(3fr|arw|cr[23w]|dcr|dng|erf|fff|iiq|kdc|mef|mos|mrw|n[er][fw]|orf|pef|raf|rw[2l]|sr[2fw]|x3f)",
    re.IGNORECASE,
)
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")
# What cannot be read here, so that a refusal can name it.
_FOREIGN = (
    (b"GIF8", "a GIF"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"%PDF", "a PDF"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"P7\n", "a PAM image"),
    (b"PF\n", "a PFM image"),
    (b"Pf\n", "a PFM image"),
)
_BRANDS = {
    b"avi": "an AVIF",
    b"hei": "a HEIC",
    b"hev": "a HEIC",
    b"mif": "a HEIF",
    b"msf": "a HEIF",
}


def format_of_path(path: PurePath | str) -> str:
    """Tell the format that a file name asks for.

    Parameters
    ----------
    path : path or str
        Only its extension matters; upper and lower case are the same.

    Returns
    -------
    str
        One of `CODECS`, such as "jpeg".

    Raises
    ------
    ImageError
        The extension belongs to none of them.
    """
    path = PurePath(path)
    found = _BY_EXTENSION.get(path.suffix.lower())
    if found is None:
        what = f"The extension {path.suffix!r}" if path.suffix else "A name without an extension"
        raise ImageError(
            f"{what} does not say how to write {path}.",
            f"Use one of {' '.join(sorted(PHOTO_EXTENSIONS))}.",
        )
    return found


def is_photo_name(path: PurePath | str) -> bool:
    """Tell by its name whether a file is a photo; hidden files are not. It need not exist."""
    path = PurePath(path)
    return path.suffix.lower() in PHOTO_EXTENSIONS and not path.name.startswith(".")


def stored_dtype(photo: Photo, format: str) -> np.dtype[np.generic]:
    """Return the type a photo's pixels have in a file: their own, or the format's deepest."""
    dtypes = CODECS[format].dtypes
    own = photo.pixels.dtype.name
    return np.dtype(own if own in dtypes else dtypes[-1])


def sniff(stream: BinaryIO, suffix: str) -> Codec:
    """Tell a file's format from how it begins; the file is at its start before and after.

    The extension matters only for camera raw files: most of them begin as TIFFs do.

    Raises
    ------
    Refusal
        It is something else.
    """
    head = stream.read(_HEAD)
    stream.seek(0)
    if not head:
        raise Refusal("is empty", "Copy or download it again.")
    is_cr2 = head[:2] == b"II" and head[8:10] == b"CR"
    if is_cr2 or _RAW_EXTENSIONS.fullmatch(suffix) or head.startswith(_RAW):
        raise camera_raw()
    for codec in CODECS.values():
        if codec.matches(head):
            return codec
    raise _foreign(head)


def _foreign(head: bytes) -> Refusal:
    export = "Export it as PNG, TIFF or JPEG first."
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return Refusal(f"is {what}, which cannot be read here", export)
    if head[4:8] == b"ftyp":
        brand = head[8:11]
        if brand == b"crx":
            return camera_raw()
        what = _BRANDS.get(brand, "a video, or a picture stored like one")
        return Refusal(f"is {what}, which cannot be read here", export)
    if b"<svg" in head:
        return Refusal("is an SVG drawing, not a photograph", export)
    *labels, last = (codec.label for codec in CODECS.values())
    return Refusal(
        "is not a photograph of a known kind", f"{', '.join(labels)} and {last} can be read."
    )
