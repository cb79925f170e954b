"""Writing photos in every format."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging.adjust import BARELY, convert_depth, is_opaque, straighten_alpha
from ssbsn_cli.core.imaging.formats import CODECS, format_of_path, stored_dtype
from ssbsn_cli.core.imaging.keeping import keep_metadata
from ssbsn_cli.core.imaging.photo import BEYOND, Metadata, Photo, Pixels
from ssbsn_cli.core.imaging.tiff_stream import TiffImage
from ssbsn_cli.core.imaging.tiff_write import write_tiff_tiles
from ssbsn_cli.core.runtime.storage import atomic_output


def write_photo(
    photo: Photo,
    path: Path,
    *,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    strip_metadata: bool = False,
) -> None:
    """Write a photo to a file atomically.

    Parameters
    ----------
    photo : Photo
        The photo.
    path : Path
        Its file.
    format : str, optional
        One of `CODECS`, such as "jpeg"; by default that of the extension of `path`.
    quality : int
        1 to 100, for lossy formats.
    overwrite : bool
        Whether an existing file may be replaced.
    strip_metadata : bool
        Whether to leave out EXIF, XMP and the like. The colour space is kept.

    Raises
    ------
    ImageError
        The format cannot hold the photo, or the file cannot be written.
    OptionError
        There is no such format or quality.
    """
    format = format or format_of_path(path)
    check_writable(photo, format, quality, str(path))
    with atomic_output(path, overwrite) as temporary, temporary.open("rb+") as stream:
        _encode(photo, stream, format, quality, strip_metadata, str(path))


def write_rows(
    rows: Iterable[Pixels],
    source: TiffImage,
    path: Path,
    *,
    overwrite: bool = False,
    strip_metadata: bool = False,
) -> None:
    """Write the result of a large TIFF as a TIFF, from rows, atomically.

    Parameters
    ----------
    rows : iterable of array
        (h, W, C) each, from top to bottom; together they have the shape and type of `source`.
    source : TiffImage
        Provides the metadata; closed at the end.
    path : Path
        The file, which may be that of `source`.
    overwrite, strip_metadata : bool
        As for `write_photo`.

    Raises
    ------
    ImageError
        The file cannot be written, or making the rows shows that `source` is damaged.
    """
    kept = _kept(source.metadata, "tiff", source.shape[2], strip_metadata)
    # The source is closed before it may be replaced, which some systems require.
    with atomic_output(path, overwrite) as temporary, source, temporary.open("rb+") as stream:
        write_tiff_tiles(stream, rows, source.shape, source.dtype, kept)


def encode_photo(
    photo: Photo, format: str, *, quality: int = 95, strip_metadata: bool = False
) -> bytes:
    """Return a photo as the bytes of a file.

    Parameters and errors are those of `write_photo`, but `format` must be given.
    """
    name = "The result"
    check_writable(photo, format, quality, name)
    stream = io.BytesIO()
    _encode(photo, stream, format, quality, strip_metadata, name)
    return stream.getvalue()


def check_writable(photo: Photo, format: str, quality: int, name: str) -> None:
    """Refuse photos that a format cannot hold, without writing anything.

    Of the photo's values, only those of alpha matter. `name` is the result's name in messages.
    Errors are those of `write_photo`.
    """
    codec = CODECS.get(format)
    if codec is None or not codec.encode:
        known = (name for name, codec in CODECS.items() if codec.encode)
        raise OptionError(f"Unknown format {format!r}.", f"Choose one of {', '.join(known)}.")
    if not codec.is_installed:
        raise ImageError(
            f"{name} cannot be written: {codec.label} needs another package.", codec.how_to_install
        )
    if not 1 <= quality <= 100:
        raise OptionError(f"A quality of {quality} is out of range.", "Use a number from 1 to 100.")
    blocked = photo.has_alpha and not codec.alphas and not _drops_channel(photo, format)
    if blocked and not is_opaque(photo):
        raise ImageError(
            f"{name} cannot be written: the photo has alpha, and {codec.label} is written without.",
            "Choose PNG.",
        )
    height, width, _ = photo.pixels.shape
    if codec.max_side and max(height, width) > codec.max_side:
        raise ImageError(
            f"{name} cannot be written: {width} x {height} pixels are too many for {codec.label}, "
            f"which holds {codec.max_side} a side.",
            "Choose TIFF.",
        )


def list_losses(photo: Photo, format: str, strip_metadata: bool = False) -> tuple[str, ...]:
    """Return which contents of a photo a file in a format would lack.

    For example "EXIF" or "the gain map for HDR displays".
    """
    lost = list(_kept(photo.metadata, format, photo.pixels.shape[2], strip_metadata).lost)
    clips = photo.pixels.dtype.kind == "f" and stored_dtype(photo, format).kind != "f"
    if clips and _goes_beyond(photo.color):
        lost.append(BEYOND)
    if clips and np.isnan(photo.color.min()):
        lost.append("pixels without a value (NaN), which become black")
    if _drops_channel(photo, format):
        lost.append("a channel without a meaning")
    return tuple(lost)


def _drops_channel(photo: Photo, format: str) -> bool:
    """Return whether a channel of unknown meaning, such as infrared, would become opacity."""
    unknown = photo.has_alpha and photo.alpha == "unspecified"
    return unknown and "unspecified" not in CODECS[format].alphas


def _goes_beyond(color: Pixels) -> bool:
    """Return whether floats exceed black or white by more than a little."""
    darkest, brightest = (each.reduce(color, axis=None) for each in (np.fmin, np.fmax))
    return bool(darkest < -BARELY or brightest > 1 + BARELY)


def _kept(metadata: Metadata, format: str, channels: int, strip_metadata: bool) -> Metadata:
    if strip_metadata:
        # Without its colour space, the photo would look different.
        metadata = Metadata(icc=metadata.icc, cicp=metadata.cicp, lost=metadata.lost)
    return keep_metadata(metadata, CODECS[format], channels)


def _encode(
    photo: Photo, stream: BinaryIO, format: str, quality: int, strip_metadata: bool, name: str
) -> None:
    codec = CODECS[format]
    assert codec.encode
    if (photo.has_alpha and not codec.alphas) or _drops_channel(photo, format):
        photo = replace(photo, pixels=photo.color)
    metadata = _kept(photo.metadata, format, photo.pixels.shape[2], strip_metadata)
    try:
        if photo.alpha not in codec.alphas:
            photo = straighten_alpha(photo)
        pixels = convert_depth(photo.pixels, stored_dtype(photo, format))
        # Encoders refuse odd strides, which NumPy takes for contiguous in pictures of one row.
        pixels = np.ascontiguousarray(pixels).reshape(-1).reshape(pixels.shape)
        codec.encode(replace(photo, pixels=pixels, metadata=metadata), stream, quality)
    except (OSError, ValueError, RuntimeError) as error:
        # System errors, such as a full disk, have a number; errors of encoders do not.
        if isinstance(error, OSError) and error.errno:
            raise
        raise ImageError(
            f"{name} cannot be written: the encoder refuses it ({error}).", "Choose TIFF."
        ) from error
