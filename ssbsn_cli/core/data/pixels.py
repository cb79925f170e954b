"""Read the pixels of a photo for training."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import ImageError, OptionError, how_to_install
from ssbsn_cli.core.imaging import read_photo
from ssbsn_cli.core.imaging.adjust import convert_depth, straighten_alpha
from ssbsn_cli.core.runtime.process import silenced_libraries

DND_KEY = "InoisySRGB"


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
        color = _read_dnd(path)
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


def import_h5py(path: Path) -> Any:
    """Return the library that reads a MATLAB 7.3 file; raise OptionError if it is missing."""
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise OptionError(
            f"{path} is a MATLAB file, and h5py, which reads those, is not installed.",
            how_to_install("dnd"),
        ) from error


def _read_dnd(path: Path) -> NDArray[Any]:
    h5py = import_h5py(path)
    try:
        with h5py.File(path, "r") as file:
            stored = np.asarray(file[DND_KEY])
    except (OSError, KeyError, RuntimeError) as error:
        raise ImageError(
            f"{path} cannot be read as a photo of DND.",
            f"It should be a MATLAB 7.3 file with an array {DND_KEY}; download it again.",
        ) from error
    usual = stored.ndim == 3 and stored.shape[0] == 3 and stored.dtype.kind == "f"
    if not usual or not stored.size or not np.isfinite(stored).all():
        raise ImageError(
            f"{path} holds no colour photo in {DND_KEY}.", "Download the data set again."
        )
    # MATLAB stores axes in reverse order.
    return np.ascontiguousarray(stored.transpose(2, 1, 0))
