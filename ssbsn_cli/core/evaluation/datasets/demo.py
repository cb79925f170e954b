"""A data set for trying things out: noise as cameras make it, on photographs free to use."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssbsn_cli.core.data.draws import NOISE, philox
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample
from ssbsn_cli.core.noise.spec import NamedNoise
from ssbsn_cli.core.types import from_unit, to_unit

# All ship inside scikit-image's wheel. Astronaut (NASA) and rocket (SpaceX) are in the public
# domain; chelsea (Stefan van der Walt) and coffee (Rachel Michetti) are CC0.
_PHOTOS = {
    "astronaut.png": (40, 60),
    "chelsea.png": (20, 110),
    "coffee.png": (70, 180),
    "rocket.jpg": (100, 190),
}
_SIZE = 256
# By what their samples are called. Grey photographs keep the traces of a mosaic in their noise.
_NOISES = {
    "weak": "camera:6",
    "medium": "camera:14",
    "strong": "camera:30",
    "white": "white:25",
    "grey": "camera:14+monochrome",
}
_SEED = 0


@dataclass(frozen=True)
class Demo:
    """Parts of four photographs, each with noise of several kinds."""

    name: str = "demo"
    title: str = "Demo"
    referenced: bool = True
    protocol: str = (
        "Parts of 256x256 pixels of four photos, each with synthetic noise of a camera, weak, "
        "medium, strong and without colours, and with white noise of deviation 25, against the "
        "parts without it; not to be compared with results on real noise."
    )

    def __len__(self) -> int:
        return len(_PHOTOS) * len(_NOISES)

    def __iter__(self) -> Iterator[Sample]:
        with importlib.resources.as_file(importlib.resources.files("skimage.data")) as folder:
            for number, (file, (top, left)) in enumerate(_PHOTOS.items()):
                if not (folder / file).is_file():
                    raise OptionError(
                        f"scikit-image has no {file} here.",
                        "Install it anew with: pip install --force-reinstall scikit-image",
                    )
                part = np.s_[top : top + _SIZE, left : left + _SIZE]
                clean = np.ascontiguousarray(read_pixels(folder / file)[part])
                for kind, text in _NOISES.items():
                    # The same colours and the same smear at every strength.
                    rng = np.random.Generator(philox(_SEED, number, NOISE))
                    noisy, reference = NamedNoise(text).pair(to_unit(clean), rng)
                    pictures = [from_unit(each, clean.dtype) for each in (noisy, reference)]
                    noisy, reference = (np.ascontiguousarray(each) for each in pictures)
                    yield Sample(f"{Path(file).stem}_{kind}", noisy, (reference,))
