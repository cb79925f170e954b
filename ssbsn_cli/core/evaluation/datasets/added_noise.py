"""Clean photos with noise of a known kind and strength, the field's usual test."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ssbsn_cli.core.data.draws import NOISE, philox
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.photo_files import open_folder
from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Sample
from ssbsn_cli.core.noise.spec import NamedNoise
from ssbsn_cli.core.types import from_unit, to_unit

SYNTHETIC_NEEDS = "Give --data clean photos or folders of them, and --noise what to add to them."
# All ship inside scikit-image's wheel. Astronaut (NASA) and rocket (SpaceX) are in the public
# domain; chelsea (Stefan van der Walt) and coffee (Rachel Michetti) are CC0.
_PHOTOS = {
    "astronaut.png": (40, 60),
    "chelsea.png": (20, 110),
    "coffee.png": (70, 180),
    "rocket.jpg": (100, 190),
}
_SIZE = 256
# By the names of their samples. The noise of grey photos keeps traces of a mosaic.
_NOISES = {
    "weak": "camera:6",
    "medium": "camera:14",
    "strong": "camera:30",
    "white": "white:25",
    "grey": "camera:14+monochrome",
}
_SEED = 0

# Noise that comes from saving in 8 bits.
_ROUNDING = ("jpeg", "webp")


@dataclass(frozen=True)
class AddedNoise:
    """Noise that is added to clean photos.

    Parameters
    ----------
    text : str
        As for `NamedNoise`.
    seed : int
        Only the seed and the name of a photo decide its random numbers.
    clipped : bool
        Whether noisy photos are clipped and rounded like files of the clean ones' type.
        Otherwise, they are floats that may leave [0, 1], as in most papers.
    """

    text: str
    seed: int = 0
    clipped: bool = True


def open_synthetic(data: Sequence[Path], added: AddedNoise) -> Dataset:
    """Open clean photos, or folders of them, and add noise to them.

    Raises
    ------
    OptionError
        There are no photos, or the noise makes no sense.
    """
    # Notice what makes no sense before a large folder is searched.
    stages = NamedNoise(added.text).stages
    if not added.clipped and stages[-1] in _ROUNDING:
        raise OptionError(
            f"The result of {added.text} is always clipped and rounded.", "Drop --unclipped."
        )
    photos = open_folder(data, "clean")
    how = "clipped and rounded after that" if added.clipped else "not clipped or rounded after that"
    clean = "photo without it"
    if "monochrome" in stages:
        clean += ", whose colours are taken away, too"
    comparison = (
        f"Every photo with noise {added.text} of seed {added.seed}, {how}, against the {clean}; "
        "not to be compared with results on real noise."
    )
    title = f"Synthetic noise {added.text}"
    return Dataset("synthetic", title, comparison, True, len(photos), partial(_read, photos, added))


def _read(photos: Dataset, added: AddedNoise) -> Iterator[Sample]:
    noise = NamedNoise(added.text)
    for sample in photos:
        digest = hashlib.sha256(os.fsencode(f"{added.seed}/{sample.name}")).digest()
        noisy, clean = noise.pair(to_unit(sample.noisy), np.random.default_rng(list(digest)))
        kind = sample.noisy.dtype
        if added.clipped:
            noisy = from_unit(np.clip(noisy, 0, 1), kind)
        yield Sample(
            sample.name,
            np.ascontiguousarray(noisy),
            (np.ascontiguousarray(from_unit(clean, kind)),),
            group=sample.group,
        )


def open_demo(data: Sequence[Path] = ()) -> Dataset:
    """Open parts of four photos, each with noise of several kinds, for trying things out.

    Raises an OptionError if there is `data`, since it needs none.
    """
    if data:
        raise OptionError("The data set demo brings its own photos.", "Drop --data.")
    comparison = (
        "Parts of 256x256 pixels of four photos, each with synthetic noise of a camera, weak, "
        "medium, strong and without colours, and with white noise of deviation 25, against the "
        "parts without it; not to be compared with results on real noise."
    )
    return Dataset("demo", "Demo", comparison, True, len(_PHOTOS) * len(_NOISES), _read_demo)


def _read_demo() -> Iterator[Sample]:
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
                # The same random colours and blur at every strength.
                rng = np.random.Generator(philox(_SEED, number, NOISE))
                noisy, reference = (
                    np.ascontiguousarray(from_unit(each, clean.dtype))
                    for each in NamedNoise(text).pair(to_unit(clean), rng)
                )
                yield Sample(f"{Path(file).stem}_{kind}", noisy, (reference,))
