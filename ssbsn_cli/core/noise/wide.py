"""Every kind of noise in one recipe for pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.camera import Camera
from ssbsn_cli.core.noise.edits import Edits, through_file
from ssbsn_cli.core.noise.kinds import (
    Banding,
    Floats,
    Grain,
    Impulses,
    Noise,
    Poisson,
    Speckle,
    White,
    log_uniform,
)
from ssbsn_cli.core.noise.lifted import LiftedNoise
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.types import from_unit, to_unit

# How often black and white stand for darker and brighter light.
_BEYOND = 0.7
_KINDS: dict[str, Noise] = {
    # Noise that is correlated between channels, as it mostly is in real photos.
    "camera": Camera(
        mosaic=0.7,
        differences=0.5,
        smoothed=0.65,
        beyond=_BEYOND,
        toned=0.9,
        contrast=(-0.3, 0.98),
        power=0.7,
        gamma=(1.0, 2.4),
    ),
    # Noise whose channels hardly correlate, as it is without smoothed colour differences.
    "plain_camera": Camera(),
    "white": White(),
    # Without noise that is alike in neighbours.
    "plain_white": White(equal=0.1, coupled=0.1, blurred=0.0),
    "grain": Grain(),
    "poisson": Poisson(),
    "speckle": Speckle(),
    "impulses": Impulses(),
    "banding": Banding(),
}
# Pictures that need no denoising: a photo, one with the grain of a good scan, a drawing.
STAY = ("clean", "grained", "drawing")
# How often each kind is a picture's main noise.
SHARES = {
    "clean": 0.09,
    "grained": 0.05,
    "drawing": 0.03,
    "camera": 0.5,
    "plain_camera": 0.0,
    "lifted": 0.1,
    "white": 0.14,
    "plain_white": 0.0,
    "grain": 0.03,
    "poisson": 0.02,
    "speckle": 0.01,
    "impulses": 0.02,
    "banding": 0.01,
}
# The grain of scanned film: half of Kodak24's clean photos have at most about 2 grey levels of
# it where they are flat, and neighbours correlate by 0.3. In cameras' JPEGs they correlate by 0.6.
_FINE_GRAIN = Grain(deviation=(0.5, 2.5), size=(0.3, 0.55))
# Lifted noise is multiplied by a factor in this range: the real photos have little noise.
_LIFTED_FACTOR = (0.5, 8.0)
# Additional noise, and the fraction of pictures that get it.
_BESIDES: list[tuple[float, Noise]] = [
    (0.06, White(deviation=(2, 15))),
    (0.03, Impulses(density=(2e-4, 1e-2))),
    (0.04, Banding(deviation=(0.3, 4))),
    (0.03, Grain(deviation=(6, 16))),
]


class Wide:
    """Random combinations of all kinds of noise, as they occur in practice.

    A clean picture (`Scenes`) gets one kind of noise, and sometimes more. It is rounded to 8 bits,
    edited and saved again (`Edits`).

    Parameters
    ----------
    scenes : Scenes
        The source of clean pictures.
    edits : Edits
        The edits of noisy pictures.
    shares : mapping of str to float, optional
        How often each kind is drawn, relative to the others; by default its share in `SHARES`.
    lifted : sequence of LiftedNoise
        The noise of real photos. If it is empty, the other kinds are drawn instead.
    odds : sequence of float, optional
        How often each of `lifted` is drawn, relative to the others; equally often by default.
    edited : float
        Fraction of the pictures that may get a second kind of noise and edits.

    Raises
    ------
    OptionError
        A kind is unknown, or no share is above 0.

    References
    ----------
    .. [1] K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
       Super-Resolution" (BSRGAN), ICCV 2021, and "Practical Blind Image Denoising via
       Swin-Conv-UNet and Data Synthesis" (SCUNet), Machine Intelligence Research 2023, for random
       combinations.
    """

    def __init__(
        self,
        scenes: Scenes,
        edits: Edits,
        shares: Mapping[str, float] | None = None,
        lifted: Sequence[LiftedNoise] = (),
        odds: Sequence[float] | None = None,
        edited: float = 1.0,
    ) -> None:
        named = SHARES | dict(shares or {})
        if unknown := sorted(set(named) - set(SHARES)):
            raise OptionError(
                f"There is no kind of noise called {unknown[0]}.",
                f"The kinds are {', '.join(SHARES)}.",
            )
        if not lifted:
            named["lifted"] = 0.0
        if min(named.values()) < 0 or not sum(named.values()) > 0:
            raise OptionError(
                "The shares of the kinds of noise are below 0 or all 0.",
                "Give numbers from 0, at least one of them above 0.",
            )
        self._scenes = scenes
        self._edits = edits
        self._names = list(named)
        self._odds = _odds(list(named.values()))
        self._edited = edited
        self._lifted = lifted
        # Never drawn from if there is none.
        self._lifted_odds = _odds(odds or [1.0] * max(len(lifted), 1))

    def pair(self, source: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Make a noisy and a clean picture from a part of a clean photo.

        Parameters
        ----------
        source : array
            (3, 2 H, 2 H) float32 in [0, 1], sRGB; twice as large, since it may be halved.
        rng : numpy.random.Generator
            The same generator state gives the same result.

        Returns
        -------
        noisy, clean : array
            (3, H, H) float32 in [0, 1].
        """
        side = source.shape[1] // 2
        # Without a choice, no number is drawn, so that recipes keep their pictures.
        edited = self._edited == 1 or rng.random() < self._edited
        scale = self._edits.scale(rng) if edited else 1.0
        # A little more than needed, since noise is wrong at the edges.
        needed = min(math.ceil(side / scale) + (8 if scale != 1 else 0), 2 * side)
        kind = self._names[rng.choice(len(self._names), p=self._odds)]
        if kind == "drawing":
            clean = self._scenes.draw_on(source.transpose(1, 2, 0), needed, rng)
        else:
            clean = self._scenes.draw(source.transpose(1, 2, 0), needed, rng)
        if kind == "grained":
            clean = np.clip(_FINE_GRAIN.add(clean, rng), 0, 1)
        noisy = clean if kind in STAY else self._noisy(kind, clean, rng, edited)
        if edited:
            noisy, clean = self._edits.apply(_rounded(noisy, rng), clean, side, scale, rng)
        return _channels_first(_rounded(noisy, rng)), _channels_first(clean)

    def _noisy(self, kind: str, clean: Floats, rng: np.random.Generator, edited: bool) -> Floats:
        if kind == "lifted":
            lifted = self._lifted[rng.choice(len(self._lifted), p=self._lifted_odds)]
            factor = log_uniform(_LIFTED_FACTOR, rng)
            noisy = lifted.add(clean, rng, factor, beyond=rng.random() < _BEYOND)
        else:
            noisy = _KINDS[kind].add(clean, rng)
        for often, other in _BESIDES if edited else ():
            if rng.random() < often:
                noisy = other.add(np.clip(noisy, 0, 1), rng)
        noisy = np.clip(noisy, 0, 1)
        # Cameras save JPEGs themselves, before any edits.
        if kind in ("camera", "plain_camera") and rng.random() < 0.4:
            noisy = through_file(noisy, ".jpg", int(rng.integers(75, 99)), rng)
        return noisy


def _odds(shares: Sequence[float]) -> NDArray[np.float64]:
    """Return shares that add up to 1."""
    odds = np.array(shares, np.float64)
    return np.asarray(odds / odds.sum(), np.float64)


def _rounded(picture: Floats, rng: np.random.Generator) -> Floats:
    """Round most pictures to 8 bits per channel: few programs keep more."""
    if rng.random() < 0.95:
        return to_unit(from_unit(picture, np.dtype(np.uint8)))
    return picture


def _channels_first(picture: Floats) -> Floats:
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)
