"""Remove banding, rows or columns that are brighter or darker as a whole, before the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

# SciPy loads its parts when they are first used, and most photos need none.
import scipy

from ssbsn_cli.core.imaging.photo import Image, Pixels, pixel_rows
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.types import to_unit

# So many strips of at most so many columns tell whether there is banding; fewer rows do not.
_STRIPS, _WIDTH, _FEWEST = 8, 64, 128
# What each row exceeds its neighbours' mean by must correlate so much between the left and right
# halves, and have the deviation of independent offsets within these limits.
_CORRELATION, _DEVIATIONS = 0.6, (0.9 / 255, 25 / 255)
# The excess of a pixel, and then of a row, counts up to so many times the median. This share of the
# rows may reach that. More would be the lines of a drawing.
_PIXEL, _ROW, _LINES = 3, 4.5, 0.06
# Demosaicing mixes each offset with so much of both neighbours'. Which share it is follows from how
# the excess correlates with that of the next rows. It must be as expected up to this difference,
# and this one, divided by the root of the number of rows: few rows are alike by chance.
_MIXED = np.linspace(0, 0.25, 26)
_DIFFERENCE, _CHANCE, _LAGS = 0.14, 3.0, 40
# Differences count up to so many times their usual size within so many columns and rows.
_USUAL, _AROUND, _TIMES = 0.7, (9, 5), 4
# Over so many frequencies, the power of the rows' brightness is averaged.
_SMOOTH = 41
# In so many steps from black to white, it is measured how strong the bands are. The brightness is
# the mean of a square with this side; this close to black and white, all of it is cut off.
_STEPS, _SIDE, _CUT_OFF = 8, 9, 1e-4
_TINY = 1e-12


@dataclass
class Bands:
    """The offsets of rows: (H, 1, C), and how strong they are, (steps, C), from black to white."""

    offsets: Floats
    strengths: Floats

    def at(self, rows: slice, brightness: Floats) -> Floats:
        """Return what to subtract from some rows whose local brightness is (h, w, C)."""
        levels = (np.arange(_STEPS, dtype=np.float32) + 0.5) / _STEPS
        shares = np.stack(
            [
                np.interp(brightness[..., c], levels, self.strengths[:, c])
                for c in range(brightness.shape[2])
            ],
            axis=2,
        )
        inside = np.minimum(brightness, 1 - brightness) > _CUT_OFF
        return np.asarray(inside * shares * self.offsets[rows], np.float32)


class Unbanded:
    """An image without its bands. It is again an `Image`, of float32 with white at 1."""

    def __init__(self, image: Image, rows: Bands | None, columns: Bands | None) -> None:
        self.shape = image.shape
        self.dtype = np.dtype(np.float32)
        self._image, self._rows, self._columns = image, rows, columns

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Return some rows and columns, (h, w, C)."""
        values = to_unit(self._image[window])
        brightness, without = _brightness(values), values
        if self._rows:
            without = without - self._rows.at(window[0], brightness)
        if self._columns:
            without = without - _turned(self._columns.at(window[1], _turned(brightness)))
        return np.clip(without, 0, np.maximum(values, 1))


def remove_banding(image: Image) -> Unbanded | None:
    """Find rows and columns that share an offset, as the electronics of sensors cause them.

    Networks take bands for something in the photo. Offsets of rows are told from edges by two
    signs: they are the same from left to right, and those of neighbours are nearly independent.

    Parameters
    ----------
    image : Image
        (H, W, C), not below black.

    Returns
    -------
    Unbanded or None
        The image without bands; None if there are none.

    References
    ----------
    .. [1] N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", 1949,
       for estimating the offsets, whose spectrum is flat, from rows that also show the photo.
    """
    rows, columns = (_find(each) for each in (image, _Turned(image)))
    return Unbanded(image, rows, columns) if rows or columns else None


class _Turned:
    """An image whose rows are the columns of another one."""

    def __init__(self, image: Image) -> None:
        height, width, channels = image.shape
        self.shape = width, height, channels
        self.dtype = image.dtype
        self._image = image

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        return _turned(self._image[window[1], window[0]])


def _turned(pixels: Pixels) -> Pixels:
    return pixels.swapaxes(0, 1)


def _find(image: Image) -> Bands | None:
    """Return the offsets of an image's rows, if they have such."""
    if min(image.shape[:2]) < _FEWEST or (spectra := _find_spectra(image)) is None:
        return None
    steps = np.concatenate([_steps(part) for part in _parts(image)])
    profile = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
    offsets = np.stack(list(map(_offsets, profile.T, spectra)), axis=1)[:, None]
    return Bands(offsets, _strengths(image, offsets))


def _find_spectra(image: Image) -> Floats | None:
    """Return the power of the bands at each frequency, (C, H), or None if there are no bands."""
    height, width, _ = image.shape
    wide = min(_WIDTH, width // _STRIPS)
    strips = np.linspace(0, width - wide, _STRIPS).astype(int)
    excess = np.stack([_excess(to_unit(image[:, left : left + wide])) for left in strips])
    excess -= excess.mean(axis=1, keepdims=True)
    # Frames and other single lines exceed by far more than most rows.
    most = _ROW * np.median(np.abs(excess), axis=1, keepdims=True)
    lines = (np.abs(excess) > most).mean()
    excess = np.clip(excess, -most, most)
    left, right = excess[: _STRIPS // 2].mean(axis=0), excess[_STRIPS // 2 :].mean(axis=0)

    def common(lag: int) -> Floats:
        """Return the covariance of the two halves, one of them moved by some rows, (C,)."""
        both = left[lag:] * right[: len(right) - lag] + right[lag:] * left[: len(left) - lag]
        return np.asarray(both.mean(axis=0) / 2, np.float32)

    powers = np.maximum(common(0), 0)
    power = float(powers.mean())
    weak, strong = (1.5 * deviation**2 for deviation in _DEVIATIONS)
    if (
        not weak <= power <= strong
        or power < _CORRELATION * float(np.sqrt(np.square(left).mean() * np.square(right).mean()))
        or lines > _LINES
    ):
        return None
    seen = np.array([common(lag).mean() / power for lag in range(1, _LAGS)])
    expected = np.zeros((len(_MIXED), _LAGS))
    for row, mixed in zip(expected, _MIXED, strict=True):
        kernel = np.convolve([-0.5, 1, -0.5], [mixed, 1 - 2 * mixed, mixed])
        row[: len(kernel)] = np.correlate(kernel, kernel, "full")[len(kernel) - 1 :]
    gains, lags = expected[:, :1], expected[:, 1:] / expected[:, :1]
    fits = np.abs(lags - seen).max(axis=1) <= _DIFFERENCE + _CHANCE / math.sqrt(height)
    if not fits.any():
        return None
    # The least mixed ones that fit have the least power at low frequencies, where the photo's is.
    best = int(fits.argmax())
    mixed = _MIXED[best]
    shape = np.square(1 - 2 * mixed + 2 * mixed * np.cos(np.pi * np.arange(height) / height))
    return np.asarray(powers[:, None] / gains[best] * shape, np.float32)


def _excess(strip: Floats) -> Floats:
    """Return by how much each row of a strip exceeds its neighbours' mean, (H - 2, C)."""
    excess = strip[1:-1] - (strip[:-2] + strip[2:]) / 2
    # Edges exceed by far more than bands.
    most = _PIXEL * np.median(np.abs(excess[::3])) + 0.5 / 255
    return np.asarray(np.clip(excess, -most, most).mean(axis=1), np.float32)


def _parts(image: Image) -> Iterator[Floats]:
    """Cut an image into groups of at least two rows; each begins with the last row of another."""
    for rows in pixel_rows(image):
        if rows.stop > 1:
            yield to_unit(image[max(rows.start - 1, 0) : rows.stop, :])


def _steps(part: Floats) -> Floats:
    """Return by how much each row is brighter than the one before, (h - 1, C).

    Where there is little detail, this counts more, and edges hardly count.
    """
    change = np.diff(part, axis=0)
    most = 2 * float(np.median(np.abs(change[::3, ::3]))) + 0.5 / 255
    steps = np.clip(change, -most, most).mean(axis=1, keepdims=True)
    for _ in range(_TIMES):
        rest = change - steps
        detail = cv2.blur(np.square(rest).mean(axis=2), _AROUND)
        detail += np.quantile(detail[::3, ::3], 0.1) + (0.2 / 255) ** 2
        most = _USUAL * np.sqrt(detail)[..., None]
        weights = (1 / detail)[..., None]
        rest = (weights * np.clip(rest, -most, most)).sum(axis=1, keepdims=True)
        steps = steps + rest / weights.sum(axis=1, keepdims=True)
    return np.asarray(steps[:, 0], np.float32)


def _offsets(profile: Floats, power: Floats) -> Floats:
    """Return the bands in the brightness of the rows, (H,), by Wiener's filter.

    `power` is theirs at each frequency. At low ones, the photo has far more.
    """
    spectrum = scipy.fft.dct(profile - profile.mean(), norm="ortho")
    sums = np.concatenate([[0.0], np.cumsum(np.square(spectrum), dtype=np.float64)])
    at = np.arange(len(spectrum))
    # Near zero, the power changes so quickly that few frequencies are averaged.
    reach = np.minimum(_SMOOTH // 2, at // 2)
    first, last = at - reach, np.minimum(at + reach + 1, len(spectrum))
    usual = (sums[last] - sums[first]) / (last - first)
    share = np.minimum(power / (usual + _TINY), 1)
    return np.asarray(scipy.fft.idct(spectrum * share, norm="ortho"), np.float32)


def _strengths(image: Image, offsets: Floats) -> Floats:
    """Return how strong bands are at each brightness, relative to the offsets, (steps, C).

    Curves of cameras make them stronger in the dark, and nothing is left where a photo is cut off.
    """
    channels = image.shape[2]
    found, expected = np.zeros((2, channels, _STEPS))
    top = 0
    for part in _parts(image):
        change, bands = np.diff(part, axis=0), np.diff(offsets[top : top + len(part)], axis=0)
        top += len(part) - 1
        most = 2 * np.median(np.abs(change[::3, ::3])) + 0.5 / 255
        counts = np.abs(change - bands) < most
        steps = np.minimum(_brightness(part)[1:] * _STEPS, _STEPS - 1).astype(np.intp)
        for c in range(channels):
            where = steps[..., c].ravel()
            for sums, values in ((found, change), (expected, bands)):
                product = (values * bands * counts)[..., c].ravel()
                sums[c] += np.bincount(where, product, _STEPS)
    # Where little is known, they are as strong as elsewhere.
    unsure = 0.01 * expected.sum(axis=1, keepdims=True) + _TINY
    return np.asarray(((found + unsure) / (expected + unsure)).T.clip(0, 2), np.float32)


def _brightness(values: Floats) -> Floats:
    blurred = cv2.blur(values, (_SIDE, _SIDE)).reshape(values.shape)
    return np.asarray(np.clip(blurred, 0, 1), np.float32)
