"""Regular patterns with noise stay, and nothing else is taken for them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.inference.patterns import find_patterns

Array = np.ndarray[Any, np.dtype[Any]]
SIDE = 256
DOWN, ACROSS = np.indices((SIDE, SIDE))


def squares(side: int) -> Array:
    mask = (DOWN // side + ACROSS // side) % 2 > 0
    return np.asarray(np.where(mask[..., None], 220.0, 30.0).repeat(3, axis=2))


def fabric() -> Array:
    threads = np.sign(np.sin(np.pi / 3 * DOWN) * np.sin(np.pi / 3 * ACROSS))
    shades = 0.75 + 0.25 * cv2.GaussianBlur(threads, (0, 0), 0.6)
    photo = data.astronaut()[:SIDE, :SIDE]  # type: ignore[no-untyped-call]
    return np.asarray(photo * shades[..., None])


def with_noise(picture: Array, deviation: float) -> Array:
    noise = np.random.default_rng(0).normal(0, deviation, picture.shape)
    return np.rint(picture + noise).clip(0, 255).astype(np.uint8)


def compressed(picture: Array, _: float) -> Array:
    _, file = cv2.imencode(".jpg", np.rint(picture), [cv2.IMWRITE_JPEG_QUALITY, 75])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))


def error(result: Array, picture: Array) -> float:
    return float(np.sqrt(np.square(result.astype(float) - picture).mean()))


@pytest.mark.parametrize(
    ("picture", "spoil", "deviation", "least"),
    [
        pytest.param(squares(2), with_noise, 5, 8, id="squares of 2"),
        pytest.param(squares(3), with_noise, 5, 8, id="squares of 3"),
        pytest.param(squares(3), with_noise, 15, 6, id="squares of 3 with more noise"),
        pytest.param(squares(3), compressed, 0, 6, id="squares of 3 as JPEG"),
        pytest.param(squares(5), with_noise, 5, 4, id="squares of 5"),
        pytest.param(fabric(), with_noise, 5, 1.7, id="fabric"),
    ],
)
def test_patterns_with_noise_are_given_back(
    picture: Array, spoil: Any, deviation: float, least: float
) -> None:
    noisy = spoil(picture, deviation)
    filtered, network = (
        error(load_denoiser(device="cpu", wiener=wiener)(noisy), picture)
        for wiener in ("auto", "off")
    )
    assert filtered < network / least


@given(
    seed=st.integers(0, 2**32 - 1),
    steepness=st.floats(0, 2),
    rows=st.floats(0, 1e3),
    windows=st.sampled_from([(1, 1), (2, 3)]),
)
def test_noise_is_no_pattern(
    seed: int, steepness: float, rows: float, windows: tuple[int, int]
) -> None:
    # Noise may reach far, and have rows of its own. Its powers are means over many windows.
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.indices((16, 16)))[:, None, None, :]
    powers = (1 + frequency) ** -steepness * rng.chisquare(100, (16, *windows, 16))
    powers[:, ..., 0] *= 1 + rows
    pattern, excess, certain = find_patterns(torch.from_numpy(powers).float(), 3)
    assert max(pattern.max(), excess.max(), certain.max()) == 0


def test_a_peak_is_a_pattern_and_brings_back_what_is_near_zero() -> None:
    powers = torch.ones(16, 1, 2, 16)
    powers[5, :, 1, 6] = 1e4
    pattern, excess, certain = find_patterns(powers, 3)
    assert certain.flatten().tolist() == [0, 1]
    assert pattern[5, 0, :, 6].tolist() == [0, 1]
    assert excess[5, 0, 1, 6] > 0.9e4
    assert (pattern[:3, 0, 1, :3] == 1).all()
    # Colours that have a peak without brightness do not have a pattern.
    pattern, excess, _ = find_patterns(powers, 3, certain.flip(1))
    assert pattern[5, 0, 1, 6] == excess.max() == 0
