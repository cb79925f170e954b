"""The blocks of SIDD: its validation set, and its benchmark, whose truth is secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample, find_file

VALIDATION_NEEDS = (
    "Give --data a folder with ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat, both "
    "from https://abdokamel.github.io/sidd/."
)
BENCHMARK_NEEDS = (
    "Give --data a folder with BenchmarkNoisyBlocksSrgb.mat from https://abdokamel.github.io/sidd/."
)
#: Images, blocks of each, height, width and RGB.
SHAPE = (40, 32, 256, 256, 3)


@dataclass(frozen=True)
class SiddBlocks:
    """The blocks of 40 photographs, 32 of each.

    Iterating reads each of the files as a whole, about 250 MB in memory.

    Parameters
    ----------
    name, title, protocol : str
        As in `Dataset`.
    noisy : Path
        A MATLAB file, version 5, with an array of the file's name.
    clean : Path, optional
        Another such file, with the same blocks without noise.
    needs : str
        What errors say to do.

    Raises
    ------
    OptionError
        A file is damaged, or holds something else.

    References
    ----------
    .. [1] A. Abdelhamed et al., "A High-Quality Denoising Dataset for Smartphone Cameras",
       CVPR 2018.
    """

    name: str
    title: str
    protocol: str
    noisy: Path
    clean: Path | None
    needs: str

    def __post_init__(self) -> None:
        for path in (self.noisy, self.clean):
            if path is not None:
                self._check(path)

    @property
    def referenced(self) -> bool:
        """Whether the truth is known."""
        return self.clean is not None

    def __len__(self) -> int:
        return SHAPE[0] * SHAPE[1]

    def __iter__(self) -> Iterator[Sample]:
        noisy = self._read(self.noisy)
        clean = None if self.clean is None else self._read(self.clean)
        for i in range(SHAPE[0]):
            # MATLAB puts the pixels of one block far apart: picking them one block at a time would
            # go through the whole array 1280 times.
            blocks = np.ascontiguousarray(noisy[i])
            truths = None if clean is None else np.ascontiguousarray(clean[i])
            for j in range(SHAPE[1]):
                references = () if truths is None else (truths[j],)
                yield Sample(f"{i + 1:04d}_{j + 1:02d}", blocks[j], references, (i + 1, j + 1))

    def _check(self, path: Path) -> None:
        """Refuse a file of anything else, reading no more than its head."""
        try:
            held = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        # SciPy raises nearly any exception on damaged files.
        except Exception as error:
            raise self._damaged(path) from error
        if path.stem not in held:
            names = ", ".join(sorted(held)) or "nothing"
            raise OptionError(f"{path} holds {names}, but no {path.stem}.", self.needs)
        shape, kind = held[path.stem]
        if tuple(shape) != SHAPE or kind != "uint8":
            found, wanted = ("x".join(map(str, sizes)) for sizes in (shape, SHAPE))
            raise OptionError(
                f"{path} holds {found} {kind} numbers, not {wanted} uint8.", self.needs
            )

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            blocks: NDArray[np.uint8] = loadmat(path, variable_names=[path.stem])[path.stem]
        except MemoryError:
            raise
        except Exception as error:
            raise self._damaged(path) from error
        return blocks

    def _damaged(self, path: Path) -> OptionError:
        return OptionError(f"{path} is damaged, or not a MATLAB file of version 5.", self.needs)


def open_validation(data: Sequence[Path]) -> SiddBlocks:
    """Open SIDD's validation set: 1280 samples with a reference each.

    Parameters
    ----------
    data : sequence of Path
        Where its two files are.

    Raises
    ------
    OptionError
        A file is missing or damaged, or holds something else.
    """
    noisy, clean = (
        find_file(data, f"Validation{kind}BlocksSrgb.mat", VALIDATION_NEEDS)
        for kind in ("Noisy", "Gt")
    )
    protocol = "Each of 1280 blocks of 256x256 pixels, denoised by itself, against its truth."
    return SiddBlocks("sidd-val", "SIDD validation", protocol, noisy, clean, VALIDATION_NEEDS)


def open_benchmark(data: Sequence[Path]) -> SiddBlocks:
    """Open SIDD's benchmark: 1280 samples without a reference.

    Parameters
    ----------
    data : sequence of Path
        Where its file is.

    Raises
    ------
    OptionError
        The file is missing or damaged, or holds something else.
    """
    noisy = find_file(data, "BenchmarkNoisyBlocksSrgb.mat", BENCHMARK_NEEDS)
    protocol = (
        "Each of 1280 blocks of 256x256 pixels, denoised by itself; only the benchmark's server "
        "can score them."
    )
    return SiddBlocks("sidd-benchmark", "SIDD benchmark", protocol, noisy, None, BENCHMARK_NEEDS)
