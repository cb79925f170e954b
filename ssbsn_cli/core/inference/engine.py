"""Denoise images of any size tile by tile, in bounded memory."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.inference.enlarged import denoise_at_own_size, find_enlargement
from ssbsn_cli.core.inference.fitting import fit_image
from ssbsn_cli.core.inference.multiscale import correct_by_half, halvings
from ssbsn_cli.core.inference.predictor import Predictor
from ssbsn_cli.core.inference.settings import MIN_TILE
from ssbsn_cli.core.inference.tiles import Tiling
from ssbsn_cli.core.noise.detail import NoiseSpectrum, estimate_noise, recover_detail
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.noiseless import find_noiseless
from ssbsn_cli.core.runtime.device import is_out_of_memory, release_memory
from ssbsn_cli.core.runtime.threads import map_in_order
from ssbsn_cli.core.types import Notify, Progress, from_unit, to_unit

_MEMORY_ERRORS = (MemoryError, RuntimeError)
# The noise of an image at full size, at half of it, and so on, if it is to be told from detail.
_Noise = Sequence[NoiseSpectrum | None]


@dataclass
class Engine:
    """Cuts images into tiles, denoises each, and blends the results.

    Parameters
    ----------
    predictor : Predictor
        Denoises tiles.
    tiling : Tiling
        How images are cut.
    strength : float
        Blend with the original: 0 is the original, 1 is the network's result.
    detail : bool
        Whether to give detail back; see `recover_detail`.
    keep_noiseless : bool
        Whether to keep patterns that repeat exactly; see `find_noiseless`.
    own_size : bool
        Whether to denoise enlarged images at their own size; see `find_enlargement`.
    scales : int
        At how many scales to denoise, each half the size of the one before; see `correct_by_half`.
    seed : int
        Seed of the first tile, the same for each image.
    notify : callable
        Called with sentences that a user should read.
    """

    predictor: Predictor
    tiling: Tiling
    strength: float = 1.0
    detail: bool = False
    keep_noiseless: bool = False
    own_size: bool = False
    scales: int = 1
    seed: int = 0
    notify: Notify = lambda _: None

    def __post_init__(self) -> None:
        #: The tiling of the latest image, with smaller tiles if memory ran out.
        self.current = self.tiling
        #: What `find_enlargement` found for each image of the latest call.
        self.enlargements: list[Fraction] = []

    def run(self, image: Pixels, out: Pixels, progress: Progress = lambda _done, _of: None) -> None:
        """Denoise an image in memory into `out`, which may be `image` itself; see `stream`.

        The type of `out` may be another one; floats take the result as it is, without rounding.
        """
        top = 0
        for rows in self.stream(image, progress, out.dtype):
            out[top : top + len(rows)] = rows
            top += len(rows)

    def stream(
        self,
        image: Image,
        progress: Progress = lambda _done, _of: None,
        dtype: np.dtype[Any] | None = None,
    ) -> Iterator[Pixels]:
        """Denoise an image band by band.

        Parameters
        ----------
        image : Image
            (H, W, C) with C = 1 or 3; uint8, uint16 or floating with white at 1. Rows are not read
            again after they are yielded.
        progress : callable
            Called with the number of tiles done and their total.
        dtype : numpy.dtype, optional
            The type of the rows; by default the image's.

        Yields
        ------
        array
            (h, W, C) finished rows from top to bottom.

        Raises
        ------
        DeviceError
            If even the smallest tile does not fit into the device's memory, or if the precision
            is too low for the network's values.
        """
        self.current, self.enlargements = self.tiling, [Fraction(1)]
        dtype = dtype or image.dtype
        if self.strength == 0:
            for rows in pixel_rows(image):
                part = image[rows, :]
                yield part.copy() if dtype == image.dtype else from_unit(to_unit(part), dtype)
            return
        fitted = fit_image(image)
        source = fitted or image
        noise = self._estimate_noise(source)
        self.enlargements = [self._find_enlargement(source)]
        tiles = _Tiles(self, noise, self.enlargements[0], image.shape[0] * image.shape[1])
        for top, band in tiles.bands(source, progress, self.seed, self.tiling.workers):
            # Copies of a whole wide band would take most of the memory.
            for rows in pixel_rows(band):
                part = band[rows]
                if self.strength < 1:
                    original = to_unit(source[top + rows.start : top + rows.stop, :])
                    part = original + np.float32(self.strength) * (part - original)
                if fitted:
                    part = fitted.restore(part, top + rows.start)
                yield from_unit(part, dtype)

    def run_batch(self, images: Sequence[Pixels]) -> list[Floats]:
        """Denoise images of one size, several of them as one tile each; see `denoise_batch`.

        If one was enlarged, each is denoised alone.
        """
        if self.strength == 0 or len(images) < 2:
            return self._run_each(images)
        fitted = [fit_image(image) for image in images]
        sources = [fit or image for fit, image in zip(fitted, images, strict=True)]
        if any(self._find_enlargement(source) > 1 for source in sources):
            return self._run_each(images)
        self.current, self.enlargements = self.tiling, [Fraction(1)] * len(images)
        batch = np.stack([to_unit(source[:, :]) for source in sources])
        noises, results = [self._estimate_noise(image) for image in batch], None
        try:
            results = self.predict(batch, noises, self.seed, batch[..., 0].size)
        except _MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
        if results is None:
            # Only now, since the error holds the memory of the batch.
            release_memory(self.predictor.device)
            return self._run_each(images)
        for image, result in zip(batch, results, strict=True):
            self.keep(image, result)
        results = batch + np.float32(self.strength) * (results - batch)
        return [
            fit.restore(result) if fit else result
            for fit, result in zip(fitted, results, strict=True)
        ]

    def predict(self, batch: Floats, noises: Sequence[_Noise], seed: int, pixels: float) -> Floats:
        """Denoise (N, h, w, C), and give detail back; `pixels` is the number in all tiles."""

        def denoise(images: Floats, scale: int) -> Floats:
            results = self.predictor(images, seed, pixels * images.size / batch.size)
            for image, result, noise in zip(images, results, noises, strict=True):
                if spectrum := noise[scale]:
                    result[...] = recover_detail(image, result, spectrum)
            if scale + 1 < self.scales:
                device = self.predictor.device
                correct_by_half(images, results, lambda half: denoise(half, scale + 1), device)
            return results

        return denoise(batch, 0)

    def keep(self, noisy: Floats, denoised: Floats) -> None:
        """Copy patterns that repeat exactly into a result, (h, w, C)."""
        if self.keep_noiseless:
            np.copyto(denoised, noisy, where=find_noiseless(noisy)[..., None])

    def _estimate_noise(self, image: Image) -> _Noise:
        sizes = halvings(image, self.scales)
        return [estimate_noise(each) if self.detail else None for each in sizes]

    def _run_each(self, images: Sequence[Pixels]) -> list[Floats]:
        results = [np.empty(image.shape, np.float32) for image in images]
        enlargements = []
        for image, result in zip(images, results, strict=True):
            self.run(image, result)
            enlargements += self.enlargements
        self.enlargements = enlargements
        return results

    def _find_enlargement(self, image: Image) -> Fraction:
        return find_enlargement(image) if self.own_size else Fraction(1)


class _Tiles:
    """The tiles of one image: they become smaller if memory runs out."""

    def __init__(self, engine: Engine, noise: _Noise, factor: Fraction, pixels: int) -> None:
        self._engine, self._noise, self._factor = engine, noise, factor
        self._pixels = int(pixels / factor**2)
        # In pixels that the network sees.
        self._tiling = engine.tiling
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
        """Denoise (h, w, C) in float32; split it if memory runs out."""
        most = self._tiling.scaled(self._factor).tile
        if most and max(tile.shape[:2]) > most:
            return self._split(tile, seed)
        try:
            result = self._predict(tile, seed)
            self._engine.keep(tile, result)
            return result
        except _MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
        device = self._engine.predictor.device
        side = int(max(tile.shape[:2]) / self._factor) // 2
        if side < max(MIN_TILE, self._tiling.multiple):
            raise DeviceError(
                f"The memory of {device} is too small even for a tile of {side * 2} pixels.",
                "Close other programs, or use another --device or lighter --weights.",
            )
        release_memory(device)
        # If several tiles run out of memory at once, only one reports it.
        with self._shrinking:
            if not self._tiling.tile or side < self._tiling.tile:
                self._engine.current = self._tiling = self._tiling.smaller(side)
                self._engine.notify(
                    f"Out of memory on {device}: continuing with tiles of {side} pixels."
                )
        return self._split(tile, seed)

    def _predict(self, tile: Floats, seed: int) -> Floats:
        def predict(pixels: Floats, noise: _Noise) -> Floats:
            batch = self._engine.predict(pixels[None], [noise], seed, self._pixels)
            return np.asarray(batch[0])

        if self._factor == 1:
            return predict(tile, self._noise)
        unknown: _Noise = [None] * self._engine.scales
        result = denoise_at_own_size(tile, self._factor, lambda small: predict(small, unknown))
        return recover_detail(tile, result, self._noise[0]) if self._noise[0] else result

    def _split(self, tile: Floats, seed: int) -> Floats:
        result = np.empty_like(tile)
        # No other tile has this seed.
        seed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
        for top, rows in self.bands(tile, lambda _done, _of: None, seed, workers=1):
            result[top : top + len(rows)] = rows
        return result
