"""The methods that are compared: networks, classical denoisers, and the noisy photo itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.datasets.samples import number_alike
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.settings import STEPS
from ssbsn_cli.core.noise.white import LEAST_DETAIL, WAVELET, estimate_sigmas
from ssbsn_cli.core.report.evaluation import NOISY
from ssbsn_cli.core.types import to_unit

Doubles = NDArray[np.float64]

_WARM_UP = 128
_EXTENSIONS = (".safetensors", ".pth")


class Method(ABC):
    """A way to denoise."""

    #: Unique, and usable as the name of a folder.
    name: str
    #: For tables.
    title: str
    #: Whether its time is measured.
    timed: ClassVar[bool] = True

    @property
    @abstractmethod
    def description(self) -> str:
        """What it is, in a sentence or two."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Everything that its results depend on, as plain values."""

    @abstractmethod
    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Denoise (H, W, 3) images of one size; return them as floats with white at 1."""

    def settings_for(self, _height: int, _width: int) -> Mapping[str, Any]:
        """Return `settings` without those that do not affect images of this size."""
        return self.settings

    def batch_size(self, _height: int, _width: int) -> int:
        """Return how many images of this size to denoise at once."""
        return 1

    def warm_up(self, _image: NDArray[Any]) -> None:  # noqa: B027 - most need none
        """Do the work that only the first run needs, on a sample image."""


class Noisy(Method):
    """The noisy photo itself."""

    name = NOISY
    title = "noisy input"
    timed = False
    description = "The photos as they are."
    settings: Mapping[str, Any] = {}

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Return the images."""
        return [to_unit(image) for image in images]


class Learned(Method):
    """Weights and how they are run; `name` is the name of its row in tables."""

    def __init__(self, denoiser: Denoiser, name: str) -> None:
        self.name = self.title = name
        self._denoiser = denoiser
        self._warm = False

    @property
    def description(self) -> str:
        """How the weights are run."""
        now = self.settings
        words = [f"refine {now['refine']}"] if self._denoiser.weights.network.blind else []
        words += [f"{now['attention']} attention"] if now["attention"] else []
        words.append(str(now["precision"]))
        words.append(f"tiles of {now['tile']}" if now["tile"] else "whole images")
        used = [name for name in (*STEPS, "ensemble", "compiled") if now[name]]
        words += [name.replace("_", " ") for name in used]
        return f"{', '.join(words)}, on {now['device']}."

    @property
    def settings(self) -> Mapping[str, Any]:
        """Weights, device, and the options of denoising."""
        return {**self._denoiser.describe(), "compile": self._denoiser.settings.compile}

    def settings_for(self, height: int, width: int) -> Mapping[str, Any]:
        """Return `settings`, without the tiles if one holds the whole image."""
        settings = dict(self.settings)
        # Whether the network is compiled yet does not matter for this image.
        del settings["compiled"]
        # "auto" depends on the free memory, which differs from run to run.
        if max(height, width) <= settings["tile"]:
            settings |= {"tile": 0, "overlap": 0}
        return settings

    def batch_size(self, height: int, width: int) -> int:
        """Return how many images fit into the memory that tiles are planned for."""
        return self._denoiser.batch_size(height, width)

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Denoise the images together."""
        return self._denoiser.denoise_batch(images)

    def warm_up(self, image: NDArray[Any]) -> None:
        """Run on a part of the image, only the first time."""
        if not self._warm:
            self._denoiser(image[:_WARM_UP, :_WARM_UP])
            self._warm = True


class Classical(Method):
    """A denoiser without learning; subclasses set `name`, `title`, `about` and `constants`.

    All are made for white Gaussian noise, and need its standard deviation. Real noise is correlated
    between pixels, so the estimate is too low and much of the noise remains. This is not corrected.
    """

    #: What it is, with its settings.
    about: str
    #: Every constant, and the versions of the libraries, as plain JSON values.
    constants: Mapping[str, Any]

    @abstractmethod
    def remove_noise(self, image: Doubles, sigmas: Doubles) -> NDArray[Any]:
        """Denoise (H, W, 3) with white at 1, given the noise level of each channel."""

    @property
    def description(self) -> str:
        """What it is, its settings, and the source of its noise level."""
        return (
            f"{self.about} The noise level is estimated from the photo's finest wavelet details, "
            "which is too low where noise is correlated from pixel to pixel, as in most photos; "
            "this is not corrected."
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that the results depend on: the constants, and how the noise is estimated."""
        return {
            **self.constants,
            "estimate": f"median of {WAVELET} details",
            "least_detail": LEAST_DETAIL,
            "pywavelets": version("PyWavelets"),
        }

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Denoise one image after the other."""
        return [self.denoise(image) for image in images]

    def denoise(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Denoise (H, W, 3) of uint8, uint16, or floats with white at 1; return float32 in [0, 1].

        If no noise is found, because the image is constant or too small, it is only converted.
        """
        unit = to_unit(image)
        sigmas = estimate_sigmas(unit)
        result = self.remove_noise(unit.astype(np.float64), sigmas) if sigmas.any() else unit
        return np.clip(result, 0, 1).astype(np.float32)


def name_rows(weights: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Name rows by their weights; the name of a path is its last part without extension.

    Equal names, and names `taken` by other rows, are numbered.
    """
    paths = [Path(weight) for weight in weights]
    names = [path.stem if path.suffix in _EXTENSIONS else path.name for path in paths]
    fit = ["".join(c if c.isalnum() or c in "-_.+" else "_" for c in name) for name in names]
    return number_alike([name or "weights" for name in fit], taken)
