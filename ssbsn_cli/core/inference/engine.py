"""Denoise images of any size tile by tile, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.inference.banding import remove_banding
from ssbsn_cli.core.inference.enlarged import denoise_at_own_size, find_enlargement
from ssbsn_cli.core.inference.fitting import fit_image
from ssbsn_cli.core.inference.impulses import remove_impulses_of_each
from ssbsn_cli.core.inference.multiscale import correct_by_half, pyramid
from ssbsn_cli.core.inference.peaks import find_peaks
from ssbsn_cli.core.inference.predictor import Predictor
from ssbsn_cli.core.inference.splitting import MEMORY_ERRORS, Splitter
from ssbsn_cli.core.inference.tiles import Tiling
from ssbsn_cli.core.inference.whiteness import cut_off, share_of_white
from ssbsn_cli.core.inference.wiener import filter_again
from ssbsn_cli.core.noise.detail import NoiseSpectrum, estimate_noise, recover_detail
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.noiseless import restore_noiseless
from ssbsn_cli.core.runtime.device import is_out_of_memory, release_memory
from ssbsn_cli.core.types import Notify, Progress, from_unit, to_unit

# The noise of an image at full size, at half of it, and so on, if it is to be told from detail.
_Spectra = Sequence[NoiseSpectrum | None]


@dataclass
class Engine:
    """Cuts images into tiles, denoises each, and blends the results.

    Parameters
    ----------
    predictor : Predictor
        Denoises tiles.
    tiling : Tiling
        How images are cut.
    coarse : Predictor, optional
        Denoises tiles at half their size and below; by default, `predictor` does.
    white_noise : Predictor, optional
        Denoises images whose noise is white; see `share_of_white`.
    strength : float
        Blend with the original: 0 is the original, 1 is the network's result.
    detail : bool
        Whether to give detail back; see `recover_detail`.
    keep_noiseless : bool
        Whether to keep drawings and patterns that repeat exactly; see `restore_noiseless`.
    own_size : bool
        Whether to denoise enlarged images at their own size; see `find_enlargement`.
    scales : int
        At how many scales to denoise, each half the size of the one before; see `correct_by_half`.
    wiener : bool
        Whether to filter images again after the network; see `filter_again`.
    impulses : bool
        Whether to replace impulses; see `remove_impulses`.
    banding : bool
        Whether to remove banding from images in memory; see `remove_banding`.
    seed : int
        Seed of the first tile, the same for each image.
    notify : callable
        Called with sentences that a user should read.
    """

    predictor: Predictor
    tiling: Tiling
    coarse: Predictor | None = None
    white_noise: Predictor | None = None
    strength: float = 1.0
    detail: bool = False
    keep_noiseless: bool = False
    own_size: bool = False
    scales: int = 1
    wiener: bool = False
    impulses: bool = False
    banding: bool = False
    seed: int = 0
    notify: Notify = lambda _: None

    def __post_init__(self) -> None:
        #: The tiling of the latest image, with smaller tiles if memory ran out.
        self.current = self.tiling
        #: What `find_enlargement` found for each image of the latest call.
        self.enlargements: list[Fraction] = []

    @property
    def fell_back(self) -> bool:
        """Whether a network runs in float32 because the precision was too low for it."""
        predictors = self.predictor, self.coarse, self.white_noise
        return any(each.fell_back for each in predictors if each)

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
        # Parts of an image in its file may be read only once.
        even = self._without_bands(source) if isinstance(image, np.ndarray) else source
        factor, spectra = self._measure(even)
        self.enlargements = [factor]
        splitter = self._splitter(spectra, factor, image.shape[0] * image.shape[1])
        for top, band in splitter.bands(even, progress, self.seed, self.tiling.workers):
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
        even = list(map(self._without_bands, sources))
        factors, spectra = zip(*map(self._measure, even), strict=True)
        if any(factor > 1 for factor in factors):
            return self._run_each(images)
        self.current, self.enlargements = self.tiling, list(factors)
        batch = np.stack([to_unit(image[:, :]) for image in even])
        pixels, results = batch[..., 0].size, None
        try:
            results = self.predict(batch, spectra, self.seed, pixels)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
        if results is None:
            # Only now, since the error holds the memory of the batch.
            release_memory(self.predictor.device)
            splitters = (self._splitter(known, Fraction(1), pixels) for known in spectra)
            pairs = zip(splitters, batch, strict=True)
            results = np.stack([splitter.denoise(image, self.seed) for splitter, image in pairs])
        if self.keep_noiseless:
            for image, result in zip(batch, results, strict=True):
                restore_noiseless(image, result)
        original = np.stack([to_unit(source[:, :]) for source in sources])
        results = original + np.float32(self.strength) * (results - original)
        return [
            fit.restore(result) if fit else result
            for fit, result in zip(fitted, results, strict=True)
        ]

    def predict(
        self,
        images: Floats,
        spectra: Sequence[_Spectra],
        seed: int,
        pixels: float,
        scale: int = 0,
        white: Floats | None = None,
    ) -> Floats:
        """Denoise (N, h, w, C) at a scale and all smaller ones, and give detail back at each.

        `pixels` is the number of pixels in all tiles of this scale. `white` has the share of white
        noise in each image, which is known at smaller scales: white noise is white there, too.
        """
        if (
            self.white_noise
            and white is not None
            and (white == 1).all()
            and not ((images < 0) | (images > 1)).any()
        ):
            # The other network would have no share in the results.
            results = self.white_noise(images, seed, pixels)
        else:
            predictor = self.coarse if self.coarse and scale else self.predictor
            results = predictor(images, seed, pixels)
            if self.impulses and not scale:
                images, results = remove_impulses_of_each(
                    images, results, lambda image: self.predictor(image[None], seed, pixels)[0]
                )
            if self.white_noise:
                if white is None:
                    white = np.array(list(map(share_of_white, images, results)), np.float32)
                if (some := white > 0).any():
                    again = self.white_noise(images[some].clip(0, 1), seed, pixels)
                    change = np.stack(list(map(cut_off, images[some]))) * (again - results[some])
                    results[some] += white[some, None, None, None] * change
        for image, result, known in zip(images, results, spectra, strict=True):
            if noise := known[scale]:
                result[...] = recover_detail(image, result, noise)

        halves, filters = scale + 1 < self.scales, self.wiener and scale == 0
        if not (halves or filters):
            return results

        def denoise(half: Floats) -> Floats:
            return self.predict(half, spectra, seed, pixels / 4, scale + 1, white)

        device = self.predictor.device
        peaks = find_peaks(results, device)
        # Copies, so the caller's images stay as they are.
        images, results = images - peaks, results - peaks
        if halves:
            correct_by_half(images, results, denoise, device)
        if filters:
            filter_again(images, results, device)
        results += peaks
        return results

    def _without_bands(self, image: Image) -> Image:
        return (self.banding and remove_banding(image)) or image

    def _measure(self, image: Image) -> tuple[Fraction, _Spectra]:
        """Find out how many times an image was enlarged, and its noise at each size."""
        factor = find_enlargement(image) if self.own_size else Fraction(1)
        if not self.detail:
            return factor, [None] * self.scales
        sizes = pyramid(image, self.scales if factor == 1 else 1)
        return factor, [estimate_noise(each) for each in sizes]

    def _splitter(self, spectra: _Spectra, factor: Fraction, pixels: int) -> Splitter:
        pixels = int(pixels / factor**2)

        def predict(tile: Floats, seed: int, known: _Spectra) -> Floats:
            return np.asarray(self.predict(tile[None], [known], seed, pixels)[0])

        def denoise(tile: Floats, seed: int) -> Floats:
            if factor == 1:
                result = predict(tile, seed, spectra)
            else:
                # Its noise is known only at the size that it has now.
                unknown, (noise, *_) = [None] * self.scales, spectra
                result = denoise_at_own_size(tile, factor, lambda own: predict(own, seed, unknown))
                result = recover_detail(tile, result, noise) if noise else result
            if self.keep_noiseless:
                restore_noiseless(tile, result)
            return result

        return Splitter(denoise, self.current, factor, self.predictor.device, self._shrink)

    def _shrink(self, tiling: Tiling) -> None:
        self.current, device = tiling, self.predictor.device
        self.notify(f"Out of memory on {device}: continuing with tiles of {tiling.tile} pixels.")

    def _run_each(self, images: Sequence[Pixels]) -> list[Floats]:
        results = [np.empty(image.shape, np.float32) for image in images]
        enlargements = []
        for image, result in zip(images, results, strict=True):
            self.run(image, result)
            enlargements += self.enlargements
        self.enlargements = enlargements
        return results
