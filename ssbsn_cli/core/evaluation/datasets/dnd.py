"""The Darmstadt Noise Dataset (DND): crops of photos with secret references, and submissions.

References
----------
.. [1] T. Plötz and S. Roth, "Benchmarking Denoising Algorithms with Real Photographs", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from ssbsn_cli.core.data.matlab import open_matlab, read_dnd
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import (
    Dataset,
    Result,
    Sample,
    find_file,
    whole_benchmark,
)
from ssbsn_cli.core.runtime.storage import (
    atomic_output,
    make_folder_of,
    refuse_links,
    refuse_output,
)

NEEDS = (
    "Give --data the folder dnd_2017 with info.mat and images_srgb/0001.mat to 0050.mat, from "
    "https://noise.visinf.tu-darmstadt.de/."
)
_IMAGES, _BOXES = 50, 20
_CROP = "Idenoised_crop"


def open_dnd(data: Sequence[Path]) -> Dataset:
    """Open DND: 20 crops of each of 50 photos, as floats like in the files.

    Raises
    ------
    OptionError
        A file is missing, has other contents, or h5py is not installed.
    ImageError
        A file is damaged.
    """
    path = find_file(data, "info.mat", NEEDS)
    with open_matlab(path) as file:
        # In HDF5, a MATLAB array of structures is a group of arrays of references.
        where = np.asarray(file["info"]["boundingboxes"]).ravel()
        # Top, left, bottom and right of each crop, counted from 1; bottom and right are inclusive.
        boxes = np.stack([np.asarray(file[reference]).T for reference in where])
    if boxes.shape != (_IMAGES, _BOXES, 4):
        raise OptionError(
            f"{path} has crops as an array of {boxes.shape}, not {(_IMAGES, _BOXES, 4)}.", NEEDS
        )
    corners = boxes.astype(np.int64)
    if (corners != boxes).any() or (corners < 1).any() or (corners[..., :2] > boxes[..., 2:]).any():
        raise OptionError(f"{path} has crops that lie outside the photos.", NEEDS)
    photos = [path.parent / "images_srgb" / f"{image:04d}.mat" for image in range(1, _IMAGES + 1)]
    for photo in photos:
        if not photo.is_file():
            raise OptionError(f"There is no {photo}.", NEEDS)
    comparison = (
        "Each of 1000 crops, 20 of each photo, denoised by itself; only the benchmark's server can "
        "score them."
    )
    read = partial(_read, photos, corners.tolist())
    return Dataset("dnd", "DND", comparison, False, _IMAGES * _BOXES, read)


def _read(photos: Sequence[Path], boxes: Sequence[Sequence[Sequence[int]]]) -> Iterator[Sample]:
    for image, (photo, of_photo) in enumerate(zip(photos, boxes, strict=True), 1):
        for number, box in enumerate(of_photo, 1):
            yield Sample(f"{image:04d}_{number:02d}", _crop(photo, box), (), (image, number))


def _crop(path: Path, box: Sequence[int]) -> NDArray[np.float32]:
    """Read only one crop, since the photos are large."""
    top, left, bottom, right = box
    crop = read_dnd(path, slice(top - 1, bottom), slice(left - 1, right))
    if crop.shape[:2] != (bottom - top + 1, right - left + 1):
        raise OptionError(f"{path} is too small for a crop that info.mat lists.", NEEDS)
    return crop.astype(np.float32, copy=False)


def check_submission(path: Path) -> None:
    """Raise an OptionError if a submission cannot be a folder."""
    if path.exists() and not path.is_dir():
        raise OptionError(f"{path} is a file.", "Give a folder for DND's submission.")


def write_submission(path: Path, results: Iterable[Result], overwrite: bool) -> None:
    """Write a submission to the sRGB benchmark: a file for each crop, and a bundle for each image.

    The files are those of the benchmark's Python kit.

    Parameters
    ----------
    path : Path
        A folder. It gets ``crops/NNNN_BB.mat`` with ``Idenoised_crop``, float32, and
        ``bundled/NNNN.mat``, the files to submit: ``Idenoised``, a row of cells with the crops of
        an image; ``israw``, false; and ``eval_version``, "1.0". Images and boxes count from 1.
    results : iterable of Result
        Of all crops in order, with pixels. No bundle appears before all crops are written.

    Raises
    ------
    OptionError
        A bundle exists and `overwrite` is false. Nothing is then taken from `results`.
    ImageError
        A file is a link or cannot be written.
    ValueError
        A crop is missing or out of order. Nothing is then bundled.

    References
    ----------
    .. [1] ``dnd_denoise.py`` and ``bundle_submissions.py`` by Tobias Plötz; there is a copy in
       ``src/util/dnd_submission`` of https://github.com/wooseoklee4/AP-BSN.
    """
    crops, bundled = path / "crops", path / "bundled"
    bundles = [bundled / f"{image:04d}.mat" for image in range(1, _IMAGES + 1)]
    for unnamed in (crops, bundled, *bundles):
        refuse_links(unnamed, 1)
    make_folder_of(crops / bundles[0].name)
    make_folder_of(bundles[0])
    # Check this before hours are spent on the crops.
    for bundle in bundles:
        refuse_output(bundle, overwrite)
    written = []
    for result in whole_benchmark(results, _IMAGES, _BOXES):
        written.append(crops / f"{result.sample.name}.mat")
        refuse_links(written[-1], 1)
        # An interrupted evaluation may have left crops.
        with atomic_output(written[-1], overwrite=True) as temporary:
            savemat(temporary, {_CROP: result.pixels}, appendmat=False)
    with ExitStack() as stack:
        temporaries = [stack.enter_context(atomic_output(each, overwrite)) for each in bundles]
        for image, temporary in enumerate(temporaries):
            cells = np.empty((1, _BOXES), object)
            for i, crop in enumerate(written[image * _BOXES : (image + 1) * _BOXES]):
                cells[0, i] = loadmat(crop)[_CROP]
            variables = {"Idenoised": cells, "israw": False, "eval_version": "1.0"}
            savemat(temporary, variables, appendmat=False)
