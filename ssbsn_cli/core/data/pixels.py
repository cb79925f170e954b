"""Read the pixels of a photo to train on or to score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.matlab import read_dnd
from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import read_photo
from ssbsn_cli.core.imaging.adjust import convert_depth, straighten_alpha
from ssbsn_cli.core.runtime.process import silenced_libraries


def read_pixels(path: Path) -> NDArray[Any]:
    """Read a photo, or one of DND's ``images_srgb/*.mat``, as RGB integers.

    Returns
    -------
    numpy.ndarray
        (H, W, 3), C-contiguous: uint8 if the file has 8 bits, else uint16 with white at 65535.
        Grey becomes RGB, alpha is dropped, floats outside [0, 1] are clipped.

    Raises
    ------
    ImageError
        It cannot be read, or has values that are not finite, which integers cannot hold.
    OptionError
        It is a MATLAB file, and h5py is not installed.
    """
    if path.suffix.lower() == ".mat":
        color = read_dnd(path)
    else:
        with silenced_libraries():
            color = straighten_alpha(read_photo(path)).color
    if color.dtype.kind == "f" and not np.isfinite(color).all():
        raise ImageError(
            f"{path} has values that are not finite, so it cannot be scored or trained on.",
            "Leave it out, or fill the holes first.",
        )
    if color.dtype != np.uint8:
        color = convert_depth(color, np.dtype(np.uint16))
    return np.ascontiguousarray(np.broadcast_to(color, (*color.shape[:2], 3)))
