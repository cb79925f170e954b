"""Classical denoisers. To add one, write its class here and list it in `BASELINES`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from skimage.restoration import denoise_tv_chambolle, denoise_wavelet

from ssbsn_cli.core.errors import OptionError, how_to_install, suggest
from ssbsn_cli.core.evaluation.methods import Classical, Doubles
from ssbsn_cli.core.noise.white import LEAST_DETAIL, estimate_sigmas
from ssbsn_cli.core.types import from_unit, to_unit


class _Nlm(Classical):
    """OpenCV's non-local means for colour images.

    OpenCV's documentation recommends both window sizes, but no strength for a noise level. Its
    weights are those of the paper: ``exp(-d / h**2)``, where d is the mean squared difference of
    two patches, including noise. For these weights, scikit-image's `denoise_nl_means` recommends an
    h of "sigma or slightly less". Sigma is that of the compared planes: the lightness and the two
    colours of CIELAB, computed as if the image were linear, where dark parts have much more noise.

    References
    ----------
    .. [1] Buades, Coll, Morel: "A non-local algorithm for image denoising", CVPR 2005. The colour
       space: ``modules/photo/src/denoising.cpp`` in https://github.com/opencv/opencv.
    """

    _TEMPLATE, _SEARCH, _STRENGTH = 7, 21, 1.0
    # Finer than any difference of 8 bits.
    _LEAST = 1e-3

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

    def remove_noise(self, image: Doubles, _sigmas: Doubles) -> NDArray[Any]:
        rgb = from_unit(image.astype(np.float32), np.dtype(np.uint8))
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        sigmas = 255 * estimate_sigmas(to_unit(cv2.cvtColor(bgr, cv2.COLOR_LBGR2Lab)))
        # OpenCV divides by their squares, and the colours of grey photos have no noise.
        lightness, colour = (
            max(self._STRENGTH * float(sigma), self._LEAST)
            for sigma in (sigmas[0], sigmas[1:].mean())
        )
        result = cv2.fastNlMeansDenoisingColored(
            bgr, None, lightness, colour, self._TEMPLATE, self._SEARCH
        )
        return to_unit(result[..., ::-1])


class _Wavelet(Classical):
    """scikit-image's wavelet shrinkage, called as in its gallery's "Wavelet denoising".

    References
    ----------
    .. [1] Chang, Yu, Vetterli: "Adaptive wavelet thresholding for image denoising and
       compression", IEEE Transactions on Image Processing 9, 2000.
    """

    _OPTIONS: Mapping[str, Any] = {
        "method": "BayesShrink",
        "mode": "soft",
        "wavelet": "db1",
        "convert2ycbcr": True,
        "rescale_sigma": True,
    }

    name = "wavelet"
    title = "scikit-image wavelet (BayesShrink)"
    about = (
        "scikit-image's denoise_wavelet: BayesShrink, soft thresholds, Haar wavelets, in YCbCr "
        "with the noise level of each channel."
    )
    constants: Mapping[str, Any] = {**_OPTIONS, "scikit-image": version("scikit-image")}

    def remove_noise(self, image: Doubles, sigmas: Doubles) -> NDArray[Any]:
        # Without details, its own estimates, per channel of YCbCr, are NaN.
        given = None if self._has_details(image) else list(sigmas)
        result: NDArray[Any] = denoise_wavelet(image, sigma=given, channel_axis=-1, **self._OPTIONS)
        return result

    @staticmethod
    def _has_details(image: Doubles) -> bool:
        height, width = (side // 2 * 2 for side in image.shape[:2])
        ycbcr = rgb2ycbcr(image)[:height, :width]
        rows = ycbcr[::2] - ycbcr[1::2]
        details = np.abs(rows[:, ::2] - rows[:, 1::2])
        return bool((details.max(axis=(0, 1), initial=0) > 255 * LEAST_DETAIL).all())


class _Tv(Classical):
    """scikit-image's total variation minimisation, with Chambolle's choice of the weight.

    References
    ----------
    .. [1] Chambolle: "An algorithm for total variation minimization and applications", Journal of
       Mathematical Imaging and Vision 20, 2004, section 4: the weight is multiplied by the wanted
       over the actual standard deviation until they agree.
    """

    # A tenth of scikit-image's default, which stops so early that the residual is misleading.
    _EPS = 2e-5
    _ITERATIONS, _TOLERANCE, _UPDATES = 200, 0.05, 10

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

    def remove_noise(self, image: Doubles, sigmas: Doubles) -> NDArray[Any]:
        result = image.copy()
        for channel in np.flatnonzero(sigmas):
            result[..., channel] = self._minimise(image[..., channel], float(sigmas[channel]))
        return result

    def _minimise(self, plane: Doubles, sigma: float) -> Doubles:
        weight = sigma
        for _ in range(self._UPDATES):
            result: Doubles = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
                plane, weight=weight, eps=self._EPS, max_num_iter=self._ITERATIONS
            )
            removed = float(np.sqrt(np.mean((result - plane) ** 2)))
            if abs(removed / sigma - 1) <= self._TOLERANCE:
                break
            weight *= sigma / removed
        return result


class _Bm3d(Classical):
    """BM3D as its authors distribute it.

    References
    ----------
    .. [1] Dabov, Foi, Katkovnik, Egiazarian: "Image denoising by sparse 3-D transform-domain
       collaborative filtering", IEEE Transactions on Image Processing 16, 2007, and Mäkinen,
       Azzari, Foi: "Collaborative filtering of correlated noise", IEEE Transactions on Image
       Processing 29, 2020, whose code it is.
    """

    _COLORSPACE = "opp"
    # Its blocks have 8x8 pixels. It refuses smaller images, and crashes on images of this size.
    _SMALLEST = 16

    name = "bm3d"
    title = "BM3D"
    about = (
        "BM3D for colour images as its authors distribute it (bm3d_rgb of the package bm3d), "
        "profile np, opponent colours, with the noise level of each channel."
    )

    def __init__(self) -> None:
        try:
            self._library = importlib.import_module("bm3d")
        # Some machines cannot load its binary.
        except (ImportError, OSError) as error:
            raise OptionError(
                "The baseline bm3d needs the package bm3d, which is not installed or does not "
                "load.",
                f"{how_to_install('bm3d')} Its licence is for non-commercial use only.",
            ) from error
        self.constants = {
            "profile": "np",
            "colorspace": self._COLORSPACE,
            "threads": 1,
            "smallest": self._SMALLEST,
            "bm3d": version("bm3d"),
            "bm4d": version("bm4d"),
        }

    def remove_noise(self, image: Doubles, sigmas: Doubles) -> NDArray[Any]:
        height, width = image.shape[:2]
        missing = [(0, max(0, self._SMALLEST - side)) for side in (height, width)]
        padded = np.pad(image, [*missing, (0, 0)], "symmetric")
        profile = self._library.BM3DProfile()
        # With more threads, the order of sums differs each time.
        profile.num_threads = 1
        # bm3d_rgb divides by the ranges of the opponent colours.
        red, green, blue = np.moveaxis(padded, -1, 0)
        opponents = (red + green + blue, red - blue, red - 2 * green + blue)
        if all(np.ptp(plane) > LEAST_DETAIL for plane in opponents):
            result = self._library.bm3d_rgb(padded, list(sigmas), profile, self._COLORSPACE)
        else:
            result = padded.copy()
            for channel in np.flatnonzero(sigmas):
                plane = self._library.bm3d(padded[..., channel], float(sigmas[channel]), profile)
                result[..., channel] = plane
        cropped: NDArray[Any] = result[:height, :width]
        return cropped


#: The denoisers that `open_baseline` knows.
BASELINES: dict[str, type[Classical]] = {each.name: each for each in (_Nlm, _Wavelet, _Tv, _Bm3d)}


def open_baseline(name: str) -> Classical:
    """Return one of `BASELINES`.

    Raises
    ------
    OptionError
        There is no such denoiser, or its library is not installed.
    """
    if name not in BASELINES:
        raise OptionError(f"There is no baseline called {name!r}.", suggest(name, BASELINES))
    return BASELINES[name]()
