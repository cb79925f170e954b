"""The blocks of SIDD: its validation set, its benchmark, and submissions to the benchmark.

References
----------
.. [1] A. Abdelhamed et al., "A High-Quality Denoising Dataset for Smartphone Cameras", CVPR 2018.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat, whosmat

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.evaluation.datasets.samples import (
    Dataset,
    Result,
    Sample,
    find_file,
    whole_benchmark,
)
from ssbsn_cli.core.runtime.storage import atomic_output

VALIDATION_NEEDS = (
    "Give --data a folder with ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat, both "
    "from https://abdokamel.github.io/sidd/."
)
BENCHMARK_NEEDS = (
    "Give --data a folder with BenchmarkNoisyBlocksSrgb.mat from https://abdokamel.github.io/sidd/."
)
#: Images, blocks per image, height, width and RGB.
SHAPE = (40, 32, 256, 256, 3)


def open_validation(data: Sequence[Path]) -> Dataset:
    """Open SIDD's validation set: 1280 samples with one reference each.

    Its two files have MATLAB's version 5, and each has an array with the file's name.

    Raises
    ------
    OptionError
        A file is missing, or holds something else.
    ImageError
        A file is damaged.
    """
    paths = [
        find_file(data, f"Validation{kind}BlocksSrgb.mat", VALIDATION_NEEDS)
        for kind in ("Noisy", "Gt")
    ]
    comparison = "Each of 1280 blocks of 256x256 pixels, denoised by itself, against its truth."
    return _open("sidd-val", "SIDD validation", comparison, paths, VALIDATION_NEEDS)


def open_benchmark(data: Sequence[Path]) -> Dataset:
    """Open SIDD's benchmark like `open_validation`; its references are secret."""
    path = find_file(data, "BenchmarkNoisyBlocksSrgb.mat", BENCHMARK_NEEDS)
    comparison = (
        "Each of 1280 blocks of 256x256 pixels, denoised by itself; only the benchmark's server "
        "can score them."
    )
    return _open("sidd-benchmark", "SIDD benchmark", comparison, [path], BENCHMARK_NEEDS)


def _open(name: str, title: str, comparison: str, paths: Sequence[Path], needs: str) -> Dataset:
    for path in paths:
        _check(path, needs)
    read = partial(_read, paths, needs)
    return Dataset(name, title, comparison, len(paths) > 1, SHAPE[0] * SHAPE[1], read)


def _check(path: Path, needs: str) -> None:
    """Refuse a file of anything else; only its header is read."""
    try:
        held = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    # SciPy raises almost any exception for damaged files.
    except Exception as error:
        raise _damaged(path, needs) from error
    if path.stem not in held:
        names = ", ".join(sorted(held)) or "nothing"
        raise OptionError(f"{path} holds {names}, but no {path.stem}.", needs)
    shape, kind = held[path.stem]
    if tuple(shape) != SHAPE or kind != "uint8":
        found, wanted = ("x".join(map(str, sizes)) for sizes in (shape, SHAPE))
        raise OptionError(f"{path} holds {found} {kind} numbers, not {wanted} uint8.", needs)


def _read(paths: Sequence[Path], needs: str) -> Iterator[Sample]:
    """Read the noisy and the clean file, each completely: about 250 MB in memory."""
    arrays = [_load(path, needs) for path in paths]
    for i in range(SHAPE[0]):
        # MATLAB stores the pixels of a block far apart, so reading blocks one at a time would go
        # through the whole array 1280 times. A copy of a scene in this order fits into caches.
        scenes = [array[i].copy(order="K") for array in arrays]
        noisy, *clean = map(np.ascontiguousarray, scenes)
        for j in range(SHAPE[1]):
            references = tuple(blocks[j] for blocks in clean)
            yield Sample(f"{i + 1:04d}_{j + 1:02d}", noisy[j], references, (i + 1, j + 1))


def _load(path: Path, needs: str) -> NDArray[np.uint8]:
    try:
        blocks: NDArray[np.uint8] = loadmat(path, variable_names=[path.stem])[path.stem]
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(path, needs) from error
    return blocks


def _damaged(path: Path, needs: str) -> ImageError:
    return ImageError(f"{path} is damaged, or not a MATLAB file of version 5.", needs)


def check_submission(path: Path) -> None:
    """Raise an OptionError if a submission cannot be a file, or its name implies no format."""
    if path.is_dir():
        raise OptionError(f"{path} is a folder.", "Name a file in it.")
    if path.suffix.lower() not in (".csv", ".mat"):
        raise OptionError(
            f"The name {path} does not say which format the submission should have.",
            "End it with .csv (the competition on Kaggle) or .mat (before it).",
        )


def write_submission(path: Path, results: Iterable[Result], overwrite: bool) -> None:
    """Write a submission to the sRGB benchmark.

    Parameters
    ----------
    path : Path
        ``SubmitSrgb.csv`` for the Kaggle competition: a row for each block with ``ID``, which is
        32 * image + block from 0, and ``BLOCK``, the base64 of its bytes. Or ``SubmitSrgb.mat``
        for the earlier website: ``DenoisedBlocksSrgb``, a cell array of images x blocks;
        ``TimeMPSrgb``, the seconds for 1024 * 1024 pixels; and ``OptionalData``, a struct of text.
        The website's example saves version 7.3; this is version 5, which MATLAB also loads.
    results : iterable of Result
        Of all blocks in order, with pixels. For ``.mat``, they are held in memory, 250 MB.

    Raises
    ------
    ImageError
        The file exists and `overwrite` is false, or it cannot be written.
    ValueError
        A block is missing or out of order. Nothing is then written.

    References
    ----------
    .. [1] The benchmark's Python example, which ends with "Submit the output file SubmitSrgb.csv
       at kaggle.com/competitions/sidd-benchmark-srgb-psnr".
    .. [2] ``DenoiseSrgb.m``, ``SIDD_Denoise.m`` and ``Demo_SIDD.m`` of
       ``SIDD_Benchmark_Code_v1.2``; there is a copy in https://github.com/MrBled/sidd_eval.
    """
    results = whole_benchmark(results, *SHAPE[:2])
    with atomic_output(path, overwrite) as temporary:
        if path.suffix.lower() == ".csv":
            _write_csv(temporary, results)
        else:
            _write_mat(temporary, results)


def _write_csv(path: Path, results: Iterable[Result]) -> None:
    with path.open("w", encoding="ascii", newline="\n") as stream:
        stream.write("ID,BLOCK\n")
        for number, result in enumerate(results):
            assert result.pixels is not None
            block = base64.b64encode(result.pixels.tobytes()).decode("ascii")
            stream.write(f"{number},{block}\n")


def _write_mat(path: Path, results: Iterable[Result]) -> None:
    cells = np.empty(SHAPE[0] * SHAPE[1], object)
    method, seconds, pixels = "", 0.0, 0
    for number, result in enumerate(results):
        assert result.pixels is not None
        cells[number] = result.pixels
        method, seconds = result.method, seconds + (result.seconds or 0)
        pixels += result.pixels[..., 0].size
    variables = {
        "DenoisedBlocksSrgb": cells.reshape(SHAPE[:2]),
        "TimeMPSrgb": seconds / (pixels / 1024**2),
        "OptionalData": {"MethodName": method},
    }
    savemat(path, variables, appendmat=False)
