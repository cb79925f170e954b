"""Submissions to the Darmstadt Noise Dataset (DND), sRGB: a file per crop, bundled per image.

The files are those of the benchmark's Python kit, ``dnd_denoise.py`` and ``bundle_submissions.py``
by Tobias Plötz; there is a copy in ``src/util/dnd_submission`` of
https://github.com/wooseoklee4/AP-BSN. Images and boxes are counted from 1, as in their names.

References
----------
Plötz, Roth: "Benchmarking denoising algorithms with real photographs", CVPR 2017.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.runtime.storage import atomic_output

_CROP = "Idenoised_crop"


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
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file, ``NNNN_BB.mat``, which holds ``Idenoised_crop``.

    Raises
    ------
    ImageError
        The file exists and may not be replaced, or cannot be written.
    ValueError
        The crop is not of floats in [0, 1].
    """
    path = _crop_path(folder, image, box)
    # Written so that NaN fails as well.
    if crop.dtype.kind != "f" or not (crop.min() >= 0 and crop.max() <= 1):
        raise ValueError(f"the crop for {path.name} is not of floats from 0 to 1")
    with atomic_output(path, overwrite) as temporary:
        savemat(temporary, {_CROP: crop.astype(np.float32)}, appendmat=False)
    return path


def bundle_dnd(
    crops: Path, output: Path, *, images: int = 50, boxes: int = 20, overwrite: bool = False
) -> list[Path]:
    """Bundle the crops into the files that the DND website takes.

    Each file, ``NNNN.mat``, holds ``Idenoised``, a row of cells with the crops of an image;
    ``israw``, false; and ``eval_version``, "1.0". None appears before all are written.

    Parameters
    ----------
    crops : Path
        Where `write_dnd_crop` wrote them. Other files in it do not matter.
    output : Path
        It must exist, and should hold nothing else, since all of it is submitted.
    images, boxes : int
        Number of images, and of boxes in each.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    list of Path
        The files, by image.

    Raises
    ------
    OptionError
        A crop is missing; the first one is named.
    ImageError
        A file exists and may not be replaced, or cannot be written.
    """
    paths = [
        [_crop_path(crops, image, box) for box in range(1, boxes + 1)]
        for image in range(1, images + 1)
    ]
    missing = [path for row in paths for path in row if not path.is_file()]
    if missing:
        raise OptionError(
            f"{missing[0]} is missing, and with it {len(missing)} of {images * boxes} crops.",
            "A submission needs all of them: denoise and write the missing ones.",
        )
    bundles = [output / f"{image:04d}.mat" for image in range(1, images + 1)]
    with ExitStack() as stack:
        temporaries = [stack.enter_context(atomic_output(path, overwrite)) for path in bundles]
        for row, temporary in zip(paths, temporaries, strict=True):
            cells = np.empty((1, boxes), object)
            for i, path in enumerate(row):
                cells[0, i] = loadmat(path)[_CROP]
            variables = {"Idenoised": cells, "israw": False, "eval_version": "1.0"}
            savemat(temporary, variables, appendmat=False)
    return bundles


def _crop_path(folder: Path, image: int, box: int) -> Path:
    return folder / f"{image:04d}_{box:02d}.mat"
