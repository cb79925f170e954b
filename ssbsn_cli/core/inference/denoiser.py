"""The denoiser: weights and settings, ready to be called on arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging.photo import Image, Pixels, check_color, check_image, color_of
from ssbsn_cli.core.inference.engine import Engine
from ssbsn_cli.core.inference.predictor import Predictor, prepare_network
from ssbsn_cli.core.inference.settings import MASKED, Settings, passes_without_r3
from ssbsn_cli.core.inference.tiles import plan_tiles
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.device import (
    DTYPES,
    resolve_device,
    resolve_precision,
    use_available_cores,
)
from ssbsn_cli.core.runtime.threads import stop_if_unwanted
from ssbsn_cli.core.types import Notify, Progress, RefineKind, from_unit
from ssbsn_cli.core.weights.locate import LoadedWeights, load_others, load_weights

# GPUs gain little beyond this.
_MAX_BATCH = 16
# Settings that are told as they were given.
_TOLD = "refine_passes", "ensemble", "strength", "seed"
# Steps that the engine knows by the same names.
_SAME = "own_size", "wiener", "impulses", "banding"
# More scales gain nothing.
_SCALES = 3


class Denoiser:
    """A network ready to denoise images; make one with `load_denoiser`.

    Parameters
    ----------
    weights : LoadedWeights
        The network; nothing else must use it afterwards.
    settings : Settings
        How to run it.
    notify : callable, optional
        Called with sentences that a user should read, for example that memory ran out.

    Raises
    ------
    OptionError, DeviceError
        The weights do not support the settings, the overlap does not fit the tiles that the memory
        allows, or there is no such device.
    """

    def __init__(
        self, weights: LoadedWeights, settings: Settings, notify: Notify = lambda _: None
    ) -> None:
        self.weights, self.settings = weights, settings
        self.device = resolve_device(settings.device)
        use_available_cores()
        self.precision = resolve_precision(settings.precision, self.device)
        self.refine = _choose_refinement(weights, settings)
        network, dtype = weights.network, DTYPES[self.precision]
        if settings.attention == "exact" and not network.attends:
            notify(f"The network of {weights.name} has no attention, so its form has no effect.")
        winograd = prepare_network(network, settings, self.device, dtype)
        self._compiler = Compiler(
            network.bulk,
            settings.compile,
            # From measurements; other cases gain a tenth at best.
            pays=network.blind and self.device.type == "cpu" and dtype == torch.bfloat16,
            passes=network.count_passes(self.refine, settings.refine_passes)
            * (8 if settings.ensemble else 1),
            notify=notify,
        )
        tiling = plan_tiles(weights, settings, self.device, dtype)
        self._others = load_others(weights, settings.steps)
        if tiling.workers > 1:
            # Interrupts then take effect after a layer, not after a tile, which may take a minute.
            for used in filter(None, (weights, *self._others.values())):
                for layer in used.network.modules():
                    layer.register_forward_pre_hook(stop_if_unwanted)
        predictor = Predictor(
            network,
            self.device,
            refine=self.refine,
            passes=settings.refine_passes,
            ensemble=settings.ensemble,
            fall_back=settings.precision == "auto" and dtype != torch.float32,
            winograd=winograd,
            compiler=self._compiler if tiling.workers == 1 else None,
            notify=notify,
        )
        others = {
            purpose: predictor.for_network(other.network, settings, dtype)
            for purpose, other in self._others.items()
            if other
        }
        self._engine = Engine(
            predictor,
            tiling,
            coarse=others.get("coarse"),
            white_noise=others.get("white_noise"),
            strength=settings.strength,
            detail=settings.steps["detail"] and weights.descriptor.detail,
            keep_noiseless=settings.steps["detail"],
            scales=_SCALES if settings.steps["multiscale"] else 1,
            **{step: settings.steps[step] for step in _SAME},
            seed=settings.seed,
            notify=notify,
        )

    @property
    def enlargements(self) -> list[Fraction]:
        """How many times each image of the latest call was enlarged before; 1 if it was not."""
        return self._engine.enlargements

    @property
    def tile(self) -> int:
        """Largest side of a tile in pixels; 0 if the whole image is run at once."""
        return self._engine.current.tile

    def __call__(self, image: Pixels, progress: Progress = lambda _done, _of: None) -> Pixels:
        """Denoise one image.

        Parameters
        ----------
        image : array
            (H, W) or (H, W, C) with C = 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and
            alpha); uint8, uint16, or a float type with white at 1.
        progress : callable, optional
            Called with the number of tiles done and their total.

        Returns
        -------
        array
            Same shape and type. Alpha is unchanged. Only integers are rounded and clipped.

        Raises
        ------
        ImageError, DeviceError
            The array is not such an image, or the device's memory is too small.

        Examples
        --------
        >>> import numpy as np
        >>> from ssbsn_cli import load_denoiser
        >>> denoiser = load_denoiser(device="cpu")
        >>> noisy = np.random.default_rng(0).integers(90, 110, (24, 32, 3), dtype=np.uint8)
        >>> denoiser(noisy).shape
        (24, 32, 3)
        """
        check_image(image, (2, 3))
        out = np.array(image)
        self.denoise_in_place([out[..., None] if out.ndim == 2 else out], progress)
        return out

    def denoise_in_place(
        self, photos: Sequence[Pixels], progress: Progress = lambda _done, _of: None
    ) -> None:
        """Denoise (H, W, C) in place: one of any size, or several of one size as one tile.

        Alpha does not change.

        Raises
        ------
        ImageError, DeviceError
            As for one image, or if shapes differ or an array is read-only.
        """
        for pixels in photos:
            check_image(pixels)
            if not pixels.flags.writeable:
                raise ImageError("The array is read-only.", "Give a copy, or call the denoiser.")
        colors = [color_of(pixels) for pixels in photos]
        if len(colors) == 1:
            self._engine.run(colors[0], colors[0], progress)
        else:
            progress(0, 1)
            for color, result in zip(colors, self.denoise_batch(colors), strict=True):
                color[...] = from_unit(result, color.dtype)
            progress(1, 1)

    def stream(
        self, image: Image, progress: Progress = lambda _done, _of: None
    ) -> Iterator[Pixels]:
        """Denoise an image that may not fit into memory, top to bottom; see `Engine.stream`.

        Raises
        ------
        ImageError, DeviceError
            It is not an image of 1 or 3 channels, or as for one image.
        """
        check_color(image)
        return self._engine.stream(image, progress)

    def batch_size(self, height: int, width: int) -> int:
        """Return how many images of a size to denoise together; 1 for large ones."""
        if self.tile and max(height, width) > self.tile:
            return 1
        return max(1, min(self._engine.tiling.room // (height * width), _MAX_BATCH))

    def denoise_batch(self, images: Sequence[Pixels]) -> list[Pixels]:
        """Denoise images of one size: several together, each as one tile, or one of any size.

        Parameters
        ----------
        images : sequence of array
            (H, W, C) each, with C = 1 or 3; otherwise as for one image.

        Returns
        -------
        list of array
            Float32 with white at 1, not clipped; as for each image alone, up to rounding of sums.

        Raises
        ------
        ImageError, DeviceError
            As for one image, or if shapes differ.
        """
        for image in images:
            check_color(image)
            if image.shape != images[0].shape:
                raise ImageError(
                    f"Images of shapes {images[0].shape} and {image.shape} make no batch.",
                    "Give images of one size.",
                )
        return self._engine.run_batch(images)

    def describe(self) -> dict[str, Any]:
        """Describe how images are denoised, in plain values for JSON."""
        return {
            "weights": self.weights.origin,
            **{f"{name}_weights": each and each.origin for name, each in self._others.items()},
            "device": str(self.device),
            "precision": "fp32" if self._engine.fell_back else self.precision,
            "attention": self.settings.attention if self.weights.network.attends else None,
            "compiled": self._compiler.compiled,
            "refine": self.refine,
            **self.settings.steps,
            **{name: getattr(self.settings, name) for name in _TOLD},
            "tile": self.tile,
            "overlap": self._engine.current.overlap,
        }


def _choose_refinement(weights: LoadedWeights, settings: Settings) -> RefineKind:
    refine = settings.refine or weights.descriptor.refine
    if refine != "none" and not weights.network.blind:
        raise OptionError(
            f"The weights {weights.name} have no refinement {refine!r}: they belong to no "
            "blind-spot network.",
            "Leave out --refine, or use other --weights, such as ssbsn-photo.",
        )
    if settings.refine_passes is not None and refine not in MASKED:
        raise passes_without_r3(refine)
    return refine


def load_denoiser(
    weights: str | os.PathLike[str] | LoadedWeights | None = None,
    *,
    notify: Notify = lambda _: None,
    **settings: Any,
) -> Denoiser:
    """Load weights and make a denoiser, to be called on arrays.

    Parameters
    ----------
    weights : str, path or LoadedWeights, optional
        A name or a path; by default the default weights. Loaded ones must not be used elsewhere.
    notify : callable, optional
        Called with sentences that a user should read.
    **settings
        Fields of `Settings`, such as device or tile.

    Raises
    ------
    OptionError, WeightsError, DeviceError
        A setting makes no sense, the weights are missing or damaged, or there is no such device.
    """
    checked = Settings(**settings)
    # This notices a missing device before the weights are read.
    resolve_device(checked.device)
    if not isinstance(weights, LoadedWeights):
        weights = load_weights(weights)
    return Denoiser(weights, checked, notify)


def denoise_image(
    image: Pixels, weights: str | os.PathLike[str] | None = None, **settings: Any
) -> Pixels:
    """Denoise one image; for several, make a denoiser once with `load_denoiser`.

    See `Denoiser.__call__` for the image and the result, and `load_denoiser` for everything else.
    """
    return load_denoiser(weights, **settings)(image)
