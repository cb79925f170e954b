"""The denoiser: a network and settings made ready, to be called on arrays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging.photo import Image, Pixels, check_image
from ssbsn_cli.core.inference.engine import Engine
from ssbsn_cli.core.inference.settings import DEFAULT_OVERLAP, MASKED, Settings, passes_without_r3
from ssbsn_cli.core.inference.tiles import choose_tile, choose_workers
from ssbsn_cli.core.model.convolution import use_winograd
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.device import (
    DTYPES,
    resolve_device,
    resolve_precision,
    use_available_cores,
)
from ssbsn_cli.core.runtime.operations import winograd_pays
from ssbsn_cli.core.runtime.threads import stop_if_unwanted
from ssbsn_cli.core.types import Notify, Progress, from_unit
from ssbsn_cli.core.weights.locate import LoadedWeights

# Of more, threads and GPUs gain little.
MAX_BATCH = 16


class Denoiser:
    """A network ready to denoise images; make one with `load_denoiser`.

    Parameters
    ----------
    weights : LoadedWeights
        The network. It is moved to the device and owned by this object.
    settings : Settings
        How to run it.
    notify : callable, optional
        Told, in a sentence, what a user should know: that memory ran out, for example.

    Raises
    ------
    DeviceError
        If the device is not there.
    OptionError
        If these weights have no refinement, or passes of R3 are asked for, but R3 is not what they
        recommend, or if the overlap does not fit the tiles that the memory allows.
    """

    def __init__(
        self, weights: LoadedWeights, settings: Settings, notify: Notify = lambda _: None
    ) -> None:
        descriptor = weights.descriptor
        self.weights = weights
        self.settings = settings
        self.device = resolve_device(settings.device)
        use_available_cores()
        self.precision = resolve_precision(settings.precision, self.device)
        self.refine = settings.refine or descriptor.refine
        if self.refine != "none" and not weights.network.blind:
            raise OptionError(
                f"The weights {weights.name} have no refinement {self.refine!r}: they belong to no "
                "blind-spot network.",
                "Leave out --refine, or use other --weights, such as ssbsn-photo.",
            )
        self.detail = settings.detail == "auto" and descriptor.detail
        if settings.refine_passes is not None and self.refine not in MASKED:
            raise passes_without_r3(self.refine)
        dtype = DTYPES[self.precision]

        network = weights.network
        if settings.attention == "exact" and not network.blind:
            notify(f"The weights {weights.name} have no attention, exact or linear.")
        network.use_attention(settings.attention)
        network.to(self.device).use_dtype(dtype)
        winograd = (
            self.device.type == "cpu"
            and dtype == torch.float32
            and winograd_pays()
            and use_winograd(network)
        )
        if not winograd:
            # PyTorch's type hints do not know this form.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fitting = choose_tile(self.device, network, dtype)
        self._room = fitting * fitting
        tile = fitting if settings.tile is None else settings.tile
        overlap = settings.overlap
        if overlap is None:
            overlap = min(DEFAULT_OVERLAP, tile // 2) if tile else 0
        elif tile and overlap > tile // 2:
            raise OptionError(
                f"An overlap of {overlap} pixels does not fit tiles of {tile}.",
                f"Use up to {tile // 2}, or larger tiles with --tile.",
            )
        passes = network.count_passes(self.refine, settings.refine_passes)
        self._compiler = Compiler(
            network.bulk,
            settings.compile,
            # As measured; others gain a tenth at best.
            pays=network.blind and self.device.type == "cpu" and dtype == torch.bfloat16,
            passes=passes * (8 if settings.ensemble else 1),
            notify=notify,
        )
        workers = 1
        if settings.compile != "on":
            workers = choose_workers(self.device, network, dtype, tile)
        if workers > 1:
            # Who interrupts waits for a layer, not for a tile, which may take a minute.
            for layer in network.modules():
                layer.register_forward_pre_hook(stop_if_unwanted)
        self._engine = Engine(
            network,
            device=self.device,
            fall_back=settings.precision == "auto" and dtype != torch.float32,
            refine=self.refine,
            passes=settings.refine_passes,
            ensemble=settings.ensemble,
            strength=settings.strength,
            detail=self.detail,
            seed=settings.seed,
            tile=tile,
            overlap=overlap,
            multiple=network.size_multiple,
            halo=descriptor.halo,
            workers=workers,
            compiler=self._compiler if workers == 1 else None,
            winograd=winograd,
            notify=notify,
        )

    @property
    def tile(self) -> int:
        """Largest side of a tile in pixels; 0 if the whole image is run at once."""
        return self._engine.tile

    def __call__(self, image: Pixels, progress: Progress = lambda _done, _of: None) -> Pixels:
        """Denoise one image.

        Parameters
        ----------
        image : array
            (H, W) or (H, W, C) with C = 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and
            alpha); uint8, uint16, or floating with white at 1.
        progress : callable, optional
            Called with the number of tiles done and their total.

        Returns
        -------
        array
            Same shape and type. Alpha is returned as it was. Integers are rounded and clipped,
            floats are not clipped.

        Raises
        ------
        ImageError
            If the array is no such image.
        DeviceError
            If the device's memory is too small.

        Examples
        --------
        >>> import numpy as np
        >>> from ssbsn_cli import load_denoiser
        >>> denoiser = load_denoiser(device="cpu")
        >>> noisy = np.random.default_rng(0).integers(90, 110, (24, 32, 3), dtype=np.uint8)
        >>> denoiser(noisy).shape
        (24, 32, 3)
        """
        check_image(image)
        out = np.array(image)
        self.denoise_in_place(out[..., None] if out.ndim == 2 else out, progress)
        return out

    def denoise_in_place(
        self, pixels: Pixels, progress: Progress = lambda _done, _of: None
    ) -> dict[str, Any]:
        """Denoise (H, W, C) pixels where they lie, without a second copy in memory.

        Parameters
        ----------
        pixels : array
            As `image` of `__call__`, but with three axes. Alpha stays as it is.
        progress : callable, optional
            Called with the number of tiles done and their total.

        Returns
        -------
        dict
            ``seconds`` it took and ``megapixels_per_second``.
        """
        start = time.perf_counter()
        color = _color(pixels)
        self._engine.run(color, color, progress)
        return describe_speed(color, time.perf_counter() - start)

    def denoise_together(
        self, photos: Sequence[Pixels], progress: Progress = lambda _done, _of: None
    ) -> dict[str, Any]:
        """Denoise several (H, W, C) of one size where they lie, all at once.

        Parameters
        ----------
        photos : sequence of array
            Each as for `denoise_in_place`, and no larger than a tile.
        progress : callable, optional
            Called with 0 and 1 of 1.

        Returns
        -------
        dict
            As of `denoise_in_place`, with each one's share of the time.
        """
        start = time.perf_counter()
        progress(0, 1)
        colors = [_color(pixels) for pixels in photos]
        for color, result in zip(colors, self.denoise_batch(colors), strict=True):
            color[...] = from_unit(result, color.dtype)
        progress(1, 1)
        return describe_speed(colors[0], (time.perf_counter() - start) / len(colors))

    def stream(
        self, image: Image, progress: Progress = lambda _done, _of: None
    ) -> Iterator[Pixels]:
        """Denoise an image that need not be in memory, from top to bottom.

        Parameters
        ----------
        image : Image
            (H, W, C) with C = 1 or 3; uint8, uint16, or floating with white at 1.
        progress : callable, optional
            Called with the number of tiles done and their total.

        Yields
        ------
        array
            (h, W, C) finished rows, of the image's type.

        Raises
        ------
        DeviceError
            If the device's memory is too small.
        """
        return self._engine.stream(image, progress)

    def batch_size(self, height: int, width: int) -> int:
        """Return how many images of a size are best denoised together: 1 for large ones."""
        if self.tile and max(height, width) > self.tile:
            return 1
        return max(1, min(self._room // (height * width), MAX_BATCH))

    def denoise_batch(self, images: Sequence[Pixels]) -> list[Pixels]:
        """Denoise images of one size that are no larger than a tile, all at once.

        Parameters
        ----------
        images : sequence of array
            (H, W, C) each, with C = 1 or 3; uint8, uint16, or floating with white at 1.

        Returns
        -------
        list of array
            Float32 with white at 1, not clipped, of the same shapes. Each is what the image would
            become alone, up to the rounding of sums.

        Raises
        ------
        ImageError
            If an array is no such image, or their shapes differ.
        DeviceError
            If the device's memory is too small.
        """
        for image in images:
            check_image(image)
            if image.shape != images[0].shape or image.ndim != 3 or image.shape[2] % 2 == 0:
                raise ImageError(
                    f"Images of shapes {images[0].shape} and {image.shape} make no batch.",
                    "Give (H, W, 1) or (H, W, 3) of one size.",
                )
        return self._engine.run_batch(images)

    def describe(self) -> dict[str, Any]:
        """Return how images are denoised, as plain values for JSON."""
        return {
            "weights": {"name": self.weights.name, "sha256": self.weights.digest},
            "device": str(self.device),
            "precision": "fp32" if self._engine.fell_back else self.precision,
            "attention": self.settings.attention if self.weights.network.blind else None,
            "compiled": self._compiler.compiled,
            "refine": self.refine,
            "detail": self.detail,
            "tile": self.tile,
            "overlap": self._engine.overlap,
        }


def _color(pixels: Pixels) -> Pixels:
    """Return (H, W, C) without its alpha, as a view."""
    return pixels[..., : pixels.shape[2] - (pixels.shape[2] % 2 == 0)]


def describe_speed(image: Image, seconds: float) -> dict[str, Any]:
    """Return ``seconds`` and ``megapixels_per_second``, as plain values for JSON."""
    megapixels = image.shape[0] * image.shape[1] / 1e6
    return {
        "seconds": round(seconds, 3),
        "megapixels_per_second": float(f"{megapixels / seconds:.4g}"),
    }
