"""Points of light keep their brightness, and no noise stays around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.inference.peaks import find_peaks
from ssbsn_cli.core.training.validation import psnr

Array = np.ndarray[Any, np.dtype[Any]]

PHOTO = np.float32(next(iter(open_demo())).references[0][:120, 40:200] / 255)


def night(height: int = 144, width: int = 192) -> Array:
    """Stars of several brightnesses on a dark sky."""
    sky = np.zeros((height, width, 3))
    for number, (y, x) in enumerate(np.ndindex(height // 48, width // 48)):
        sky[24 + 48 * y, 24 + 48 * x] = (1, 2, 4)[number % 3]
    return np.float32(0.08 + gaussian_filter(sky, (1, 1, 0)))


def peaks_of(image: Array) -> Array:
    return np.asarray(find_peaks(image[None], torch.device("cpu"))[0])


@settings(max_examples=40)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 3]))
def test_images_of_any_size_have_peaks_of_the_same_size(height, width, channels) -> None:
    image = PHOTO[:height, :width, :channels]
    assert peaks_of(image).shape == image.shape
    assert np.abs(peaks_of(np.full_like(image, 0.3))).max() < 1e-7


def test_stars_are_peaks_and_photos_have_hardly_any() -> None:
    stars = night()
    rest = stars - peaks_of(stars)
    assert rest.max() < 0.08 + 0.25 * (stars.max() - 0.08)
    assert np.square(peaks_of(PHOTO)).mean() < 0.02 * PHOTO.var()


def test_stars_keep_their_light_and_the_sky_around_them_is_clean() -> None:
    clean = night()
    noisy = clean + np.random.default_rng(0).normal(0, 0.03, clean.shape).astype(np.float32)
    plain = load_denoiser(device="cpu", multiscale="off", wiener="off")(noisy)
    result = load_denoiser(device="cpu")(noisy)
    assert psnr(clean, result) > psnr(clean, plain) + 0.5
    bright = clean > 0.5
    assert result[bright].mean() > plain[bright].mean() - 0.01
