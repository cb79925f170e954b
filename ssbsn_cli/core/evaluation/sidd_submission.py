"""Submissions to the SIDD benchmark, sRGB: the CSV of today and the MATLAB file of before.

Both were written after the benchmark's own examples: the Python one that ends with "Submit the
output file SubmitSrgb.csv at kaggle.com/competitions/sidd-benchmark-srgb-psnr", and
``DenoiseSrgb.m``, ``SIDD_Denoise.m`` and ``Demo_SIDD.m`` of ``SIDD_Benchmark_Code_v1.2`` (a copy is
in https://github.com/MrBled/sidd_eval).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.matlab import read_matlab, write_matlab
from ssbsn_cli.core.evaluation.sidd_blocks import (
    SIDD_BENCHMARK,
    Block,
    SiddLayout,
    numbered,
    refuse_missing,
)
from ssbsn_cli.core.runtime.storage import atomic_output

_HEADER = "ID,BLOCK"
_CELLS = "DenoisedBlocksSrgb"


def write_sidd_csv(
    path: Path,
    blocks: Iterable[Block] | NDArray[np.uint8],
    *,
    layout: SiddLayout = SIDD_BENCHMARK,
    overwrite: bool = False,
) -> None:
    """Write what the Kaggle competition of the SIDD benchmark takes.

    A table with a row for each block in order: ``ID``, which is 32 * image + block, and ``BLOCK``,
    the base64 of its bytes, row after row, RGB.

    Parameters
    ----------
    path : Path
        In a folder that exists; the competition calls it ``SubmitSrgb.csv``.
    blocks : iterable of (int, int, array) or array
        Image and block, from 0, and (256, 256, 3) uint8 RGB, which are written as they come, or
        kept until those before them have come; or all as (40, 32, 256, 256, 3).
    layout : SiddLayout
        How many blocks of which size.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    OptionError
        A block is not of the benchmark, of another size, given twice, or missing. Nothing is
        written then.
    ImageError
        The file exists and may not be replaced, or cannot be written.
    TypeError
        The blocks are not uint8.
    """
    with (
        atomic_output(path, overwrite) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as stream,
    ):
        stream.write(f"{_HEADER}\n")
        early: dict[int, str] = {}
        turn = 0
        for number, pixels in numbered(blocks, layout):
            early[number] = base64.b64encode(pixels.tobytes()).decode("ascii")
            while turn in early:
                stream.write(f"{turn},{early.pop(turn)}\n")
                turn += 1


def read_sidd_csv(path: Path, *, layout: SiddLayout = SIDD_BENCHMARK) -> NDArray[np.uint8]:
    """Read what `write_sidd_csv` writes, in any order of rows.

    Parameters
    ----------
    path : Path
        The table.
    layout : SiddLayout
        How many blocks of which size are to be there.

    Returns
    -------
    array
        (images, blocks, H, W, 3) uint8 RGB.

    Raises
    ------
    OptionError
        The file cannot be read or is no such table; or a block is not of the benchmark, doubled,
        not base64, of another size, or missing: the first such is named.
    """
    result = np.zeros(layout.shape, np.uint8)
    seen = np.zeros(layout.count, bool)
    for number, text in _rows(path, layout):
        label = f"The block with {layout.describe(number)} in {path}"
        if seen[number]:
            raise OptionError(f"{label} is doubled.", "Keep one row for each ID.")
        try:
            content = base64.b64decode(text, validate=True)
        # Of base64's errors, that about other letters than ASCII's is a bare ValueError.
        except (binascii.Error, ValueError) as error:
            raise OptionError(f"{label} is not base64.", "Write the file again.") from error
        block = result[divmod(number, layout.blocks)]
        if len(content) != block.size:
            raise OptionError(
                f"{label} has {len(content)} bytes instead of {block.size}.",
                f"A block is {layout.block_shape} uint8: height, width and RGB.",
            )
        block[...] = np.frombuffer(content, np.uint8).reshape(layout.block_shape)
        seen[number] = True
    refuse_missing(seen, layout, f" in {path}")
    return result


def _rows(path: Path, layout: SiddLayout) -> Iterator[tuple[int, str]]:
    """Yield the ID and the base64 of each row."""
    try:
        # Letters that are no text would be no base64 either, which says in which row they are.
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            if stream.readline().rstrip("\n") != _HEADER:
                raise OptionError(
                    f"{path} is no submission to SIDD: its first line is not {_HEADER}.",
                    "Name the CSV file that was written for the benchmark.",
                )
            for line, row in enumerate(stream, 2):
                if row.strip():
                    yield _parse(path, layout, line, row)
    except FileNotFoundError as error:
        raise OptionError(f"{path} does not exist.", "Check the spelling of the path.") from error
    except OSError as error:
        raise OptionError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error


def _parse(path: Path, layout: SiddLayout, line: int, row: str) -> tuple[int, str]:
    text, comma, block = row.strip().partition(",")
    if not (comma and text.isascii() and text.isdigit() and len(text) < 10):
        raise OptionError(
            f"Line {line} of {path} does not begin with an ID and a comma.",
            "Each line after the first is the number of a block, a comma, and its base64.",
        )
    number = int(text)
    if number >= layout.count:
        raise OptionError(
            f"ID {number} in {path} is not of the benchmark.",
            f"Its IDs are 0 to {layout.count - 1}.",
        )
    return number, block


def write_sidd_mat(
    path: Path,
    blocks: Iterable[Block] | NDArray[np.uint8],
    *,
    seconds_per_megapixel: float = 0.0,
    about: Mapping[str, str] | None = None,
    layout: SiddLayout = SIDD_BENCHMARK,
    overwrite: bool = False,
) -> None:
    """Write what the SIDD website took before the competition: ``SubmitSrgb.mat``.

    It holds ``DenoisedBlocksSrgb``, a cell array of images x blocks of uint8 RGB blocks;
    ``TimeMPSrgb``, a number; and ``OptionalData``, a struct of text. The website's example saves it
    in MATLAB's version 7.3; this one is of version 5, which MATLAB loads just as well.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    blocks : iterable of (int, int, array) or array
        As for `write_sidd_csv`; all are held in memory, 250 MB.
    seconds_per_megapixel : float
        How long denoising took, per 1024 * 1024 pixels.
    about : mapping of str to str, optional
        What to tell: the example has MethodName, Authors, PaperTitle, Venue and MachineSpecs.
    layout : SiddLayout
        How many blocks of which size.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    OptionError
        A block is not of the benchmark, of another size, given twice, or missing.
    ImageError
        The file exists and may not be replaced, or cannot be written.
    TypeError
        The blocks are not uint8.
    """
    cells = np.empty((layout.images, layout.blocks), object)
    for number, pixels in numbered(blocks, layout):
        cells[divmod(number, layout.blocks)] = pixels
    variables = {
        _CELLS: cells,
        "TimeMPSrgb": float(seconds_per_megapixel),
        "OptionalData": {"MethodName": "ssbsn"} | dict(about or {}),
    }
    write_matlab(path, variables, overwrite=overwrite)


def read_sidd_mat(path: Path, *, layout: SiddLayout = SIDD_BENCHMARK) -> NDArray[np.uint8]:
    """Read the blocks of a ``SubmitSrgb.mat``.

    Parameters
    ----------
    path : Path
        Of MATLAB's version 7 or older, as `write_sidd_mat` writes it.
    layout : SiddLayout
        How many blocks of which size are to be there.

    Returns
    -------
    array
        (images, blocks, H, W, 3) uint8 RGB.

    Raises
    ------
    OptionError
        The file cannot be read, or a block is missing, of another size or type: the first such is
        named.
    """
    cells = read_matlab(path, [_CELLS])[_CELLS]
    expected = (layout.images, layout.blocks)
    if cells.dtype != object or cells.shape != expected:
        raise OptionError(
            f"{_CELLS} in {path} is no cell array of {layout.images}x{layout.blocks} blocks.",
            "Write it again with one cell for each block of each image.",
        )
    result = np.zeros(layout.shape, np.uint8)
    for number in range(layout.count):
        place = divmod(number, layout.blocks)
        block = cells[place]
        usual = isinstance(block, np.ndarray) and block.dtype == np.uint8
        if not usual or block.shape != layout.block_shape:
            raise OptionError(
                f"The block with {layout.describe(number)} in {path} is missing, of another size "
                "or not uint8.",
                f"A block is {layout.block_shape} uint8: height, width and RGB.",
            )
        result[place] = block
    return result
