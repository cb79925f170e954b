"""What is compared: networks, classical denoisers, and the noisy photograph itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.datasets.samples import number_alike
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.types import to_unit

NOISY = "noisy"
_WARM_UP = 128


class Method(ABC):
    """A way to denoise."""

    #: Unique, and fit to be the name of a folder.
    name: str
    #: For tables.
    title: str
    #: What the cache calls methods of this sort; two with equal settings give equal results.
    kind: ClassVar[str]
    #: Whether it takes any time.
    timed: ClassVar[bool] = True

    @property
    @abstractmethod
    def description(self) -> str:
        """What it is, in a sentence or two."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """All that its results depend on, as plain values."""

    @abstractmethod
    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Denoise (H, W, 3) images of one size; return them as floats with white at 1."""

    def settings_for(self, _height: int, _width: int) -> Mapping[str, Any]:
        """Return `settings`, less those that make no difference to images of a size."""
        return self.settings

    def batch_size(self, _height: int, _width: int) -> int:
        """Return how many images of a size it best takes at once."""
        return 1

    def warm_up(self, _image: NDArray[Any]) -> None:  # noqa: B027 - most need none
        """Do what only the first run takes time for, with an image to try it on."""


class Noisy(Method):
    """The noisy photograph itself."""

    name = NOISY
    title = "noisy input"
    kind = "Noisy"
    timed = False
    description = "The photographs as they are."
    settings: Mapping[str, Any] = {}

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Return the images."""
        return [to_unit(image) for image in images]


class Learned(Method):
    """Weights and how they are run; `name` is that of the row in tables."""

    kind = "Learned"

    def __init__(self, denoiser: Denoiser, name: str) -> None:
        self.name = self.title = name
        self._denoiser = denoiser
        self._warm = False

    @property
    def description(self) -> str:
        """How the weights are run."""
        now = self.settings
        words = [str(now["precision"])]
        if now["attention"]:
            words = [f"refine {now['refine']}", f"{now['attention']} attention", *words]
        words.append(f"tiles of {now['tile']}" if now["tile"] else "whole images")
        words += [word for word in ("detail", "ensemble", "compiled") if now[word]]
        return f"{', '.join(words)}, on {now['device']}."

    @property
    def settings(self) -> Mapping[str, Any]:
        """Weights, device, and the options of denoising."""
        chosen = self._denoiser.settings
        return {
            **self._denoiser.describe(),
            "compile": chosen.compile,
            "refine_passes": chosen.refine_passes,
            "ensemble": chosen.ensemble,
            "strength": chosen.strength,
            "seed": chosen.seed,
        }

    def settings_for(self, height: int, width: int) -> Mapping[str, Any]:
        """Return `settings`, without the tiles if one holds the whole image."""
        settings = dict(self.settings)
        # Whether anything is compiled yet does not matter to this image.
        del settings["compiled"]
        # "auto" depends on the free memory, which differs from run to run.
        if max(height, width) <= settings["tile"]:
            settings |= {"tile": 0, "overlap": 0}
        return settings

    def batch_size(self, height: int, width: int) -> int:
        """Return how many images fit into the memory that tiles are planned for."""
        return self._denoiser.batch_size(height, width)

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Denoise the images together if they are small."""
        height, width = images[0].shape[:2]
        if self.batch_size(height, width) > 1:
            return self._denoiser.denoise_batch(images)
        # As floats, since rounding is a part of scoring.
        return [self._denoiser(to_unit(image)) for image in images]

    def warm_up(self, image: NDArray[Any]) -> None:
        """Run on a part of the image, the first time."""
        if not self._warm:
            self._denoiser(to_unit(image[:_WARM_UP, :_WARM_UP]))
            self._warm = True


def name_rows(weights: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Name rows by their weights; for a path, its last part without extension counts.

    Names that are equal, or `taken` by other rows, are numbered.
    """
    paths = [Path(weight) for weight in weights]
    names = [path.stem if path.suffix else path.name for path in paths]
    fit = ["".join(c if c.isalnum() or c in "-_.+" else "_" for c in name) for name in names]
    return number_alike([name or "weights" for name in fit], taken)
