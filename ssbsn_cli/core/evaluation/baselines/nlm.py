"""OpenCV's non-local means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.baselines.classical import (
    Classical,
    Pixels,
    Sigmas,
    estimate_sigmas,
)
from ssbsn_cli.core.types import from_unit, to_unit

_TEMPLATE = 7
_SEARCH = 21
_STRENGTH = 1.0
# Finer than any difference of 8 bits.
_LEAST = 1e-3


class Nlm(Classical):
    """OpenCV's non-local means for colour images.

    OpenCV's documentation recommends both window sizes, but no strength for a noise level. Its
    weights are those of the original paper: ``exp(-d / h**2)`` with d the mean squared difference
    of two patches, noise included. For these, scikit-image's documentation of `denoise_nl_means`
    gives "sigma or slightly less" as a rule of thumb for h. (The factors of 0.3 to 0.55 of Buades,
    Coll, Morel: "Non-Local Means Denoising", Image Processing On Line 1, 2011, are for differences
    with the noise subtracted.) Sigma is that of the planes compared: the lightness and the two
    colours of CIELAB, computed as if the image were linear, where dark parts have much more noise.

    References
    ----------
    Buades, Coll, Morel: "A non-local algorithm for image denoising", CVPR 2005. The colour space:
    ``modules/photo/src/denoising.cpp`` in https://github.com/opencv/opencv.
    """

    name = "nlm"
    title = "OpenCV NLM"
    about = (
        f"OpenCV's fastNlMeansDenoisingColored, templates of {_TEMPLATE} and a search window of "
        f"{_SEARCH} pixels, h and hColor {_STRENGTH:g} times the noise level of the CIELAB planes "
        "that it filters; images are rounded to 8 bits first, since it takes no others."
    )
    constants: Mapping[str, Any] = {
        "template_window": _TEMPLATE,
        "search_window": _SEARCH,
        "strength_per_sigma": _STRENGTH,
        "least_strength": _LEAST,
        "bits": 8,
        "opencv": cv2.__version__,
    }

    def remove_noise(self, image: Pixels, _sigmas: Sigmas) -> NDArray[Any]:
        """Denoise an image, in 8 bits."""
        rgb = from_unit(image.astype(np.float32), np.dtype(np.uint8))
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        planes = cv2.cvtColor(bgr, cv2.COLOR_LBGR2Lab)
        sigmas = 255 * estimate_sigmas(to_unit(planes))
        # It divides by their squares, and the colours of grey photos have no noise.
        lightness, colour = (
            max(_STRENGTH * float(sigma), _LEAST) for sigma in (sigmas[0], sigmas[1:].mean())
        )
        result = cv2.fastNlMeansDenoisingColored(bgr, None, lightness, colour, _TEMPLATE, _SEARCH)
        return to_unit(result[..., ::-1])
