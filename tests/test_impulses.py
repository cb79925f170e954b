"""Single wrong pixels are replaced, and nothing else is taken for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.impulses import remove_impulses
from ssbsn_cli.core.training.validation import psnr

Array = np.ndarray[Any, np.dtype[Any]]

PHOTO = next(iter(open_demo())).references[0][:160, 40:240]


@pytest.fixture(scope="module")
def denoisers() -> tuple[Denoiser, Denoiser]:
    usual, plain = (load_denoiser(device="cpu", impulses=step) for step in ("auto", "off"))
    return usual, plain


def unit(pixels: Array) -> Array:
    return np.asarray(pixels, np.float32) / np.float32(255)


def with_impulses(photo: Array, density: float, together: bool = False) -> Array:
    rng = np.random.default_rng(2)
    drawn = rng.random((*photo.shape[:2], 1 if together else photo.shape[2]))
    drawn = np.broadcast_to(drawn, photo.shape)
    wrong = np.where(drawn < density / 2, 0, 255).astype(np.uint8)
    return np.where((drawn < density / 2) | (drawn > 1 - density / 2), wrong, photo)


@pytest.mark.parametrize(
    ("density", "together", "channels", "least", "gain"),
    [
        (0.001, False, 3, 47, 8),
        (0.02, False, 3, 42, 9),
        (0.1, False, 3, 38, 9),
        (0.02, True, 3, 39, 8),
        (0.03, False, 1, 38, 8),
    ],
)
def test_all_but_impulses_stays_as_it_is(
    denoisers: tuple[Denoiser, Denoiser],
    density: float,
    together: bool,
    channels: int,
    least: float,
    gain: float,
) -> None:
    clean = PHOTO[..., :channels]
    noisy = with_impulses(clean, density, together)
    usual, plain = (psnr(unit(clean), unit(denoiser(noisy))) for denoiser in denoisers)
    assert usual > max(least, plain + gain)


def test_what_is_below_impulses_is_denoised_as_without_them(
    denoisers: tuple[Denoiser, Denoiser],
) -> None:
    noise = np.random.default_rng(0).normal(0, 12, PHOTO.shape)
    noisy = np.rint(PHOTO + noise).clip(0, 255).astype(np.uint8)
    without = psnr(unit(PHOTO), unit(denoisers[0](noisy)))
    assert psnr(unit(PHOTO), unit(denoisers[0](with_impulses(noisy, 0.01)))) > without - 0.5


def night() -> Array:
    sky, rng = np.zeros((160, 200)), np.random.default_rng(0)
    for row, column in zip(rng.integers(0, 160, 150), rng.integers(0, 200, 150), strict=True):
        sky[row, column] = rng.uniform(200, 3000)
    stars = 20 + gaussian_filter(sky, 1)[..., None] + rng.normal(0, 5, (160, 200, 3))
    return np.asarray(stars.clip(0, 255).astype(np.uint8))


def printed() -> Array:
    rows, columns = np.indices(PHOTO.shape[:2])
    screen = 0.5 + 0.25 * (np.cos(1.1 * rows + 0.4 * columns) + np.cos(1.1 * columns - 0.4 * rows))
    return np.where(unit(PHOTO) > screen[..., None], np.uint8(235), np.uint8(30))


def camera() -> Array:
    noise = gaussian_filter(np.random.default_rng(0).normal(0, 40, PHOTO.shape), (0.7, 0.7, 0))
    return np.rint(PHOTO + noise).clip(0, 255).astype(np.uint8)


def photons() -> Array:
    counts = np.random.default_rng(0).poisson(8 * unit(PHOTO))
    return np.asarray((counts * (255 / 8)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("make", [camera, night, photons, printed])
def test_nothing_else_is_taken_for_impulses(
    denoisers: tuple[Denoiser, Denoiser], make: Any
) -> None:
    usual, plain = (denoiser(make()) for denoiser in denoisers)
    np.testing.assert_array_equal(usual, plain)


@settings(max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.floats(0, 0.9),
    st.sampled_from([1, 1e4, 1e30]),
)
def test_images_of_all_sizes_and_ranges_keep_what_is_right(
    height: int, width: int, channels: int, density: float, highest: float
) -> None:
    rng = np.random.default_rng(1)
    clean = np.full((height, width, channels), 0.4, np.float32)
    noisy = np.where(rng.random(clean.shape) < density, np.float32(highest), clean)
    before = noisy.copy()
    found = remove_impulses(noisy, clean, lambda image: clean)
    np.testing.assert_array_equal(noisy, before)
    if found:
        repaired, _ = found
        assert repaired.shape == noisy.shape
        right = noisy == clean
        np.testing.assert_array_equal(repaired[right], clean[right])
        assert np.isfinite(repaired).all()
