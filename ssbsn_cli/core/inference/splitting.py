"""Cut an image into tiles, denoise each, and blend them; smaller ones if memory runs out."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction

import numpy as np
import torch

from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.imaging.photo import Image
from ssbsn_cli.core.inference.settings import MIN_TILE
from ssbsn_cli.core.inference.tiles import Tiling
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.runtime.device import is_out_of_memory, release_memory
from ssbsn_cli.core.runtime.threads import map_in_order
from ssbsn_cli.core.types import Progress, to_unit

MEMORY_ERRORS = (MemoryError, RuntimeError)


class Splitter:
    """Denoises an image tile by tile.

    Parameters
    ----------
    denoise : callable
        Takes a tile, (h, w, C) in float32, and a seed, and returns the same shape.
    tiling : Tiling
        In pixels that the network sees.
    factor : Fraction
        How many times larger the image is than what the network sees.
    device : torch.device
        Whose memory may run out.
    shrunk : callable
        Called with the new tiling when memory ran out.
    """

    def __init__(
        self,
        denoise: Callable[[Floats, int], Floats],
        tiling: Tiling,
        factor: Fraction,
        device: torch.device,
        shrunk: Callable[[Tiling], None],
    ) -> None:
        self._denoise, self._tiling, self._factor = denoise, tiling, factor
        self._device, self._shrunk = device, shrunk
        self._shrinking = threading.Lock()

    def bands(
        self, image: Image, progress: Progress, seed: int, workers: int
    ) -> Iterator[tuple[int, Floats]]:
        """Yield finished rows from top to bottom, as (first row, float32 rows).

        The tiles have the seeds `seed`, `seed` + 1 and so on.
        """
        height, width, channels = image.shape
        tiling = self._tiling.scaled(self._factor)
        rows, columns = (tiling.along(size) for size in (height, width))
        band = np.zeros((max(r.stop - r.start for r in rows), width, channels), np.float32)
        done, total = 0, len(rows) * len(columns)
        progress(done, total)
        # Tiles are read before their rows are yielded, never afterwards.
        tiles = (
            to_unit(image[row.start : row.stop, column.start : column.stop])
            for row in rows
            for column in columns
        )
        results = map_in_order(
            lambda job: self.denoise(*job),
            zip(tiles, itertools.count(seed)),
            workers if total >= 2 * workers else 1,
        )
        with closing(results):
            for i, row in enumerate(rows):
                for column in columns:
                    result = next(results)
                    result *= row.window[:, None, None] * column.window[:, None]
                    band[: len(result), column.start : column.stop] += result
                    done += 1
                    progress(done, total)
                finished = (rows[i + 1].start if i + 1 < len(rows) else height) - row.start
                yield row.start, band[:finished]
                band[: len(band) - finished] = band[finished:]
                band[len(band) - finished :] = 0

    def denoise(self, tile: Floats, seed: int) -> Floats:
        """Denoise (h, w, C) in float32; split it if memory runs out.

        Raises
        ------
        DeviceError
            If even the smallest tile does not fit into the device's memory.
        """
        most = self._tiling.scaled(self._factor).tile
        if most and max(tile.shape[:2]) > most:
            return self._split(tile, seed)
        try:
            return self._denoise(tile, seed)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
        side = int(max(tile.shape[:2]) / self._factor) // 2
        if side < max(MIN_TILE, self._tiling.multiple):
            raise DeviceError(
                f"The memory of {self._device} is too small even for a tile of {side * 2} pixels.",
                "Close other programs, or use another --device or lighter --weights.",
            )
        release_memory(self._device)
        # If several tiles run out of memory at once, only one reports it.
        with self._shrinking:
            if not self._tiling.tile or side < self._tiling.tile:
                self._tiling = self._tiling.smaller(side)
                self._shrunk(self._tiling)
        return self._split(tile, seed)

    def _split(self, tile: Floats, seed: int) -> Floats:
        result = np.empty_like(tile)
        # No other tile has this seed.
        seed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
        for top, rows in self.bands(tile, lambda _done, _of: None, seed, workers=1):
            result[top : top + len(rows)] = rows
        return result
