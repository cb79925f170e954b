"""scikit-image's minimisation of the total variation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_tv_chambolle

from ssbsn_cli.core.evaluation.baselines.classical import Classical, Pixels, Sigmas

# A tenth of scikit-image's default, which stops so early that the residual misleads.
_EPS = 2e-5
_ITERATIONS = 200
_TOLERANCE = 0.05
_UPDATES = 10


class Tv(Classical):
    """scikit-image's minimisation of the total variation.

    Its documentation does not say how to choose the weight. Chambolle does: such that what is
    removed has the standard deviation of the noise.

    References
    ----------
    Chambolle: "An algorithm for total variation minimization and applications", Journal of
    Mathematical Imaging and Vision 20, 2004, section 4: the weight is multiplied by the wanted
    over the actual standard deviation until they agree.
    """

    name = "tv"
    title = "scikit-image TV (Chambolle)"
    about = (
        "scikit-image's denoise_tv_chambolle, each channel alone, with the weight chosen as in "
        "Chambolle 2004: the standard deviation of what is removed is that of the noise, "
        f"to {_TOLERANCE:.0%}."
    )
    constants: Mapping[str, Any] = {
        "eps": _EPS,
        "max_num_iter": _ITERATIONS,
        "tolerance": _TOLERANCE,
        "max_updates": _UPDATES,
        "scikit-image": version("scikit-image"),
    }

    def remove_noise(self, image: Pixels, sigmas: Sigmas) -> NDArray[Any]:
        """Denoise each channel that has noise."""
        result = image.copy()
        for channel in np.flatnonzero(sigmas):
            result[..., channel] = _minimise_variation(image[..., channel], float(sigmas[channel]))
        return result


def _minimise_variation(plane: Pixels, sigma: float) -> Pixels:
    weight = sigma
    for _ in range(_UPDATES):
        result: Pixels = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
            plane, weight=weight, eps=_EPS, max_num_iter=_ITERATIONS
        )
        removed = float(np.sqrt(np.mean((result - plane) ** 2)))
        if abs(removed / sigma - 1) <= _TOLERANCE:
            break
        weight *= sigma / removed
    return result
