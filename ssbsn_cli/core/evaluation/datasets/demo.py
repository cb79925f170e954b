"""A data set for trying things out: noise as cameras make it, on photographs free to use."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssbsn_cli.core.data.draws import NOISE, philox
from ssbsn_cli.core.data.noise import NoiseModel
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample

# All ship inside scikit-image's wheel. Astronaut (NASA) and rocket (SpaceX) are in the public
# domain; chelsea (Stefan van der Walt) and coffee (Rachel Michetti) are CC0.
_PHOTOS = {
    "astronaut.png": (40, 60),
    "chelsea.png": (20, 110),
    "coffee.png": (70, 180),
    "rocket.jpg": (100, 190),
}
_SIZE = 256
# Of the range that `NoiseModel` has by default: its middle, three quarters up, and its top.
_STRENGTHS = {"weak": (1.1e-3, 1.1e-3), "medium": (3.6e-3, 4.1e-3), "strong": (1.2e-2, 1.5e-2)}
_SEED = 0


@dataclass(frozen=True)
class Demo:
    """Parts of four photographs, each with weak, medium and strong noise."""

    name: str = "demo"
    title: str = "Demo"
    referenced: bool = True
    protocol: str = (
        "Parts of 256x256 pixels of four photos with synthetic noise of three strengths, against "
        "the parts without it; not to be compared with results on real noise."
    )

    def __len__(self) -> int:
        return len(_PHOTOS) * len(_STRENGTHS)

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
                fractions = np.ascontiguousarray(clean.transpose(2, 0, 1), np.float32)
                fractions /= 255
                for strength, (shot, read) in _STRENGTHS.items():
                    model = NoiseModel(shot=(shot, shot), read=(read, read))
                    # The same colours and the same smear at every strength.
                    rng = np.random.Generator(philox(_SEED, number, NOISE))
                    noisy = np.rint(model.synthesise(fractions, rng) * 255).astype(np.uint8)
                    name = f"{Path(file).stem}_{strength}"
                    yield Sample(name, np.ascontiguousarray(noisy.transpose(1, 2, 0)), (clean,))
