"""Turning photographs the right way up, once and for every viewer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ssbsn_cli.core.imaging.exif import mark_upright, orientation_of
from ssbsn_cli.core.imaging.photo import Metadata, Photo, Pixels

_XMP_ORIENTATION = re.compile(rb"(\btiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])(?!\d)")

_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


def upright(photo: Photo) -> Photo:
    """Turn a photograph as its metadata ask for, and make them ask no more.

    Parameters
    ----------
    photo : Photo
        As it is stored.

    Returns
    -------
    Photo
        As it is to be seen.
    """
    orientation, metadata = settle_turn(photo.metadata)
    if orientation in _TURNS:
        pixels = np.ascontiguousarray(_TURNS[orientation](photo.pixels))
        metadata = replace(metadata, exif=mark_upright(metadata.exif, turned=orientation >= 5))
        return replace(photo, pixels=pixels, metadata=metadata)
    return replace(photo, metadata=metadata)


def settle_turn(metadata: Metadata) -> tuple[int, Metadata]:
    """Tell how a photograph is to be turned, and make its XMP ask no more.

    EXIF decides; XMP is asked only where EXIF does not say.

    Parameters
    ----------
    metadata : Metadata
        As they were read.

    Returns
    -------
    orientation : int
        1 to 8 as in EXIF; 0 if nothing is said.
    metadata : Metadata
        Their EXIF is unchanged.
    """
    orientation = orientation_of(metadata.exif)
    if not orientation and (stated := _XMP_ORIENTATION.search(metadata.xmp)):
        orientation = int(stated[2])
    return orientation, replace(metadata, xmp=_XMP_ORIENTATION.sub(rb"\g<1>1", metadata.xmp))
