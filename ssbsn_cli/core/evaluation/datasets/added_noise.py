"""Clean photographs with noise of a known kind and strength, the field's usual test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssbsn_cli.core.evaluation.datasets.folder import Photos, open_folder
from ssbsn_cli.core.evaluation.datasets.samples import Sample
from ssbsn_cli.core.noise.spec import NamedNoise
from ssbsn_cli.core.types import from_unit, to_unit

SYNTHETIC_NEEDS = "Give --data clean photos or folders of them, and --noise what to add to them."


@dataclass(frozen=True)
class AddedNoise:
    """What a user asks to have added to clean photographs.

    Parameters
    ----------
    text : str
        As `NamedNoise` takes it.
    seed : int
        With the same seed and name, a photograph gets the same noise, whatever else is in the
        folder.
    clipped : bool
        Whether noisy photographs are clipped and rounded like files of the clean ones' type.
        Otherwise they are floats that may leave [0, 1], as in most papers.
    """

    text: str
    seed: int = 0
    clipped: bool = True


@dataclass(frozen=True)
class Synthetic:
    """Photographs, each with noise of its own that comes again with the same seed.

    Parameters
    ----------
    photos : Photos
        Clean ones.
    added : AddedNoise
        What they get.
    """

    photos: Photos
    added: AddedNoise
    name: str = "synthetic"
    referenced: bool = True

    @property
    def title(self) -> str:
        """What people call it."""
        return f"Synthetic noise {self.added.text}"

    @property
    def protocol(self) -> str:
        """What is compared with what."""
        how = "clipped and rounded" if self.added.clipped else "neither clipped nor rounded"
        return (
            f"Every photo with noise {self.added.text} of seed {self.added.seed}, {how}, against "
            "the photo without it; not to be compared with results on real noise."
        )

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Sample]:
        noise = NamedNoise(self.added.text)
        for sample in self.photos:
            digest = hashlib.sha256(f"{self.added.seed}/{sample.name}".encode()).digest()
            rng = np.random.default_rng(list(digest))
            noisy, clean = noise.pair(to_unit(sample.noisy), rng)
            kind = sample.noisy.dtype
            if self.added.clipped:
                noisy = from_unit(np.clip(noisy, 0, 1), kind)
            yield Sample(
                sample.name,
                np.ascontiguousarray(noisy),
                (np.ascontiguousarray(from_unit(clean, kind)),),
                group=sample.group,
            )


def open_synthetic(data: Sequence[Path], added: AddedNoise) -> Synthetic:
    """Open clean photographs that get noise.

    Parameters
    ----------
    data : sequence of Path
        Photographs, or folders as `find_photos` takes them.
    added : AddedNoise
        What they get.

    Returns
    -------
    Synthetic
        In the order of the photographs.

    Raises
    ------
    OptionError
        There are no photographs, or the noise makes no sense.
    """
    # A typing error is noticed before a large folder is walked through.
    NamedNoise(added.text)
    return Synthetic(open_folder(data), added)
