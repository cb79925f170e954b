"""A photo in memory: pixels and metadata."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import ImageError

Pixels = NDArray[Any]
Alpha = Literal["unassociated", "associated", "unspecified"]

# Names for `Metadata.lost` that several formats need.
GAIN_MAP = "the gain map for HDR displays"
DEPTH_MAP = "the depth map"
OTHER_PICTURES = "further pictures in the file"
CREDENTIALS = "content credentials"
BRIGHTNESS = "the brightness that HDR displays are told"
PRIVATE = "private data of the camera or an editor"
AFTER_THE_END = "data after the picture's end"
DAMAGED = "metadata that are damaged"
NOT_SQUARE = "the shape of pixels that are not square"
BEYOND = "what is darker than black or brighter than white"
# Private data of fewer bytes are not worth mentioning.
LITTLE = 1024
# The most values (pixels times channels) of a group of rows, if it has more than one.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Metadata:
    """A photo's metadata, as bytes that the formats share.

    Parameters
    ----------
    exif : bytes
        A TIFF-structured EXIF block, without the ``Exif`` marker that JPEG puts before it.
    xmp : bytes
        An XMP packet.
    xmp_extension : bytes
        The rest of a packet that is too long for a JPEG segment; the packet refers to it by MD5.
    icc : bytes
        An ICC colour profile.
    cicp : bytes
        The colour space in four numbers of one byte, as defined by ITU-T H.273: primaries,
        transfer, matrix (0, since pixels are RGB) and range (1). Also called nclx. Empty if an
        ICC profile defines it.
    iptc : bytes
        Captions, keywords and rights as IPTC-IIM records.
    resolution : tuple of float, optional
        Pixels per inch in print, across and down. None if only EXIF states it, or nothing does.
    text : tuple of (str, str)
        Other comments, each with a keyword such as "Comment" or "Title".
    lost : tuple of str
        Contents of the file that no result will have, for example "the gain map".
    """

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    xmp_extension: bytes = b""
    cicp: bytes = b""
    iptc: bytes = b""
    resolution: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()


@dataclass
class Photo:
    """A photo, the right way up.

    Parameters
    ----------
    pixels : numpy.ndarray
        (H, W, C): 1 channel is grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. Integers (uint8,
        uint16) use their whole range; floats put black at 0 and white at 1, and may exceed both.
    format : str
        The format of its file, such as "jpeg", or "raw" for camera raw files.
    alpha : {"unassociated", "associated", "unspecified"}
        The meaning of the alpha channel, if any: the usual opacity, opacity that the colours are
        already multiplied by, or no stated meaning. Only TIFF can hold the last two; for other
        formats, colours are divided by associated alpha, and unspecified alpha is left out.
    bits : int
        Bits per channel in the file of a uint16 photo, of which 9 to 15 are stretched. It says
        nothing about other types.
    """

    pixels: Pixels
    metadata: Metadata = field(default_factory=Metadata)
    format: str = "png"
    alpha: Alpha = "unassociated"
    bits: int = 16

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def color(self) -> Pixels:
        """The grey or RGB channels: a view of `pixels`, (H, W, 1) or (H, W, 3)."""
        return color_of(self.pixels)


class Image(Protocol):
    """Pixels (H, W, C), in memory as an array or still in their file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Return the pixels of some rows and columns, (h, w, C)."""


def color_of(pixels: Pixels) -> Pixels:
    """Return a view of (H, W, C) without alpha, which is the last of 2 or 4 channels."""
    return pixels[..., : pixels.shape[2] - 1 + pixels.shape[2] % 2]


def middle_of(pixels: Pixels, side: int) -> Pixels:
    """Return a view of the middle of (H, W, C), at most `side` high and wide."""
    top, left = (max(length - side, 0) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def pixel_rows(pixels: Image) -> list[slice]:
    """Cut an image into groups of rows, so that working on them needs little extra memory."""
    height, width, channels = pixels.shape
    step = max(1, _AT_ONCE // (width * channels))
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def check_image(image: object, dimensions: Container[int] = (3,)) -> None:
    """Raise an ImageError if something is not an image of 1 to 4 channels.

    Parameters
    ----------
    image : Image
        What a caller gave.
    dimensions : container of int
        3 stands for (H, W, C), and 2 for (H, W).
    """
    flat = "(H, W) or " if 2 in dimensions else ""
    hint = f"Give {flat}(H, W, 1 to 4) of uint8, uint16, or floats with white at 1, in NumPy."
    shape: tuple[int, ...] = getattr(image, "shape", ())
    dtype = getattr(image, "dtype", None)
    if not isinstance(dtype, np.dtype) or isinstance(image, np.ma.MaskedArray):
        raise ImageError(f"An object of type {type(image).__name__} is not an image.", hint)
    if len(shape) not in dimensions or 0 in shape or (len(shape) == 3 and shape[2] > 4):
        raise ImageError(f"An array of shape {shape} is not an image.", hint)
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise ImageError(f"An array of {dtype} is not an image.", hint)


def check_color(image: Image) -> None:
    """Raise an ImageError if something is not an image of 1 or 3 channels."""
    check_image(image)
    if image.shape[2] % 2 == 0:
        raise ImageError("The image has an alpha channel.", "Give its colours alone.")
