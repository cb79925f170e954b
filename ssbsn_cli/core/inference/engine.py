"""Run a network over images of any size, tile by tile, in bounded memory."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.inference.settings import MIN_TILE
from ssbsn_cli.core.inference.tiles import plan_axis
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.model.refine import eightfold
from ssbsn_cli.core.noise.detail import NoiseSpectrum, estimate_noise, recover_detail
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.device import is_out_of_memory
from ssbsn_cli.core.runtime.threads import map_in_order
from ssbsn_cli.core.types import Notify, Progress, RefineKind, from_unit, to_unit


class Engine:
    """A network, where and how it runs.

    Parameters
    ----------
    network : Network
        Takes and returns images in [0, 1]; already on its device.
    device : torch.device
        Where it is.
    fall_back : bool
        Whether to go on in float32 where the network's precision does not suffice.
    refine, passes, ensemble, strength, seed
        See `Settings`.
    detail : bool
        Whether to give detail back, see `recover_detail`.
    tile : int
        Largest side of a tile; 0 for the whole image.
    overlap, multiple, halo : int
        See `plan_axis`.
    workers : int
        How many tiles to work on at once, where an image has enough of them.
    compiler : Compiler, optional
        Of the network, with one tile at a time.
    winograd : bool
        Whether the network's convolutions are to have channels first on threads of one core, as
        Winograd's take them.
    notify : callable
        Told, in a sentence, what a user should know.
    """

    def __init__(
        self,
        network: Network,
        *,
        device: torch.device,
        fall_back: bool = False,
        refine: RefineKind = "none",
        passes: int | None = None,
        ensemble: bool = False,
        strength: float = 1.0,
        detail: bool = False,
        seed: int = 0,
        tile: int = 0,
        overlap: int = 0,
        multiple: int = 1,
        halo: int = 0,
        workers: int = 1,
        compiler: Compiler | None = None,
        winograd: bool = False,
        notify: Notify = lambda _: None,
    ) -> None:
        self.network = network
        self.device = device
        self.compiler = compiler
        self.fall_back = fall_back
        self.fell_back = False
        self.refine = refine
        self.passes = passes
        self.ensemble = ensemble
        self.strength = strength
        self.detail = detail
        self.seed = seed
        self.tile = self._chosen_tile = tile
        self.overlap = self._chosen_overlap = overlap
        self.multiple = multiple
        self.halo = halo
        self.workers = workers
        self.winograd = winograd
        self.notify = notify
        self._noise: NoiseSpectrum | None = None
        self._pixels = 0
        self._lock = threading.Lock()

    def run(self, image: Pixels, out: Pixels, progress: Progress = lambda _done, _of: None) -> None:
        """Denoise an image in memory; see `stream`.

        Parameters
        ----------
        image : array
            (H, W, C) with C = 1 or 3; uint8, uint16 or floating with white at 1.
        out : array
            Takes the result: same shape and type. May be `image` itself.
        progress : callable
            Called with the number of tiles done and their total.

        Raises
        ------
        DeviceError
            As `stream` does.
        """
        top = 0
        for rows in self.stream(image, progress):
            out[top : top + len(rows)] = rows
            top += len(rows)

    def stream(
        self, image: Image, progress: Progress = lambda _done, _of: None
    ) -> Iterator[Pixels]:
        """Denoise an image band by band.

        Parameters
        ----------
        image : Image
            (H, W, C) with C = 1 or 3; uint8, uint16 or floating with white at 1. Rows that were
            yielded are not read again.
        progress : callable
            Called with the number of tiles done and their total.

        Yields
        ------
        array
            (h, W, C) finished rows from top to bottom, of the image's type.

        Raises
        ------
        DeviceError
            If even the smallest tile does not fit into the device's memory, or if the precision
            does not suffice for the network's values.
        """
        # What memory forced upon one image does not bind the next.
        self.tile, self.overlap = self._chosen_tile, self._chosen_overlap
        if self.strength == 0:
            yield from (image[rows, :] for rows in pixel_rows(image))
            return
        self._noise = estimate_noise(image) if self.detail else None
        for top, band in self._bands(image, progress, self.workers):
            # Of a wide band, a few copies at once would be most of the memory in use.
            for rows in pixel_rows(band):
                part = band[rows]
                if self.strength < 1:
                    original = to_unit(image[top + rows.start : top + rows.stop, :])
                    part = original + np.float32(self.strength) * (part - original)
                yield from_unit(part, image.dtype)

    def run_batch(self, images: Sequence[Pixels]) -> list[NDArray[np.float32]]:
        """Denoise images of one size together, each as one tile.

        Parameters
        ----------
        images : sequence of array
            (H, W, C) each, with C = 1 or 3; uint8, uint16 or floating with white at 1.

        Returns
        -------
        list of array
            Float32, of the same shapes, with white at 1 and not clipped.

        Raises
        ------
        DeviceError
            As `run` does.
        """
        self.tile, self.overlap = self._chosen_tile, self._chosen_overlap
        batch = np.stack([to_unit(image) for image in images])
        if self.strength == 0:
            return list(batch)
        self._noise = None
        self._pixels = batch[..., 0].size
        try:
            results = self._call_network(batch, self.seed)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            results = np.stack([self._denoise_tile(image, self.seed) for image in batch])
        if self.detail:
            for image, result in zip(batch, results, strict=True):
                if noise := estimate_noise(image):
                    result[...] = recover_detail(image, result, noise)
        return list(batch + np.float32(self.strength) * (results - batch))

    def _bands(
        self, image: Image, progress: Progress, workers: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield finished rows from top to bottom, as (first row, float32 rows)."""
        height, width, channels = image.shape
        rows, columns = (
            plan_axis(size, self.tile, self.overlap, multiple=self.multiple, halo=self.halo)
            for size in (height, width)
        )
        band = np.zeros((max(r.stop - r.start for r in rows), width, channels), np.float32)
        done, total = 0, len(rows) * len(columns)
        self._pixels = total * (rows[0].stop - rows[0].start) * (columns[0].stop - columns[0].start)
        progress(done, total)
        # A later tile is read before the rows above it are yielded, but none of those.
        tiles = (
            to_unit(image[row.start : row.stop, column.start : column.stop])
            for row in rows
            for column in columns
        )
        results = map_in_order(
            lambda job: self._denoise_tile(*job),
            zip(tiles, itertools.count(self.seed)),
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

    def _denoise_tile(self, tile: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Denoise (h, w, C) in float32; split it where memory runs out."""
        if self.tile and max(tile.shape[:2]) > self.tile:
            return self._split(tile)
        try:
            result: NDArray[np.float32] = self._call_network(tile[None], seed)[0]
            return recover_detail(tile, result, self._noise) if self._noise else result
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        side = max(tile.shape[:2]) // 2
        if side < MIN_TILE:
            raise DeviceError(
                f"The memory of {self.device} is too small even for a tile of {side * 2} pixels.",
                "Close other programs, or use another --device or lighter --weights.",
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        # Of several tiles at once, one says so.
        if self.tile != side:
            self.tile = side
            self.overlap = min(self.overlap, side // 2)
            self.notify(f"Out of memory on {self.device}: going on with tiles of {side} pixels.")
        return self._split(tile)

    def _split(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        result = np.empty_like(tile)
        for top, rows in self._bands(tile, lambda _done, _of: None, workers=1):
            result[top : top + len(rows)] = rows
        return result

    def _call_network(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Denoise (N, h, w, C) at once."""
        x = torch.from_numpy(tiles).permute(0, 3, 1, 2).to(self.device)
        grey = x.shape[1] == 1
        height, width = x.shape[-2:]
        # Beside the zero pads of PD, sub-images of a few pixels would come out dark.
        x = mirror_pad(x, 0, max(MIN_TILE - width, 0), 0, max(MIN_TILE - height, 0))
        first = self.winograd and torch.get_num_threads() == 1
        form = torch.contiguous_format if first else torch.channels_last
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=form)
        with torch.inference_mode():
            y = self._views(x, seed)
            if not torch.isfinite(y).all():
                y = self._more_precisely(x, seed)
            if grey:
                y = y.mean(dim=1, keepdim=True)
            y = y[..., :height, :width]
            return y.permute(0, 2, 3, 1).cpu().contiguous().numpy()

    def _more_precisely(self, x: Tensor, seed: int) -> Tensor:
        """Answer values that overflowed in half precision."""
        with self._lock:
            if self.fall_back:
                self.fall_back = False
                self.fell_back = True
                # Other tiles may be halfway through the network as it is.
                self.network = copy.deepcopy(self.network).float()
                self.notify("The network's values need more precision: going on in fp32.")
        if self.fell_back:
            y = self._views(x, seed)
            if torch.isfinite(y).all():
                return y
        raise DeviceError(
            "The network's values are not finite.", "Use --precision fp32 or other --weights."
        )

    def _views(self, x: Tensor, seed: int) -> Tensor:
        if not self.ensemble:
            return self._pass(x, seed)
        return eightfold(lambda view, k: self._pass(view, seed + k), x)

    def _pass(self, x: Tensor, seed: int) -> Tensor:
        def denoise() -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            return self.network.denoise(
                x, refine=self.refine, passes=self.passes, generator=generator
            )

        return self.compiler.run(denoise, x.shape, self._pixels) if self.compiler else denoise()
