"""All file formats. Content identifies them when reading, and the name when writing."""

from __future__ import annotations

from pathlib import PurePath
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging.avif import AVIF
from ssbsn_cli.core.imaging.codec import Codec, Refusal
from ssbsn_cli.core.imaging.heif import HEIC
from ssbsn_cli.core.imaging.jpeg import JPEG
from ssbsn_cli.core.imaging.jpegxl import JXL
from ssbsn_cli.core.imaging.photo import Photo
from ssbsn_cli.core.imaging.pillow import BMP, WEBP
from ssbsn_cli.core.imaging.png import PNG
from ssbsn_cli.core.imaging.pnm import PNM
from ssbsn_cli.core.imaging.raw import HEADERLESS, RAW
from ssbsn_cli.core.imaging.tiff import TIFF

CODECS = {codec.name: codec for codec in (JPEG, PNG, WEBP, BMP, TIFF, PNM, HEIC, AVIF, JXL, RAW)}
# Extensions that are only read, and those of their results.
_READ_ONLY = {**dict.fromkeys(RAW.extensions, ".tif"), ".pbm": ".pgm"}
PHOTO_EXTENSIONS = frozenset(one for codec in CODECS.values() for one in codec.extensions)
_BY_EXTENSION = {
    extension: codec.name
    for codec in CODECS.values()
    for extension in codec.extensions
    if extension not in _READ_ONLY
}

#: How many bytes at the beginning of a file identify its format.
HEAD = 4096
# Formats that cannot be read, so that a refusal can name them.
_FOREIGN = (
    (b"GIF8", "a GIF"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"%PDF", "a PDF"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"P7\n", "a PAM image"),
    (b"PF\n", "a PFM image"),
    (b"Pf\n", "a PFM image"),
)


def format_of_path(path: PurePath | str) -> str:
    """Return the name in `CODECS` that the extension of a file name stands for, such as "jpeg".

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
            f"Use one of {' '.join(sorted(_BY_EXTENSION))}.",
        )
    return found


def result_extension(path: PurePath | str, format: str | None) -> str:
    """Return the extension of a photo's result in a format: the photo's own if it fits.

    Without a format, results of camera raw files get ``.tif``, since only cameras write raw files,
    and those of bitmaps ``.pgm``, since bitmaps have no grey.
    """
    extension = PurePath(path).suffix
    if format is None:
        return _READ_ONLY.get(extension.lower(), extension)
    if _BY_EXTENSION.get(extension.lower()) == format:
        return extension
    return ".jpg" if format == "jpeg" else f".{format}"


def result_format(format: str) -> str:
    """Return the format of the results of photos in a format: TIFF for camera raw files."""
    return format if CODECS[format].encode else "tiff"


def stored_dtype(photo: Photo, format: str) -> np.dtype[np.generic]:
    """Return the type of a photo's pixels in a file: their own, or the format's deepest."""
    dtypes = CODECS[format].dtypes
    own = photo.pixels.dtype.name
    return np.dtype(own if own in dtypes else dtypes[-1])


def sniff(stream: BinaryIO, suffix: str) -> Codec:
    """Identify a file's format by its first bytes; the file is at its start before and after.

    The extension matters only for camera raw files, since most of them start like TIFFs. Raises
    `Refusal` if the format is unknown.
    """
    head = stream.read(HEAD)
    stream.seek(0)
    if not head:
        raise Refusal("is empty", "Copy or download it again.")
    # Camera raw first, since its files may match as TIFFs, too.
    found = next((codec for codec in reversed(CODECS.values()) if codec.matches(head)), None)
    if suffix.lower() == HEADERLESS and not found:
        # LibRaw would guess a camera from the size of the file.
        raise Refusal(
            "does not begin as a camera's file does, so nothing says how large its picture is",
            "Save it as a 16-bit TIFF with the program that it comes from.",
        )
    if suffix.lower() in RAW.extensions and found in (None, TIFF):
        found = RAW
    if not found:
        raise _foreign(head)
    if not found.is_installed:
        raise Refusal(f"is a {found.label}, which needs another package", found.how_to_install)
    return found


def _foreign(head: bytes) -> Refusal:
    export = "Export it as PNG, TIFF or JPEG first."
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return Refusal(f"is {what}, which cannot be read here", export)
    if head[4:8] == b"ftyp":
        return Refusal("is a video, or a picture stored like one", export)
    if b"<svg" in head:
        return Refusal("is an SVG drawing, not a photo", export)
    labels = ", ".join(codec.label for codec in CODECS.values() if codec is not RAW)
    return Refusal("is not a photo of a known kind", f"{labels} and {RAW.label}s can be read.")
