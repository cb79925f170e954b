"""Patches of photos, and those so flat that all of their variation is noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.photo import Image
from ssbsn_cli.core.types import white_of

# Of a patch, in pixels.
SIDE = 32
# The most levels of brightness, and how many patches each needs on average.
_LEVELS, _PATCHES = 12, 16
FEWEST, _MOST = 4, 60
# The fraction of the patches of one brightness that are taken for flat: those that vary least.
_FLATTEST = 0.08
# Patches darker or brighter than this are clipped, and so is their noise.
_DARKEST, _BRIGHTEST = 3 / 255, 247 / 255
# Between two brightnesses, noise changes by at most their ratio (with the offset added to both) to
# this power. Where it exceeds that by more than the slack, the patches were not flat.
_POWER, _OFFSET, _SLACK = 0.75, 8 / 255, 1.25


@dataclass(frozen=True)
class FlatPatches:
    """The flattest patches of a photo, by brightness.

    Parameters
    ----------
    levels : array
        (n,) brightness in [0, 1], ascending.
    deviations : array
        (n, C) standard deviation of each colour there, in [0, 1].
    residuals : list of array
        For each level, (m, 32, 32, C): its patches with their gradients subtracted.
    """

    levels: NDArray[np.float64]
    deviations: NDArray[np.float64]
    residuals: list[NDArray[np.float64]]


def cut(pixels: Image, most: int = 1 << 30) -> NDArray[np.float64]:
    """Cut a photo into patches without overlap.

    Parameters
    ----------
    pixels : Image
        (H, W, C) integers, or floats with white at 1. Only the returned patches are read.
    most : int
        The most patches to return; they are evenly spread.

    Returns
    -------
    array
        (n, 32, 32, C) with white at 1; n may be 0.
    """
    rows, columns, channels = *(length // SIDE for length in pixels.shape[:2]), pixels.shape[2]
    total = rows * columns
    chosen = np.unique(np.linspace(0, max(total - 1, 0), min(total, most)).astype(int))
    patches = np.empty((len(chosen), SIDE, SIDE, channels), pixels.dtype)
    for patch, at in zip(patches, chosen.tolist(), strict=True):
        top, left = SIDE * (at // columns), SIDE * (at % columns)
        patch[...] = pixels[top : top + SIDE, left : left + SIDE]
    return np.asarray(patches / np.float64(white_of(pixels.dtype)), np.float64)


def find_flat(patches: NDArray[np.float64]) -> FlatPatches | None:
    """Find the patches of a photo that vary least, for each level of brightness.

    Parameters
    ----------
    patches : array
        From `cut`.

    Returns
    -------
    FlatPatches or None
        None if there are too few patches that are neither black nor white.
    """
    brightness = patches.mean(axis=(1, 2, 3))
    inside = neither_black_nor_white(brightness)
    patches, brightness = patches[inside], brightness[inside]
    if len(patches) < FEWEST:
        return None
    residuals = without_gradients(patches)
    variance = (residuals**2).mean(axis=(1, 2, 3))
    levels, deviations, flat = [], [], []
    for chosen in flattest(brightness, variance, _FLATTEST):
        levels.append(float(brightness[chosen].mean()))
        deviations.append(np.sqrt((residuals[chosen] ** 2).mean(axis=(0, 1, 2))))
        flat.append(residuals[chosen])
    if not flat:
        return None
    sure = _believable(np.array(levels), np.sqrt((np.array(deviations) ** 2).mean(axis=1)))
    return FlatPatches(
        np.array(levels)[sure], np.array(deviations)[sure], [flat[each] for each in sure]
    )


def neither_black_nor_white(brightness: NDArray[Any]) -> NDArray[np.bool_]:
    """Return at which brightness noise is not clipped."""
    return (brightness > _DARKEST) & (brightness < _BRIGHTEST)


def flattest(
    brightness: NDArray[np.float64], variance: NDArray[np.float64], share: float
) -> Iterator[NDArray[np.intp]]:
    """Yield, for each level of brightness, the indices of the `share` of it that varies least."""
    count = min(max(len(brightness) // _PATCHES, 1), _LEVELS)
    edges = np.quantile(brightness, np.linspace(0, 1, count + 1))
    level = np.clip(np.searchsorted(edges, brightness, side="right") - 1, 0, count - 1)
    for each in range(count):
        members = np.flatnonzero(level == each)
        if len(members) >= FEWEST:
            chosen = min(max(round(len(members) * share), FEWEST), _MOST)
            yield members[np.argsort(variance[members])[:chosen]]


def _believable(levels: NDArray[np.float64], strengths: NDArray[np.float64]) -> list[int]:
    """Return the levels whose noise is no stronger than the other levels allow.

    The strictest level is ignored if there are others, because JPEG may have smoothed it.
    """
    distance = np.abs(np.subtract.outer(*[np.log(levels + _OFFSET)] * 2))
    allowed = np.sort(strengths * np.exp(_POWER * distance), axis=1)
    least = allowed[:, min(1, len(levels) - 1)]
    return [int(each) for each in np.flatnonzero(strengths <= _SLACK * least)]


def without_gradients(patches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the best-fitting plane from each patch and colour."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    basis = np.stack([np.ones(SIDE**2), x.ravel(), y.ravel()], axis=1)
    basis /= np.linalg.norm(basis, axis=0)
    flat = patches.reshape(len(patches), SIDE**2, -1)
    fitted = np.einsum("pb,nbc->npc", basis, np.einsum("pb,npc->nbc", basis, flat))
    return np.asarray(flat - fitted, np.float64).reshape(patches.shape)
