"""Reading photos of every format."""

from __future__ import annotations

import errno
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import BinaryIO

from ssbsn_cli.core.errors import ImageError, explain_unreadable
from ssbsn_cli.core.imaging.codec import Refusal, damaged
from ssbsn_cli.core.imaging.exif_fields import is_adobe_rgb
from ssbsn_cli.core.imaging.formats import HEAD, sniff
from ssbsn_cli.core.imaging.keeping import without_claims
from ssbsn_cli.core.imaging.orientation import upright
from ssbsn_cli.core.imaging.photo import Metadata, Photo
from ssbsn_cli.core.imaging.profile import ADOBE_CURVE, ADOBE_RGB, make_profile
from ssbsn_cli.core.imaging.raw import RAW, develop
from ssbsn_cli.core.types import RawSpace

# Users must ask for larger photos: decoding 512 megapixels takes about 3 GB.
MAX_PIXELS = 512_000_000
# Errors that say nothing about a file: the disk fails, or too many files are open.
_OF_THE_SYSTEM = (errno.EIO, errno.EMFILE, errno.ENFILE)


def read_photo(
    source: Path | bytes | BinaryIO,
    name: str | None = None,
    *,
    max_pixels: int | None = None,
    raw_space: RawSpace = "srgb",
) -> Photo:
    """Read a photo and turn it upright.

    Parameters
    ----------
    source : Path, bytes or binary file
        A file, its content, or a pipe. The content identifies the format.
    name : str, optional
        Its name in messages; by default the path, if there is one.
    max_pixels : int, optional
        The most pixels that the file may claim, checked before decoding; by default `MAX_PIXELS`.
    raw_space : RawSpace
        The colour space that camera raw files are developed to.

    Returns
    -------
    Photo
        With the bit depth of the file.

    Raises
    ------
    ImageError
        It cannot be read; the message names it and says why.
    """
    max_pixels = max_pixels or MAX_PIXELS
    if not isinstance(source, Path):
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        return _read(stream, name or "The input", max_pixels, raw_space)
    name = name or str(source)
    try:
        with source.open("rb") as stream:
            return _read(stream, name, max_pixels, raw_space)
    except OSError as error:
        raise ImageError(*explain_unreadable(name, error)) from error


def _whole(stream: BinaryIO, suffix: str) -> BinaryIO:
    """Return a stream that can seek. A pipe is read to its end only if it begins as photos do."""
    if stream.seekable() and not stream.tell():
        return stream
    head = stream.read(HEAD)
    if not head:
        raise Refusal("is empty", "Check the command before the pipe.")
    sniff(io.BytesIO(head), suffix)
    whole = io.BytesIO()
    whole.write(head)
    shutil.copyfileobj(stream, whole)
    whole.seek(0)
    return whole


def _read(stream: BinaryIO, name: str, max_pixels: int, raw_space: RawSpace) -> Photo:
    try:
        suffix = PurePath(name).suffix
        with explained(name):
            stream = _whole(stream, suffix)
            codec = sniff(stream, suffix)
        with explained(name, codec.label):
            width, height = codec.measure(stream)
            if width * height > max_pixels:
                raise Refusal(
                    f"claims to be {width} x {height} pixels, more than the limit of {max_pixels}",
                    "Use --max-pixels to raise the limit if you trust the file.",
                )
            stream.seek(0)
            photo = develop(stream, raw_space) if codec is RAW else codec.decode(stream)
            if not photo.pixels.size:
                raise damaged(codec.label)
        photo.metadata = settle(photo.metadata, photo.color.shape[2])
        return upright(photo)
    except MemoryError as error:
        raise ImageError(
            f"{name} does not fit into memory.", "Close other programs, or cut it into parts."
        ) from error


def settle(metadata: Metadata, channels: int) -> Metadata:
    """Return metadata as they are true of a photo alone, with 1 or 3 channels besides alpha.

    Colours that only EXIF states get a profile, since few programs look there. Claims of other
    pictures in the file are removed.
    """
    stated = metadata.icc or metadata.cicp
    if not stated and channels > 1 and is_adobe_rgb(metadata.exif):
        profile = make_profile(ADOBE_RGB, ADOBE_CURVE, False, "Adobe RGB")
        metadata = replace(metadata, icc=profile)
    return without_claims(metadata)


@contextmanager
def explained(name: str, label: str | None = None) -> Iterator[None]:
    """Turn most errors of decoders into an error that names the file.

    The label is that of the file's format, if it is known already.
    """
    try:
        yield
    except (MemoryError, ImageError):
        raise
    except Refusal as refusal:
        raise ImageError(f"{name} {refusal}.", refusal.hint) from refusal.__cause__
    except Exception as error:
        # Most OSErrors of a decoder are about the bytes.
        if isinstance(error, OSError) and (label is None or error.errno in _OF_THE_SYSTEM):
            raise ImageError(*explain_unreadable(name, error)) from error
        # Libraries raise various errors for broken bytes.
        answer = damaged(label or "photo")
        raise ImageError(f"{name} {answer}.", answer.hint) from error
