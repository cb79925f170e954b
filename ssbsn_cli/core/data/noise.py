"""Noise as cameras make it, put on photographs that have none."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.srgb import from_srgb, rounded, through_jpeg, to_srgb

_Range = tuple[float, float]

_RADIUS = 3
# Below this, shot noise is nowhere near a grey level, and Poisson numbers are too large to draw.
_NO_SHOT = 1e-9


@dataclass(frozen=True)
class NoiseModel:
    """A camera that sees a clean photograph and makes a noisy one.

    The photograph is taken back to light as a sensor counts it: without the sRGB curve and the
    gains of the white balance. There, noise depends on the light: photons come as Poisson says,
    and reading them out adds noise of its own [1]_. It is smeared, as it is by demosaicing and
    denoising, and developed again [2]_. Only the noise is: where there is none, the photograph
    comes back as it was, but for its rounding to 8 bits.

    Every range is of what one photograph may get, at random.

    Parameters
    ----------
    shot : (float, float)
        Variance of the shot noise of white, where white is 1; log-uniform. 0 and 0 is none.
    read : (float, float)
        Standard deviation of the read noise, likewise. Both come from the same place of their
        ranges: a high ISO has more of both.
    red_gain, blue_gain : (float, float)
        Of the white balance, at least 1; uniform.
    blur : (float, float)
        Standard deviation of the Gaussian that smears the noise, but keeps its strength, in
        pixels up to 1; uniform. The default makes neighbours correlate by 0.44 to 0.70, and
        pixels two apart by 0.06 to 0.24, where noise is stronger than rounding. 0 and 0 is none.
    jpeg_quality : (int, int), optional
        Of a JPEG that the noisy photograph is saved as, 1 to 100; uniform. None is no JPEG.

    Raises
    ------
    OptionError
        A range makes no sense.

    References
    ----------
    .. [1] A. Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for
       single-image raw-data", IEEE Transactions on Image Processing 17, 2008.
    .. [2] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019. The
       defaults of `shot`, `read` and the gains are near those of this paper.
    """

    shot: _Range = (1e-4, 1.2e-2)
    read: _Range = (8e-5, 1.5e-2)
    red_gain: _Range = (1.9, 2.4)
    blue_gain: _Range = (1.5, 1.9)
    blur: _Range = (0.6, 0.84)
    jpeg_quality: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        lowest = {"red_gain": 1, "blue_gain": 1, "jpeg_quality": 1}
        highest = {"red_gain": 16, "blue_gain": 16, "jpeg_quality": 100}
        for field in fields(self):
            if (bounds := getattr(self, field.name)) is None:
                continue
            low, high = bounds
            least, most = lowest.get(field.name, 0), highest.get(field.name, 1)
            # A range from 0 has no logarithm.
            log_of_zero = field.name in ("shot", "read") and low == 0 < high
            if not least <= low <= high <= most or log_of_zero:
                name = field.name.replace("_", " ")
                raise OptionError(
                    f"The {name} of the noise is from {low} to {high}.",
                    f"Give the lower number first, and none below {least} or above {most}"
                    + (", and both 0 or none." if log_of_zero else "."),
                )

    def synthesise(
        self, clean: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Make a noisy photograph of a clean one.

        Parameters
        ----------
        clean : numpy.ndarray
            (3, H, W) float32 in [0, 1], sRGB.
        rng : numpy.random.Generator
            Decides everything: by the same, the same comes out.

        Returns
        -------
        numpy.ndarray
            (3, H, W) float32 in [0, 1], sRGB, multiples of 1/255, C-contiguous.
        """
        iso = rng.random()
        shot, read = (low ** (1 - iso) * high**iso for low, high in (self.shot, self.read))
        gains = np.array([rng.uniform(*self.red_gain), 1, rng.uniform(*self.blue_gain)])
        blur = rng.uniform(*self.blur)
        light = from_srgb(np.asarray(clean, np.float64)) / gains[:, None, None]
        light += _smeared(_noise(light, shot, read, rng), blur)
        noisy = rounded(to_srgb(light * gains[:, None, None]))
        if self.jpeg_quality is not None:
            low, high = self.jpeg_quality
            noisy = through_jpeg(noisy, int(rng.integers(low, high, endpoint=True)))
        return noisy


def _noise(
    light: NDArray[np.float64], shot: float, read: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise for the light and a margin of `_RADIUS` around it."""
    light = np.pad(light, [(0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS)], mode="edge")
    noise = read * rng.standard_normal(light.shape)
    if shot > _NO_SHOT:
        noise += rng.poisson(light / shot) * shot - light
    return noise


def _smeared(noise: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
    """Blur noise without weakening it, and take its margin off."""
    places = np.arange(-_RADIUS, _RADIUS + 1)
    # As narrow as the smallest blur is, this is a single 1.
    kernel = np.exp(-0.5 * (places / max(blur, 0.01)) ** 2)
    # The sum of squares is what keeps a variance.
    kernel /= math.sqrt(kernel @ kernel)
    for axis in (1, 2):
        size = noise.shape[axis] - 2 * _RADIUS
        noise = sum(
            weight * np.take(noise, range(start, start + size), axis)
            for start, weight in enumerate(kernel)
        )
    return noise
