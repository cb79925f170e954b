"""Writing photographs in every known format."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging.adjust import convert_depth, straighten_alpha
from ssbsn_cli.core.imaging.formats import LABELS, format_of_path, stored_dtype
from ssbsn_cli.core.imaging.jpeg import encode_jpeg
from ssbsn_cli.core.imaging.photo import Metadata, Photo, Pixels
from ssbsn_cli.core.imaging.png import encode_png
from ssbsn_cli.core.imaging.simple import encode_bmp, encode_pnm, encode_webp
from ssbsn_cli.core.imaging.tiff_stream import TiffImage
from ssbsn_cli.core.imaging.tiff_write import write_tiff, write_tiff_tiles
from ssbsn_cli.core.runtime.storage import atomic_output

_OPAQUE = ("jpeg", "bmp", "pnm")
_MAX_SIDES = {"jpeg": 65500, "webp": 16383, "png": 1_000_000}


def write_photo(
    photo: Photo,
    path: Path,
    *,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    strip_metadata: bool = False,
) -> None:
    """Write a photograph to a file, whole or not at all.

    Parameters
    ----------
    photo : Photo
        What to write.
    path : Path
        Where.
    format : str, optional
        "jpeg", "png", "webp", "bmp", "tiff" or "pnm"; told by the extension of `path` if None.
    quality : int
        1 to 100, for JPEG and WebP.
    overwrite : bool
        Whether a file that is there already may be replaced.
    strip_metadata : bool
        Whether to leave out EXIF, XMP and the colour profile.

    Raises
    ------
    ImageError
        The format cannot hold the photograph, or the file cannot be written.
    OptionError
        There is no such format or quality.
    """
    format = format or format_of_path(path)
    check_writable(photo, format, quality, str(path))
    with atomic_output(path, overwrite) as temporary:
        if format == "tiff":
            with temporary.open("rb+") as stream:
                write_tiff(
                    stream, photo.pixels, photo.alpha, _kept_of(photo, format, strip_metadata)
                )
        else:
            temporary.write_bytes(_encode(photo, format, quality, strip_metadata, str(path)))


def write_rows(
    rows: Iterable[Pixels],
    source: TiffImage,
    path: Path,
    *,
    overwrite: bool = False,
    strip_metadata: bool = False,
) -> None:
    """Write what became of a TIFF, as a TIFF, whole or not at all and without ever holding it.

    Parameters
    ----------
    rows : iterable of numpy.ndarray
        (h, W, C) each, from top to bottom; of the shape and type of `source` together.
    source : TiffImage
        What they were made from; it gives the metadata and is closed at the end.
    path : Path
        Where; may be the file of `source`.
    overwrite : bool
        Whether a file that is there already may be replaced.
    strip_metadata : bool
        Whether to leave out EXIF, XMP and the colour profile.

    Raises
    ------
    ImageError
        The file cannot be written, or making the rows found `source` damaged.
    """
    kept = _kept(source.metadata, source.shape[2], "tiff", strip_metadata)
    # The source is closed before it may be replaced, which some systems insist on.
    with atomic_output(path, overwrite) as temporary, source, temporary.open("rb+") as stream:
        write_tiff_tiles(stream, rows, source.shape, source.dtype, kept)


def encode_photo(
    photo: Photo, format: str, *, quality: int = 95, strip_metadata: bool = False
) -> bytes:
    """Turn a photograph into the bytes of a file.

    Parameters
    ----------
    photo : Photo
        What to encode.
    format : str
        "jpeg", "png", "webp", "bmp", "tiff" or "pnm".
    quality : int
        1 to 100, for JPEG and WebP.
    strip_metadata : bool
        Whether to leave out EXIF, XMP and the colour profile.

    Returns
    -------
    bytes
        The content of the file.

    Raises
    ------
    ImageError
        The format cannot hold the photograph.
    OptionError
        There is no such format or quality.
    """
    name = "The result"
    check_writable(photo, format, quality, name)
    if format == "tiff":
        stream = io.BytesIO()
        write_tiff(stream, photo.pixels, photo.alpha, _kept_of(photo, format, strip_metadata))
        return stream.getvalue()
    return _encode(photo, format, quality, strip_metadata, name)


def check_writable(photo: Photo, format: str, quality: int, name: str) -> None:
    """Refuse what a format cannot hold, without writing anything.

    Parameters
    ----------
    photo : Photo
        What is to be written; only its shape and type matter.
    format : str
        "jpeg", "png", "webp", "bmp", "tiff" or "pnm".
    quality : int
        1 to 100.
    name : str
        What to call the result in messages.

    Raises
    ------
    ImageError
        The format cannot hold the photograph.
    OptionError
        There is no such format or quality.
    """
    if format not in LABELS:
        raise OptionError(f"Unknown format {format!r}.", f"Choose one of {', '.join(LABELS)}.")
    if not 1 <= quality <= 100:
        raise OptionError(f"A quality of {quality} is out of range.", "Use a number from 1 to 100.")
    label = LABELS[format]
    height, width, _ = photo.pixels.shape
    if photo.has_alpha and format in _OPAQUE:
        raise ImageError(
            f"{name} cannot be written: {label} has no alpha channel, and the photo has one.",
            "Choose PNG.",
        )
    limit = _MAX_SIDES.get(format)
    if limit and max(height, width) > limit:
        raise ImageError(
            f"{name} cannot be written: {width} x {height} pixels are too many for {label}, "
            f"which holds {limit} a side.",
            "Choose TIFF.",
        )


def _kept_of(photo: Photo, format: str, strip_metadata: bool) -> Metadata:
    return _kept(photo.metadata, photo.pixels.shape[2], format, strip_metadata)


def _kept(metadata: Metadata, channels: int, format: str, strip_metadata: bool) -> Metadata:
    """Return what of the metadata is to be written."""
    if strip_metadata:
        return Metadata()
    return replace(metadata, icc=_icc_that_fits(metadata.icc, channels, format))


def _icc_that_fits(icc: bytes, channels: int, format: str) -> bytes:
    """Return the colour profile, unless it is broken or made for other channels."""
    is_grey = channels <= 2
    if icc[36:40] != b"acsp" or icc[16:20] != (b"GRAY" if is_grey else b"RGB "):
        return b""
    # WebP knows RGB only.
    return b"" if is_grey and format == "webp" else icc


def _encode(photo: Photo, format: str, quality: int, strip_metadata: bool, name: str) -> bytes:
    metadata = _kept_of(photo, format, strip_metadata)
    try:
        pixels = convert_depth(straighten_alpha(photo).pixels, stored_dtype(photo, format))
        match format:
            case "jpeg":
                return encode_jpeg(pixels, metadata, quality)
            case "png":
                return encode_png(pixels, metadata)
            case "webp":
                return encode_webp(pixels, metadata, quality)
            case "bmp":
                return encode_bmp(pixels)
            case _:
                return encode_pnm(pixels)
    except (OSError, ValueError, cv2.error) as error:
        raise ImageError(
            f"{name} cannot be written: the encoder refuses it ({error}).", "Choose TIFF."
        ) from error
