"""What people are told about the noise of a photo: figures, a finding, and advice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.noise.measured import NoiseFigures, describe_noise

# Below this, in grey levels of 255, the network's own errors look the same as noise.
_LEAST = 1.0
# From this median deviation on, adapting pays.
_STRONG = 5.0
# White noise, clipped to 8 bits, was measured with correlations of up to 0.12.
_WHITE = 0.2
_NAMES = {1: ("grey",), 3: ("red", "green", "blue")}
_GREY_LEVELS = 255


def noise_facts(
    noisy: NDArray[np.float64], denoised: NDArray[np.float64], texture: float
) -> dict[str, Any]:
    """Describe the noise of one photo, from patches as for `describe_noise`.

    `texture` is the largest factor of `measure_texture`.

    Returns ``noise`` and ``finding`` as plain values for JSON; docs/reference.md explains both.
    """
    noise = describe_noise(noisy, denoised)
    return {
        "noise": None if noise is None else _figures(noise, texture),
        "finding": _finding(noise, texture),
    }


def shows_noise(noisy: NDArray[np.float64], denoised: NDArray[np.float64]) -> bool:
    """Return whether noise was found in one photo, from patches as for `describe_noise`."""
    noise = describe_noise(noisy, denoised)
    return noise is not None and _typical(noise) >= _LEAST


def _figures(noise: NoiseFigures, texture: float) -> dict[str, Any]:
    names = _NAMES[len(noise.deviations)]
    found = _typical(noise) >= _LEAST
    correlations = {
        f"{names[one]}-{names[other]}": round(float(noise.channels[one, other]), 3)
        for one in range(len(names))
        for other in range(one + 1, len(names))
    }
    lags = {
        name: [round(float(value), 3) for value in values]
        for name, values in zip(("horizontal", "vertical"), noise.neighbours, strict=True)
    }
    return {
        "found": found,
        "deviations": {
            # A network's result may lie slightly below black.
            name: np.round(np.maximum(points, 0) * _GREY_LEVELS, 2).tolist()
            for name, points in zip(names, noise.deviations, strict=True)
        },
        "texture": round(texture, 2) if found else None,
        "neighbours": lags if found else None,
        "channels": correlations if found else None,
    }


def _typical(noise: NoiseFigures) -> float:
    return float(np.median(np.concatenate(noise.deviations)[:, 1])) * _GREY_LEVELS


def _finding(noise: NoiseFigures | None, texture: float) -> str:
    if noise is None:
        return (
            "The noise cannot be measured: almost all of the photo is nearly black, white or not a "
            "number, or the photo is too small."
        )
    typical = _typical(noise)
    if typical < _LEAST:
        return (
            f"No noise was found: a deviation of {typical:.1f} grey levels of 255 is too little to "
            "be told from texture."
        )
    points = np.concatenate(noise.deviations)[:, 1] * _GREY_LEVELS
    across, down = noise.neighbours[:, 0]
    # Less is not worth a sentence.
    stronger = f" In texture, it is {texture:.1f} times as strong." if texture >= 1.1 else ""
    return (
        f"Noise of {points.min():.1f} to {points.max():.1f} grey levels of 255 (standard "
        f"deviation, by brightness and channel; the median is {typical:.1f}).{stronger} Neighbours "
        f"correlate by {across:z.2f} side by side and {down:z.2f} one above the other."
        f"{_advice(typical, max(abs(across), abs(down)))}"
    )


def _advice(typical: float, neighbours: float) -> str:
    if neighbours < _WHITE:
        return " It is white noise."
    if typical < _STRONG:
        return ""
    return " With --adapt 10, more of it may be removed."
