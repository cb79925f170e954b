"""Classical denoisers, to see what networks are worth.

All of them are made for white Gaussian noise and want to know its standard deviation. They get it
from the photograph alone, as `estimate_sigmas` reads it. Noise of real photographs is correlated
from pixel to pixel, so that the estimate is low and much of the noise stays. That is how these
methods do on real photographs, and nothing here makes up for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.baseline import (
    ESTIMATED,
    LEAST_DETAIL,
    Baseline,
    Pixels,
    Sigmas,
    estimate_settings,
    estimate_sigmas,
)
from ssbsn_cli.core.types import from_unit, to_unit
from ssbsn_cli.core.weights.registry import suggest

_NLM_TEMPLATE = 7
_NLM_SEARCH = 21
_NLM_STRENGTH = 1.0
# Finer than any difference of 8 bits.
_NLM_LEAST = 1e-3

_WAVELET = {
    "method": "BayesShrink",
    "mode": "soft",
    "wavelet": "db1",
    "convert2ycbcr": True,
    "rescale_sigma": True,
}

# A tenth of scikit-image's default, which stops so early that the residual misleads.
_TV_EPS = 2e-5
_TV_ITERATIONS = 200
_TV_TOLERANCE = 0.05
_TV_UPDATES = 10

_BM3D = {"profile": "np", "colorspace": "opp"}
# Its blocks are of 8x8 pixels; it refuses images below, and crashes at just that size.
_BM3D_SMALLEST = 16
_BM3D_LICENCE = "for non-commercial use only"


def open_baseline(name: str) -> Baseline:
    """Return a classical denoiser.

    Parameters
    ----------
    name : str
        One of `BASELINES`.

    Raises
    ------
    OptionError
        There is no such denoiser, or its library is not installed.
    """
    if name not in _OPENERS:
        raise OptionError(f"There is no baseline called {name!r}.", suggest(name, BASELINES))
    return _OPENERS[name]()


def _open_nlm() -> Baseline:
    """Return OpenCV's non-local means.

    Its documentation recommends both window sizes, but no strength for a noise level. Its weights
    are those of the original paper: ``exp(-d / h**2)`` with d the mean squared difference of two
    patches, noise included. For these, scikit-image's documentation of `denoise_nl_means` gives
    "sigma or slightly less" as a rule of thumb for h. (The factors of 0.3 to 0.55 of Buades, Coll,
    Morel: "Non-Local Means Denoising", Image Processing On Line 1, 2011, are for differences with
    the noise subtracted.) Sigma is that of the planes compared: the lightness and the two colours
    of CIELAB, computed as if the image were linear, where dark parts have much more noise.

    References
    ----------
    Buades, Coll, Morel: "A non-local algorithm for image denoising", CVPR 2005. The colour space:
    ``modules/photo/src/denoising.cpp`` in https://github.com/opencv/opencv.
    """
    import cv2

    def run(image: Pixels, _sigmas: Sigmas) -> NDArray[Any]:
        rgb = from_unit(image.astype(np.float32), np.dtype(np.uint8))
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        planes = cv2.cvtColor(bgr, cv2.COLOR_LBGR2Lab)
        sigmas = 255 * estimate_sigmas(to_unit(planes))
        # It divides by their squares, and colours of grey photos have no noise.
        lightness, colour = (
            max(_NLM_STRENGTH * float(sigma), _NLM_LEAST)
            for sigma in (sigmas[0], sigmas[1:].mean())
        )
        result = cv2.fastNlMeansDenoisingColored(
            bgr, None, lightness, colour, _NLM_TEMPLATE, _NLM_SEARCH
        )
        return to_unit(result[..., ::-1])

    return Baseline(
        "nlm",
        "OpenCV NLM",
        f"OpenCV's fastNlMeansDenoisingColored, templates of {_NLM_TEMPLATE} and a search window "
        f"of {_NLM_SEARCH} pixels, h and hColor {_NLM_STRENGTH:g} times the noise level of the "
        "CIELAB planes that it filters; images are rounded to 8 bits first, since it takes no "
        "others. " + ESTIMATED,
        {
            "template_window": _NLM_TEMPLATE,
            "search_window": _NLM_SEARCH,
            "strength_per_sigma": _NLM_STRENGTH,
            "least_strength": _NLM_LEAST,
            "bits": 8,
            "opencv": cv2.__version__,
            **estimate_settings(),
        },
        _run=run,
    )


def _open_wavelet() -> Baseline:
    """Return scikit-image's wavelet shrinkage, called as in its gallery's "Wavelet denoising".

    References
    ----------
    Chang, Yu, Vetterli: "Adaptive wavelet thresholding for image denoising and compression", IEEE
    Transactions on Image Processing 9, 2000.
    """
    from skimage.restoration import denoise_wavelet

    def run(image: Pixels, sigmas: Sigmas) -> NDArray[Any]:
        # Its own estimates, per channel of YCbCr, are NaN without any details to measure.
        given = None if _has_haar_details(image) else list(sigmas)
        result: NDArray[Any] = denoise_wavelet(image, sigma=given, channel_axis=-1, **_WAVELET)
        return result

    return Baseline(
        "wavelet",
        "scikit-image wavelet (BayesShrink)",
        "scikit-image's denoise_wavelet: BayesShrink, soft thresholds, Haar wavelets, in YCbCr "
        "with the noise level of each channel. " + ESTIMATED,
        {**_WAVELET, "scikit-image": version("scikit-image"), **estimate_settings()},
        _run=run,
    )


def _has_haar_details(image: Pixels) -> bool:
    from skimage.color import rgb2ycbcr

    height, width = (side // 2 * 2 for side in image.shape[:2])
    ycbcr = rgb2ycbcr(image)[:height, :width]
    rows = ycbcr[::2] - ycbcr[1::2]
    details = np.abs(rows[:, ::2] - rows[:, 1::2])
    return bool((details.max(axis=(0, 1), initial=0) > 255 * LEAST_DETAIL).all())


def _open_tv() -> Baseline:
    """Return scikit-image's minimisation of the total variation.

    Its documentation says nothing on how to choose the weight. Chambolle does: such that what is
    removed has the standard deviation of the noise.

    References
    ----------
    Chambolle: "An algorithm for total variation minimization and applications", Journal of
    Mathematical Imaging and Vision 20, 2004, section 4: the weight is multiplied by the wanted
    over the actual standard deviation until they agree.
    """

    def run(image: Pixels, sigmas: Sigmas) -> NDArray[Any]:
        result = image.copy()
        for channel, sigma in enumerate(sigmas):
            if sigma > 0:
                result[..., channel] = _minimise_variation(image[..., channel], float(sigma))
        return result

    return Baseline(
        "tv",
        "scikit-image TV (Chambolle)",
        "scikit-image's denoise_tv_chambolle, each channel alone, with the weight chosen as in "
        "Chambolle 2004: the standard deviation of what is removed is that of the noise, "
        f"to {_TV_TOLERANCE:.0%}. " + ESTIMATED,
        {
            "eps": _TV_EPS,
            "max_num_iter": _TV_ITERATIONS,
            "tolerance": _TV_TOLERANCE,
            "max_updates": _TV_UPDATES,
            "scikit-image": version("scikit-image"),
            **estimate_settings(),
        },
        _run=run,
    )


def _minimise_variation(plane: Pixels, sigma: float) -> Pixels:
    from skimage.restoration import denoise_tv_chambolle

    weight = sigma
    for _ in range(_TV_UPDATES):
        result: Pixels = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
            plane, weight=weight, eps=_TV_EPS, max_num_iter=_TV_ITERATIONS
        )
        removed = float(np.sqrt(np.mean((result - plane) ** 2)))
        if abs(removed / sigma - 1) <= _TV_TOLERANCE:
            break
        weight *= sigma / removed
    return result


def _open_bm3d() -> Baseline:
    """Return the authors' BM3D.

    References
    ----------
    Dabov, Foi, Katkovnik, Egiazarian: "Image denoising by sparse 3-D transform-domain
    collaborative filtering", IEEE Transactions on Image Processing 16, 2007, and Mäkinen, Azzari,
    Foi: "Collaborative filtering of correlated noise", IEEE Transactions on Image Processing 29,
    2020, whose code it is.
    """
    try:
        bm3d = importlib.import_module("bm3d")
    # It loads a binary, which not every machine can.
    except (ImportError, OSError) as error:
        raise OptionError(
            "The baseline bm3d needs the package bm3d, which is not installed or does not load.",
            f"Install it with: pip install 'ssbsn[bm3d]' (its licence is {_BM3D_LICENCE}).",
        ) from error

    def run(image: Pixels, sigmas: Sigmas) -> NDArray[Any]:
        height, width = image.shape[:2]
        missing = [(0, max(0, _BM3D_SMALLEST - side)) for side in (height, width)]
        padded = np.pad(image, [*missing, (0, 0)], "symmetric")
        profile = bm3d.BM3DProfile()
        # With more, sums come out in another order each time.
        profile.num_threads = 1
        if _fills_opponents(padded):
            result = bm3d.bm3d_rgb(padded, list(sigmas), profile, _BM3D["colorspace"])
        else:
            result = padded.copy()
            for channel in np.flatnonzero(sigmas):
                plane = bm3d.bm3d(padded[..., channel], float(sigmas[channel]), profile)
                result[..., channel] = plane
        cropped: NDArray[Any] = result[:height, :width]
        return cropped

    return Baseline(
        "bm3d",
        "BM3D",
        "BM3D for colour images as its authors distribute it (bm3d_rgb of the package bm3d), "
        "profile np, opponent colours, with the noise level of each channel. " + ESTIMATED,
        {
            **_BM3D,
            "threads": 1,
            "smallest": _BM3D_SMALLEST,
            "bm3d": version("bm3d"),
            "bm4d": version("bm4d"),
            **estimate_settings(),
        },
        _BM3D_LICENCE,
        _run=run,
    )


def _fills_opponents(image: Pixels) -> bool:
    """Tell whether all three opponent colours vary; bm3d divides by their ranges."""
    red, green, blue = np.moveaxis(image, -1, 0)
    planes = (red + green + blue, red - blue, red - 2 * green + blue)
    return all(np.ptp(plane) > LEAST_DETAIL for plane in planes)


_OPENERS: Mapping[str, Callable[[], Baseline]] = {
    "nlm": _open_nlm,
    "wavelet": _open_wavelet,
    "tv": _open_tv,
    "bm3d": _open_bm3d,
}
#: The denoisers that `open_baseline` knows.
BASELINES = tuple(_OPENERS)
