"""The Darmstadt Noise Dataset: crops of photographs whose truth is secret."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample, find_file

NEEDS = (
    "Give --data the folder dnd_2017 with info.mat and images_srgb/0001.mat to 0050.mat, from "
    "https://noise.visinf.tu-darmstadt.de/."
)
_IMAGES, _BOXES = 50, 20
_KEY = "InoisySRGB"
# h5py raises these on files that are damaged or hold something else.
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True, eq=False)
class Dnd:
    """The 20 crops of each of 50 photographs, as floats, which is what the files hold.

    Parameters
    ----------
    folder : Path
        Holds ``images_srgb``.
    boxes : numpy.ndarray
        (50, 20, 4) int: top, left, bottom and right of each crop, from 1, the last two included.

    Raises
    ------
    OptionError
        A photograph is missing.

    References
    ----------
    .. [1] T. Plötz and S. Roth, "Benchmarking Denoising Algorithms with Real Photographs",
       CVPR 2017.
    """

    folder: Path
    boxes: NDArray[np.int64]
    name: str = "dnd"
    title: str = "DND"
    referenced: bool = False
    protocol: str = (
        "Each of 1000 crops, 20 of each photo, denoised by itself; only the benchmark's server can "
        "score them."
    )

    def __post_init__(self) -> None:
        for image in range(1, _IMAGES + 1):
            if not self._path(image).is_file():
                raise OptionError(f"There is no {self._path(image)}.", NEEDS)

    def __len__(self) -> int:
        return _IMAGES * _BOXES

    def __iter__(self) -> Iterator[Sample]:
        for image, boxes in enumerate(self.boxes.tolist(), 1):
            for number, box in enumerate(boxes, 1):
                crop = _crop(self._path(image), box)
                yield Sample(f"{image:04d}_{number:02d}", crop, (), (image, number))

    def _path(self, image: int) -> Path:
        return self.folder / "images_srgb" / f"{image:04d}.mat"


def open_dnd(data: Sequence[Path]) -> Dnd:
    """Open DND: 1000 samples without a reference.

    Parameters
    ----------
    data : sequence of Path
        Where ``info.mat`` is; ``images_srgb`` is beside it.

    Raises
    ------
    OptionError
        A file is missing or damaged, or h5py is not installed.
    """
    path = find_file(data, "info.mat", NEEDS)
    with _opened(path, "of DND's crops") as file:
        # HDF5 has MATLAB's array of structures as a group of arrays of references.
        where = np.asarray(file["info"]["boundingboxes"]).ravel()
        boxes = np.stack([np.asarray(file[reference]).T for reference in where])
    if boxes.shape != (_IMAGES, _BOXES, 4):
        raise OptionError(
            f"{path} has crops as an array of {boxes.shape}, not {(_IMAGES, _BOXES, 4)}.", NEEDS
        )
    corners = boxes.astype(np.int64)
    if (corners != boxes).any() or (corners < 1).any() or (corners[..., :2] > boxes[..., 2:]).any():
        raise OptionError(f"{path} has crops that lie outside the photos.", NEEDS)
    return Dnd(path.parent, corners)


def _crop(path: Path, box: Sequence[int]) -> NDArray[np.float32]:
    """Read one crop alone, since the photos are large."""
    top, left, bottom, right = box
    unusual = OptionError(f"{path} does not hold a colour photo in {_KEY}.", NEEDS)
    with _opened(path, f"with an array {_KEY}") as file:
        stored = file[_KEY]
        if stored.ndim != 3 or stored.shape[0] != 3 or stored.dtype.kind != "f":
            raise unusual
        # MATLAB counts its axes backwards.
        if right > stored.shape[1] or bottom > stored.shape[2]:
            raise OptionError(f"{path} is too small for a crop that info.mat lists.", NEEDS)
        part = np.asarray(stored[:, left - 1 : right, top - 1 : bottom])
    if not np.isfinite(part).all():
        raise unusual
    return np.ascontiguousarray(part.transpose(2, 1, 0), np.float32)


@contextmanager
def _opened(path: Path, content: str) -> Iterator[Any]:
    """Open a MATLAB 7.3 file, which is HDF5."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise OptionError(
            f"{path} is a MATLAB file, and h5py, which reads those, is not installed.",
            "Install it with: pip install 'ssbsn[dnd]'",
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _UNREADABLE as error:
        raise OptionError(
            f"{path} is damaged, or not a MATLAB 7.3 file {content}.", NEEDS
        ) from error
