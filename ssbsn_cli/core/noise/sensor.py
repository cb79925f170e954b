"""The strength of the shot and read noise of image sensors, from published measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# The number of levels between black and white in the measured 14-bit cameras.
_LEVELS = 15583


@dataclass(frozen=True)
class Sensor:
    """A sensor whose noise has variance ``shot * signal + read**2``, with black at 0, white at 1.

    At a higher ISO, a sensor has more of both kinds; `draw` draws how they are related.

    Parameters
    ----------
    slope, offset : float
        ``log(read) = slope * log(shot) + offset``.

    References
    ----------
    .. [1] A. Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for
       single-image raw-data", IEEE Transactions on Image Processing 17, 2008.
    .. [2] K. Wei et al., "A Physics-Based Noise Formation Model for Extreme Low-Light Raw
       Denoising" (ELD), CVPR 2020: large sensors of five cameras.
    .. [3] T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019: a line
       through the noise of the phones and cameras of DND.
    """

    slope: float
    offset: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sensor:
        """Draw a sensor: half of them large ones as in [2]_, half like those of [3]_."""
        if rng.random() < 0.5:
            slope = rng.uniform(0.5, 0.7)
            levels = rng.normal(1.3, 0.6)
            # Measured in levels: log(read * levels) = slope * log(shot * levels) + `levels`.
            return cls(slope, levels + (slope - 1) * math.log(_LEVELS))
        return cls(1.09, 0.6 + rng.normal(0, 0.5))

    def for_variance(self, variance: float, of_shot: float, of_read: float) -> tuple[float, float]:
        """Return the shot and read noise that give a photograph this variance.

        Parameters
        ----------
        variance : float
            Of the developed photograph, with white at 1.
        of_shot, of_read : float
            The factors by which developing multiplies ``shot`` and ``read**2``.

        Returns
        -------
        shot, read : float
            As in the class; shot is at most 1.
        """
        low, high = -30.0, 0.0
        for _ in range(30):
            middle = (low + high) / 2
            read = math.exp(2 * (self.slope * middle + self.offset))
            if math.exp(middle) * of_shot + read * of_read < variance:
                low = middle
            else:
                high = middle
        return math.exp(low), math.exp(self.slope * low + self.offset)
