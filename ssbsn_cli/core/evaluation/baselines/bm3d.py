"""The authors' BM3D."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.baselines.classical import LEAST_DETAIL, Classical, Pixels, Sigmas

_COLORSPACE = "opp"
# Its blocks are of 8x8 pixels; it refuses images below, and crashes at just that size.
_SMALLEST = 16


class Bm3d(Classical):
    """BM3D as its authors distribute it.

    Raises
    ------
    OptionError
        The package bm3d is not installed or does not load.

    References
    ----------
    Dabov, Foi, Katkovnik, Egiazarian: "Image denoising by sparse 3-D transform-domain
    collaborative filtering", IEEE Transactions on Image Processing 16, 2007, and Mäkinen, Azzari,
    Foi: "Collaborative filtering of correlated noise", IEEE Transactions on Image Processing 29,
    2020, whose code it is.
    """

    name = "bm3d"
    title = "BM3D"
    about = (
        "BM3D for colour images as its authors distribute it (bm3d_rgb of the package bm3d), "
        "profile np, opponent colours, with the noise level of each channel."
    )

    def __init__(self) -> None:
        try:
            self._library = importlib.import_module("bm3d")
        # It loads a binary, which not every machine can.
        except (ImportError, OSError) as error:
            raise OptionError(
                "The baseline bm3d needs the package bm3d, which is not installed or does not "
                "load.",
                "Install it with: pip install 'ssbsn[bm3d]' (its licence is for non-commercial "
                "use only).",
            ) from error
        self.constants = {
            "profile": "np",
            "colorspace": _COLORSPACE,
            "threads": 1,
            "smallest": _SMALLEST,
            "bm3d": version("bm3d"),
            "bm4d": version("bm4d"),
        }

    def remove_noise(self, image: Pixels, sigmas: Sigmas) -> NDArray[Any]:
        """Denoise an image; its channels one by one if opponent colours are constant."""
        height, width = image.shape[:2]
        missing = [(0, max(0, _SMALLEST - side)) for side in (height, width)]
        padded = np.pad(image, [*missing, (0, 0)], "symmetric")
        profile = self._library.BM3DProfile()
        # With more, the order of sums differs each time.
        profile.num_threads = 1
        if _fills_opponents(padded):
            result = self._library.bm3d_rgb(padded, list(sigmas), profile, _COLORSPACE)
        else:
            result = padded.copy()
            for channel in np.flatnonzero(sigmas):
                plane = self._library.bm3d(padded[..., channel], float(sigmas[channel]), profile)
                result[..., channel] = plane
        cropped: NDArray[Any] = result[:height, :width]
        return cropped


def _fills_opponents(image: Pixels) -> bool:
    """Tell whether all three opponent colours vary; bm3d divides by their ranges."""
    red, green, blue = np.moveaxis(image, -1, 0)
    planes = (red + green + blue, red - blue, red - 2 * green + blue)
    return all(np.ptp(plane) > LEAST_DETAIL for plane in planes)
