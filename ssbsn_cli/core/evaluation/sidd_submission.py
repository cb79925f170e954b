"""Submissions to the SIDD benchmark, sRGB: today's CSV file and the older MATLAB file.

Both follow the benchmark's own examples: the Python one that ends with "Submit the output file
SubmitSrgb.csv at kaggle.com/competitions/sidd-benchmark-srgb-psnr", and ``DenoiseSrgb.m``,
``SIDD_Denoise.m`` and ``Demo_SIDD.m`` of ``SIDD_Benchmark_Code_v1.2`` (there is a copy in
https://github.com/MrBled/sidd_eval).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from ssbsn_cli.core.evaluation.datasets.sidd import SHAPE
from ssbsn_cli.core.runtime.storage import atomic_output

Block = tuple[int, int, NDArray[np.uint8]]


def write_sidd_csv(
    path: Path,
    blocks: Iterable[Block],
    *,
    shape: tuple[int, ...] = SHAPE,
    overwrite: bool = False,
) -> None:
    """Write what the Kaggle competition of the SIDD benchmark takes.

    The table has a row for each block in order: ``ID``, which is 32 * image + block, and ``BLOCK``,
    the base64 of the block's bytes.

    Parameters
    ----------
    path : Path
        In a folder that exists; the competition calls it ``SubmitSrgb.csv``.
    blocks : iterable of (int, int, array)
        Image and block, from 0, and (256, 256, 3) uint8 RGB, in order; written as they come.
    shape : tuple of int
        Images, blocks of each, and the shape of a block.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ImageError
        The file exists and may not be replaced, or cannot be written.
    ValueError
        A block is missing, out of order, or of another shape or type. Nothing is written then.
    """
    with (
        atomic_output(path, overwrite) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as stream,
    ):
        stream.write("ID,BLOCK\n")
        for number, (_, _, pixels) in enumerate(_complete(blocks, shape)):
            stream.write(f"{number},{base64.b64encode(pixels.tobytes()).decode('ascii')}\n")


def write_sidd_mat(
    path: Path,
    blocks: Iterable[Block],
    *,
    method: str,
    seconds_per_megapixel: float,
    shape: tuple[int, ...] = SHAPE,
    overwrite: bool = False,
) -> None:
    """Write what the SIDD website took before the competition: ``SubmitSrgb.mat``.

    It holds ``DenoisedBlocksSrgb``, a cell array of images x blocks of uint8 RGB blocks;
    ``TimeMPSrgb``, a number; and ``OptionalData``, a struct of text. The website's example saves
    MATLAB's version 7.3; this is version 5, which MATLAB loads just as well.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    blocks, shape, overwrite
        As for `write_sidd_csv`. All blocks are held in memory, 250 MB.
    method : str
        What denoised them.
    seconds_per_megapixel : float
        How long that took, per 1024 * 1024 pixels.

    Raises
    ------
    ImageError, ValueError
        As for `write_sidd_csv`.
    """
    cells = np.empty(shape[:2], object)
    for image, block, pixels in _complete(blocks, shape):
        cells[image, block] = pixels
    variables = {
        "DenoisedBlocksSrgb": cells,
        "TimeMPSrgb": float(seconds_per_megapixel),
        "OptionalData": {"MethodName": method},
    }
    with atomic_output(path, overwrite) as temporary:
        savemat(temporary, variables, appendmat=False)


def _complete(blocks: Iterable[Block], shape: tuple[int, ...]) -> Iterator[Block]:
    """Pass blocks on, and raise unless all come, in order and as the benchmark has them."""
    due = iter(np.ndindex(shape[:2]))
    for image, block, pixels in blocks:
        if (image, block) != next(due, None):
            raise ValueError(f"image {image}, block {block} is out of order")
        if pixels.dtype != np.uint8 or pixels.shape != shape[2:]:
            raise ValueError(f"image {image}, block {block} is {pixels.shape} {pixels.dtype}")
        yield image, block, pixels
    if missing := next(due, None):
        raise ValueError(f"image {missing[0]}, block {missing[1]} is missing")
