"""Read the MATLAB 7.3 files of the Darmstadt Noise Dataset (DND)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import (
    ImageError,
    OptionError,
    SsbsnError,
    explain_unreadable,
    how_to_install,
)

_KEY = "InoisySRGB"
_WAY_OUT = "Download the data set again, from https://noise.visinf.tu-darmstadt.de/."


@contextmanager
def open_matlab(path: Path) -> Iterator[Any]:
    """Open a MATLAB 7.3 file, which is HDF5, and yield the ``h5py.File``.

    Raises
    ------
    ImageError
        It cannot be read, is damaged, or lacks what the block looks for.
    OptionError
        h5py is not installed.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise OptionError(
            f"{path} is a MATLAB file, and h5py, which reads those, is not installed.",
            how_to_install("dnd"),
        ) from error
    try:
        path.open("rb").close()
    except OSError as error:
        raise ImageError(*explain_unreadable(path, error)) from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (SsbsnError, MemoryError):
        raise
    # h5py raises almost any exception for files that are damaged or hold something else.
    except Exception as error:
        raise ImageError(
            f"{path} is damaged, or not one of DND's MATLAB 7.3 files.", _WAY_OUT
        ) from error


def read_dnd(
    path: Path, rows: slice = slice(None), columns: slice = slice(None)
) -> NDArray[np.floating[Any]]:
    """Read a photo of DND, or only some of its rows and columns.

    Returns
    -------
    numpy.ndarray
        (H, W, 3) floats in [0, 1], as the file holds them.

    Raises
    ------
    ImageError
        It is damaged, or holds no colour photo of finite numbers.
    OptionError
        h5py is not installed.
    """
    unusual = ImageError(f"{path} holds no colour photo in {_KEY}.", _WAY_OUT)
    with open_matlab(path) as file:
        stored = file[_KEY]
        if stored.ndim != 3 or stored.shape[0] != 3 or stored.dtype.kind != "f":
            raise unusual
        # MATLAB stores axes in reverse order.
        part = np.asarray(stored[:, columns, rows]).transpose(2, 1, 0)
    if not part.size or not np.isfinite(part).all():
        raise unusual
    return np.ascontiguousarray(part)
