"""The interface of file formats: each has a `Codec` in the file that reads and writes it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import BinaryIO

from ssbsn_cli.core.errors import how_to_install
from ssbsn_cli.core.imaging.photo import Alpha, Photo

# Any number of bytes.
UNLIMITED = sys.maxsize
# From this quality on, colours keep their full resolution.
FINE_CHROMA = 90


@dataclass(frozen=True)
class Codec:
    """A file format.

    Parameters
    ----------
    name, label : str
        Its name in options and in `Photo.format`, and its name in messages.
    extensions : tuple of str
        In lower case, with the dot.
    dtypes : tuple of str
        The pixel types it can hold, the deepest last.
    matches : callable
        Takes the first 4096 bytes of a file, and returns whether it has this format.
    decode : callable
        Takes a file, open for reading and seekable, and returns its `Photo` as stored, not yet
        turned upright. Raises `Refusal`; any other error means that the file is damaged.
    encode : callable
        Takes a `Photo`, an empty file, open for writing and reading, and the quality, 1 to 100.
        The photo has one of `dtypes` and of `alphas`, and a colour profile that fits its channels.
        None if the format can only be read.
    measure : callable
        Takes a file as `decode` does, and returns the width and height that its header claims,
        without decoding it. May raise the same errors as `decode`.
    alphas : tuple of {"unassociated", "associated", "unspecified"}
        The possible meanings of an alpha channel; empty if there is no alpha channel.
    max_side : int, optional
        The most pixels in a row or a column.
    keeps : mapping of str to int
        The fields of `Metadata` that the format holds, and their maximum sizes in bytes. `encode`
        gets no others. Without ``resolution`` or ``cicp``, it gets them as EXIF and as a profile.
    grey : bool
        Whether it holds grey pixels with one channel, and not only as RGB.
    lossy : bool
        Whether most files are far smaller than lossless ones.
    moves_exif : bool
        Whether the contents of EXIF blocks are moved, which some maker notes do not survive.
    modules, extra : tuple of str, str
        Modules that it needs, and the extra of this package that installs them, such as "heif".
    """

    name: str
    label: str
    extensions: tuple[str, ...]
    dtypes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    decode: Callable[[BinaryIO], Photo]
    encode: Callable[[Photo, BinaryIO, int], None] | None
    measure: Callable[[BinaryIO], tuple[int, int]]
    alphas: tuple[Alpha, ...] = ()
    max_side: int | None = None
    keeps: Mapping[str, int] = field(
        default_factory=lambda: dict.fromkeys(("exif", "xmp", "icc"), UNLIMITED)
    )
    grey: bool = True
    lossy: bool = False
    moves_exif: bool = False
    modules: tuple[str, ...] = ()
    extra: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether the packages that it needs are installed."""
        return all(find_spec(module) for module in self.modules)

    @property
    def how_to_install(self) -> str:
        """The sentence that says how to install the packages that it needs."""
        return how_to_install(self.extra)


class Refusal(Exception):  # noqa: N818 - a decoder's answer, not an error that users meet
    """Why a file cannot become a photo, and what to do next.

    Decoders do not know the file's name. `reason` is the rest of a sentence that starts with it,
    without the full stop.
    """

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def cut_short() -> Refusal:
    """Return the refusal of an incomplete file."""
    return Refusal("is cut short", "Copy or download it again.")


def damaged(label: str) -> Refusal:
    """Return the refusal of a file that cannot be decoded, given the label of its format."""
    return Refusal(f"is a damaged {label}", "Copy or download it again, or export it anew.")


def animation() -> Refusal:
    """Return the refusal of a file with several frames."""
    return Refusal("is an animation, not a photo", "Export one frame of it first.")
