"""The blocks of the SIDD benchmark: how they are numbered, and whether all are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError

Block = tuple[int, int, NDArray[np.uint8]]


@dataclass(frozen=True)
class SiddLayout:
    """How many blocks there are. The numbers of the real benchmark by default.

    Parameters
    ----------
    images : int
        Photographs of the benchmark.
    blocks : int
        Blocks of each.
    side : int
        Pixels along each side of a block.
    """

    images: int = 40
    blocks: int = 32
    side: int = 256

    @property
    def count(self) -> int:
        """How many blocks there are in all."""
        return self.images * self.blocks

    @property
    def block_shape(self) -> tuple[int, int, int]:
        """Shape of a block, (H, W, 3)."""
        return self.side, self.side, 3

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape of all, (images, blocks, H, W, 3): that of ``BenchmarkNoisyBlocksSrgb``."""
        return self.images, self.blocks, *self.block_shape

    def describe(self, number: int) -> str:
        """Return what a block is called in messages, from its number in the whole."""
        image, block = divmod(number, self.blocks)
        return f"ID {number} (image {image}, block {block})"


SIDD_BENCHMARK = SiddLayout()


def numbered(
    blocks: Iterable[Block] | NDArray[np.uint8], layout: SiddLayout
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each block with its number, and raise unless each comes once.

    Parameters
    ----------
    blocks : iterable of (int, int, array) or array
        Image and block, from 0, and (H, W, 3) uint8 RGB, in any order and read one at a time; or
        all as ``layout.shape``.
    layout : SiddLayout
        What is to be there.

    Yields
    ------
    (int, array)
        ``layout.blocks * image + block``, and the block.

    Raises
    ------
    OptionError
        A block is not of the benchmark, of another size, given twice, or missing.
    TypeError
        The blocks are not uint8.
    """
    seen = np.zeros(layout.count, bool)
    for image, block, pixels in _listed(blocks, layout):
        if not (0 <= image < layout.images and 0 <= block < layout.blocks):
            raise OptionError(
                f"Image {image}, block {block} is not of the benchmark.",
                f"It has images 0 to {layout.images - 1} with blocks 0 to {layout.blocks - 1}.",
            )
        number = layout.blocks * image + block
        if pixels.dtype != np.uint8:
            raise TypeError(f"blocks must be uint8, not {pixels.dtype}")
        if pixels.shape != layout.block_shape:
            raise OptionError(
                f"The block with {layout.describe(number)} has the shape {pixels.shape}.",
                f"It must be {layout.block_shape}: height, width and RGB.",
            )
        if seen[number]:
            raise OptionError(
                f"The block with {layout.describe(number)} is given twice.", "Give each block once."
            )
        seen[number] = True
        yield number, pixels
    refuse_missing(seen, layout, "")


def refuse_missing(seen: NDArray[np.bool_], layout: SiddLayout, where: str) -> None:
    """Raise if a block is missing.

    Parameters
    ----------
    seen : array
        (layout.count,) of whether each block is there.
    layout : SiddLayout
        What is to be there.
    where : str
        For the message: " in file.csv", or nothing.

    Raises
    ------
    OptionError
        One is missing; the first is named.
    """
    if not seen.all():
        first = int(np.argmin(seen))
        missing = layout.count - int(seen.sum())
        raise OptionError(
            f"The block with {layout.describe(first)} is missing{where}, and with it {missing} of "
            f"{layout.count} blocks.",
            "A submission needs every block: denoise the missing ones and write it again.",
        )


def _listed(blocks: Iterable[Block] | NDArray[np.uint8], layout: SiddLayout) -> Iterable[Block]:
    if not isinstance(blocks, np.ndarray):
        return blocks
    if blocks.shape != layout.shape:
        raise OptionError(
            f"The blocks have the shape {blocks.shape}.",
            f"It must be {layout.shape}: images, blocks, height, width and RGB.",
        )
    return (
        (image, block, blocks[image, block])
        for image in range(layout.images)
        for block in range(layout.blocks)
    )
