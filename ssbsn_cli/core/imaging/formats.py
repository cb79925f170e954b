"""Which kinds of files there are, told by content and by extension."""

from __future__ import annotations

import re
from pathlib import PurePath

import numpy as np

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging.photo import Photo, Refusal

_EXTENSIONS = {
    "jpeg": (".jpg", ".jpeg", ".jpe"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "tiff": (".tif", ".tiff"),
    "pnm": (".ppm", ".pgm", ".pnm"),
}
_BY_EXTENSION = {ext: kind for kind, exts in _EXTENSIONS.items() for ext in exts}

PHOTO_EXTENSIONS = frozenset(_BY_EXTENSION)
LABELS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "bmp": "BMP",
    "tiff": "TIFF",
    "pnm": "PNM",
}

_RAW_EXTENSIONS = re.compile(
    r"\.(3fr|arw|cr[23w]|dcr|dng|erf|fff|iiq|kdc|mef|mos|mrw|n[er][fw]|orf|pef|raf|rw[2l]|sr[2fw]|x3f)",
    re.IGNORECASE,
)

_DEPTHS: dict[str, tuple[str, ...]] = {
    "jpeg": ("uint8",),
    "png": ("uint8", "uint16"),
    "webp": ("uint8",),
    "bmp": ("uint8",),
    "pnm": ("uint8", "uint16"),
    "tiff": ("uint8", "uint16", "float16", "float32", "float64"),
}

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
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")
_BRANDS = {
    b"avif": "an AVIF",
    b"avis": "an AVIF",
    b"heic": "a HEIC",
    b"heix": "a HEIC",
    b"hevc": "a HEIC",
    b"heim": "a HEIC",
    b"heis": "a HEIC",
    b"mif1": "a HEIF",
    b"msf1": "a HEIF",
}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def camera_raw() -> Refusal:
    """Make the refusal of a camera raw file.

    Returns
    -------
    Refusal
        To be raised.
    """
    return Refusal(
        "is a camera raw file, which holds no finished picture",
        "Develop it in a raw converter and export it as a 16-bit TIFF first.",
    )


def format_of_path(path: PurePath | str) -> str:
    """Tell the format that a file name asks for.

    Parameters
    ----------
    path : path or str
        Only its extension matters; upper and lower case are the same.

    Returns
    -------
    str
        "jpeg", "png", "webp", "bmp", "tiff" or "pnm".

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
    """Tell whether a file is a photograph by its name; hidden files are not.

    Parameters
    ----------
    path : path or str
        The file need not exist.

    Returns
    -------
    bool
        Whether the extension is one of `PHOTO_EXTENSIONS`.
    """
    path = PurePath(path)
    return path.suffix.lower() in PHOTO_EXTENSIONS and not path.name.startswith(".")


def stored_dtype(photo: Photo, format: str) -> np.dtype[np.generic]:
    """Tell the type of number that a photograph's pixels have once written.

    Parameters
    ----------
    photo : Photo
        The photograph.
    format : str
        "jpeg", "png", "webp", "bmp", "tiff" or "pnm".

    Returns
    -------
    numpy.dtype
        The photograph's own where the format can hold it, else the deepest that it can.
    """
    depths = _DEPTHS[format]
    own = photo.pixels.dtype
    return np.dtype(own.name if own.name in depths else depths[-1])


def sniff(head: bytes, suffix: str) -> str:
    """Tell a file's format from how it begins.

    Parameters
    ----------
    head : bytes
        The first bytes, 4096 or so.
    suffix : str
        The file's extension, which sets camera raw files apart from the TIFF that most of them are.

    Returns
    -------
    str
        "jpeg", "png", "webp", "bmp", "tiff" or "pnm".

    Raises
    ------
    Refusal
        It is something else.
    """
    if not head:
        raise Refusal("is empty", "Copy or download it again.")
    is_cr2 = head[:2] == b"II" and head[8:10] == b"CR"
    if is_cr2 or _RAW_EXTENSIONS.fullmatch(suffix) or head.startswith(_RAW):
        raise camera_raw()
    for magic, kind in (
        (b"\xff\xd8\xff", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"MM\0+", "tiff"),
    ):
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "pnm"
    raise _foreign(head)


def _foreign(head: bytes) -> Refusal:
    export = "Export it as PNG, TIFF or JPEG first."
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return Refusal(f"is {what}, which cannot be read here", export)
    if head[4:8] == b"ftyp":
        if head[8:11] == b"crx":
            return camera_raw()
        what = _BRANDS.get(head[8:12], "a video, or a picture stored like one")
        return Refusal(f"is {what}, which cannot be read here", export)
    if b"<svg" in head:
        return Refusal("is an SVG drawing, not a photograph", export)
    return Refusal(
        "is not a photograph of a known kind",
        "JPEG, PNG, WebP, BMP, TIFF and PPM/PGM can be read.",
    )
