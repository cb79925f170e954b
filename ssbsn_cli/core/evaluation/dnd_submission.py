"""Submissions to the Darmstadt Noise Dataset (DND), sRGB: a file a crop, bundled to one an image.

The files are those of the benchmark's Python kit, ``dnd_denoise.py`` and ``bundle_submissions.py``
by Tobias Plötz, a copy of which is in ``src/util/dnd_submission`` of
https://github.com/wooseoklee4/AP-BSN. Images and boxes are counted from 1, as in their names.

References
----------
Plötz, Roth: "Benchmarking denoising algorithms with real photographs", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.matlab import read_matlab, store_matlab, write_matlab
from ssbsn_cli.core.runtime.storage import atomic_output

IMAGES = 50
BOXES = 20
_CROP = "Idenoised_crop"
_CELLS = "Idenoised"
_VERSION = "1.0"


def write_dnd_crop(
    folder: Path, image: int, box: int, crop: NDArray[Any], *, overwrite: bool = False
) -> Path:
    """Write one denoised crop, for `bundle_dnd`.

    Parameters
    ----------
    folder : Path
        It must exist.
    image, box : int
        From 1.
    crop : array
        (H, W, 3) float RGB in [0, 1]; stored as float32.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Returns
    -------
    Path
        Of the file, ``NNNN_BB.mat``, which holds ``Idenoised_crop``.

    Raises
    ------
    OptionError
        The numbers are no names, or the crop is no picture in [0, 1].
    ImageError
        The file exists and may not be replaced, or cannot be written.
    """
    if not (1 <= image <= 9999 and 1 <= box <= 99):
        raise OptionError(f"DND has no image {image} with a box {box}.", "Both are counted from 1.")
    path = _crop_path(folder, image, box)
    _check(crop, f"The crop for {path.name}")
    write_matlab(path, {_CROP: crop.astype(np.float32)}, overwrite=overwrite)
    return path


def read_dnd_crop(path: Path) -> NDArray[np.float32]:
    """Read one crop that `write_dnd_crop` wrote.

    Parameters
    ----------
    path : Path
        ``NNNN_BB.mat``.

    Returns
    -------
    array
        (H, W, 3) float32 RGB in [0, 1].

    Raises
    ------
    OptionError
        The file cannot be read, or holds no picture in [0, 1].
    """
    crop = read_matlab(path, [_CROP])[_CROP]
    _check(crop, f"{_CROP} in {path}")
    return np.ascontiguousarray(crop, np.float32)


def bundle_dnd(
    crops: Path,
    output: Path,
    *,
    images: int = IMAGES,
    boxes: int = BOXES,
    overwrite: bool = False,
) -> list[Path]:
    """Bundle the crops to the files that the DND website takes.

    Each, ``NNNN.mat``, holds ``Idenoised``, a row of cells with the crops of an image; ``israw``,
    false; and ``eval_version``, "1.0". None appears before all are written.

    Parameters
    ----------
    crops : Path
        Where `write_dnd_crop` wrote them. Other files in it do not matter.
    output : Path
        It must exist, and should hold nothing else, since all of it is submitted.
    images, boxes : int
        How many images, and boxes of each.
    overwrite : bool
        Whether files that are there already may be replaced.

    Returns
    -------
    list of Path
        The files, by image.

    Raises
    ------
    OptionError
        A crop is missing, or is no picture in [0, 1]: the first such is named.
    ImageError
        A file exists and may not be replaced, or cannot be written.
    """
    _refuse_missing([_crop_path(crops, i, b) for i in _upto(images) for b in _upto(boxes)], "crops")
    paths = [_image_path(output, image) for image in _upto(images)]
    with ExitStack() as stack:
        temporaries = [stack.enter_context(atomic_output(path, overwrite)) for path in paths]
        for image, temporary in zip(_upto(images), temporaries, strict=True):
            cells = np.empty((1, boxes), object)
            for box in _upto(boxes):
                cells[0, box - 1] = read_dnd_crop(_crop_path(crops, image, box))
            store_matlab(temporary, {_CELLS: cells, "israw": False, "eval_version": _VERSION})
    return paths


def read_dnd_image(path: Path, *, boxes: int = BOXES) -> list[NDArray[np.float32]]:
    """Read the crops of one image of a submission.

    Parameters
    ----------
    path : Path
        ``NNNN.mat``.
    boxes : int
        How many crops there are to be.

    Returns
    -------
    list of array
        (H, W, 3) float32 RGB in [0, 1], by box.

    Raises
    ------
    OptionError
        The file cannot be read, is of raw images or another version, or crops are missing or no
        pictures in [0, 1].
    """
    stored = read_matlab(path, [_CELLS, "israw", "eval_version"])
    if stored["israw"].any():
        raise OptionError(
            f"{path} is a submission of raw images.", "Name one of sRGB images, with israw false."
        )
    version = "".join(map(str, stored["eval_version"].ravel()))
    if version != _VERSION:
        raise OptionError(
            f"{path} is of the unknown eval_version {version!r}.", f"It should be {_VERSION!r}."
        )
    cells = stored[_CELLS]
    if cells.dtype != object or cells.size != boxes:
        raise OptionError(
            f"{_CELLS} in {path} is no cell array of {boxes} crops.",
            "Bundle all crops of the image again.",
        )
    result = []
    for box, crop in enumerate(cells.ravel(), 1):
        _check(crop, f"Box {box} of {_CELLS} in {path}")
        result.append(np.ascontiguousarray(crop, np.float32))
    return result


def read_dnd_submission(
    folder: Path, *, images: int = IMAGES, boxes: int = BOXES
) -> Iterator[list[NDArray[np.float32]]]:
    """Read a submission, an image at a time: all of it is 3 GB.

    Parameters
    ----------
    folder : Path
        Where `bundle_dnd` wrote it.
    images, boxes : int
        How many images, and boxes of each, there are to be.

    Returns
    -------
    iterator of list of array
        What `read_dnd_image` returns, by image.

    Raises
    ------
    OptionError
        A file is missing, at once; or one is wrong, when its turn comes.
    """
    paths = [_image_path(folder, image) for image in _upto(images)]
    _refuse_missing(paths, "images")
    return (read_dnd_image(path, boxes=boxes) for path in paths)


def _upto(count: int) -> range:
    return range(1, count + 1)


def _crop_path(folder: Path, image: int, box: int) -> Path:
    return folder / f"{image:04d}_{box:02d}.mat"


def _image_path(folder: Path, image: int) -> Path:
    return folder / f"{image:04d}.mat"


def _refuse_missing(paths: list[Path], kind: str) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise OptionError(
            f"{missing[0]} is missing, and with it {len(missing)} of {len(paths)} {kind}.",
            "A submission needs all of them: denoise and write the missing ones.",
        )


def _check(crop: Any, label: str) -> None:
    usual = isinstance(crop, np.ndarray) and crop.ndim == 3 and crop.shape[-1] == 3
    if not usual or crop.dtype.kind != "f" or not crop.size:
        raise OptionError(
            f"{label} is no colour picture of floats.", "Give (height, width, 3), white at 1."
        )
    # Written so that it is wrong for NaN as well.
    if not (crop.min() >= 0 and crop.max() <= 1):
        raise OptionError(
            f"{label} has values outside 0 to 1.", "Divide by white, and clip to 0 to 1."
        )
