"""Noise by name and strength, as given on the command line: ``white:25+jpeg:50``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.camera import Camera
from ssbsn_cli.core.noise.edits import LUMA, through_file
from ssbsn_cli.core.noise.kinds import (
    Banding,
    Floats,
    Grain,
    Impulses,
    Noise,
    Poisson,
    Speckle,
    White,
)

_Add = Callable[[Floats, np.random.Generator], Floats]


@dataclass(frozen=True)
class _Entry:
    """The meaning of a name: the unit and range of its strength, and what makes such noise."""

    unit: str
    least: float
    most: float
    make: Callable[[float], _Add]


def _of(kind: Callable[[tuple[float, float]], Noise]) -> Callable[[float], _Add]:
    return lambda strength: kind((strength, strength)).add


def _saved(extension: str) -> Callable[[float], _Add]:
    return lambda quality: (
        lambda photo, rng: through_file(np.clip(photo, 0, 1), extension, round(quality))
    )


NOISES = {
    "white": _Entry("deviation", 0, 255, _of(lambda d: White(d, 0, 0, 0))),
    "equal": _Entry("deviation, equal in all channels", 0, 255, _of(lambda d: White(d, 1, 0, 0))),
    "soft": _Entry("deviation, correlated", 0, 255, _of(lambda d: White(d, 0, 0, 1))),
    "camera": _Entry("deviation", 0.001, 255, _of(Camera)),
    "grain": _Entry("deviation", 0.001, 255, _of(Grain)),
    "banding": _Entry("deviation", 0.001, 255, _of(Banding)),
    "poisson": _Entry("photons at white", 0.1, 1e6, _of(Poisson)),
    "speckle": _Entry("deviation of the factor", 0.001, 4, _of(Speckle)),
    "impulses": _Entry("part of the pixels", 1e-6, 1, _of(lambda d: Impulses(d, 1.0, 1.0))),
    "jpeg": _Entry("quality", 1, 100, _saved(".jpg")),
    "webp": _Entry("quality", 1, 100, _saved(".webp")),
}
NEEDS = (
    "Write NAME:STRENGTH, several joined by +, such as white:25 or camera:10+jpeg:50. Names: "
    + ", ".join(f"{name} ({entry.unit})" for name, entry in NOISES.items())
    + ", and monochrome, which takes the colours away and has no strength."
)


@dataclass(frozen=True)
class NamedNoise:
    """Noise that a text describes, stage by stage.

    Parameters
    ----------
    text : str
        Such as ``white:25+jpeg:50``; see `NEEDS`. Deviations are in grey levels of 0 to 255.

    Raises
    ------
    OptionError
        A name is unknown or a strength makes no sense.
    """

    text: str

    def __post_init__(self) -> None:
        for stage in self.text.split("+"):
            _parse(stage)

    @property
    def stages(self) -> list[str]:
        """The names of the stages, in order."""
        return [stage.partition(":")[0].strip() for stage in self.text.split("+")]

    def pair(self, clean: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Add the noise to an sRGB photo; return the noisy and the clean one.

        All are (H, W, 3) float32, and `clean` is in [0, 1]. Only saving clips or rounds the noisy
        one, and only ``monochrome`` changes the clean one.
        """
        noisy = clean
        for stage in self.text.split("+"):
            add = _parse(stage)
            if add is None:
                noisy, clean = (_without_colors(picture) for picture in (noisy, clean))
            else:
                noisy = add(noisy, rng)
        return noisy, clean


def _parse(stage: str) -> _Add | None:
    """Return the function that a stage applies to the noisy picture; None for ``monochrome``."""
    name, colon, number = stage.strip().partition(":")
    if name == "monochrome" and not colon:
        return None
    if name not in NOISES:
        raise OptionError(f"There is no noise called {stage.strip()!r}.", NEEDS)
    entry = NOISES[name]
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not entry.least <= strength <= entry.most:
        raise OptionError(
            f"The strength of {name} is {number!r}.",
            f"Give its {entry.unit}: a number from {entry.least:g} to {entry.most:g}.",
        )
    return entry.make(strength)


def _without_colors(picture: Floats) -> Floats:
    return np.repeat((picture @ LUMA)[..., None], 3, axis=2)
