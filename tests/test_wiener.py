"""Filtering the photo again gives back detail, and removes more noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.inference import engine
from ssbsn_cli.core.inference.wiener import filter_again
from ssbsn_cli.core.training.validation import psnr

Array = np.ndarray[Any, np.dtype[Any]]

PHOTO = np.float32(next(iter(open_demo())).references[0][:120, 40:200] / 255)
NOISE = np.random.default_rng(0).normal(0, 0.06, PHOTO.shape).astype(np.float32)


def filtered(noisy: Array, denoised: Array) -> Array:
    result = denoised[None].copy()
    filter_again(noisy[None], result, torch.device("cpu"))
    return np.asarray(result[0])


@settings(max_examples=40)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 3]))
def test_what_has_no_noise_stays(height: int, width: int, channels: int) -> None:
    image = PHOTO[:height, :width, :channels]
    np.testing.assert_array_equal(filtered(image, image), image)


@settings(max_examples=40)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 3]))
def test_brightness_is_that_of_the_result(height: int, width: int, channels: int) -> None:
    image = PHOTO[:height, :width, :channels]
    np.testing.assert_allclose(filtered(image + np.float32(0.2), image), image, atol=2e-3)


def test_under_strong_noise_windows_make_up_half_of_the_result_everywhere() -> None:
    rows, columns = np.indices(PHOTO.shape[:2])
    board = np.float32(np.where((rows + columns) % 2, -1, 1)[..., None] * [0.3, -0.1, 0.2])
    grey = np.float32(0.5)
    result = filtered(grey + board + 1e4 * NOISE, grey + board)
    np.testing.assert_allclose(result, grey + board / 2, atol=0.01)


def test_detail_that_a_result_lacks_is_given_back() -> None:
    clean = np.full_like(PHOTO, 0.4)
    clean[20::50, 20::50] = clean[22::50, 23::50] = 0.9
    result = gaussian_filter(clean, (0.5, 0.5, 0))
    assert psnr(clean, filtered(clean + NOISE / 10, result)) > psnr(clean, result) + 1


def test_noise_that_a_result_has_is_removed() -> None:
    flat = np.full_like(PHOTO, 0.4)
    result = flat + NOISE / 3
    assert psnr(flat, filtered(flat + NOISE, result)) > psnr(flat, result) + 1


def test_grey_stays_grey_in_one_channel_or_three_and_a_batch_is_its_images() -> None:
    grey, noise = (np.repeat(each[..., :1], 3, axis=2) for each in (PHOTO, NOISE))
    result = gaussian_filter(grey, (0.7, 0.7, 0))
    noisy, denoised = (np.stack([each, each[::-1]]) for each in (grey + noise, result))
    filter_again(noisy, denoised, torch.device("cpu"))
    for channel in range(3):
        np.testing.assert_array_equal(denoised[..., channel], denoised[..., 0])
    alone = filtered((grey + noise)[::-1].copy(), result[::-1].copy())
    np.testing.assert_allclose(denoised[1], alone, atol=1e-6)
    one = filtered((grey + noise)[..., :1], result[..., :1])
    np.testing.assert_allclose(one[..., 0], denoised[0, ..., 0], atol=1e-6)


def test_frequencies_that_are_low_along_both_axes_stay() -> None:
    rows, columns = np.indices(PHOTO.shape[:2])
    slow = np.sin(2 * np.pi / 32 * rows) * np.sin(2 * np.pi / 32 * columns)
    photo = np.float32(0.4 + 0.1 * slow[..., None] + 0 * PHOTO)
    changed = filtered(photo + 5 * NOISE, photo) - photo
    assert np.abs(changed).mean() < 0.05 * np.abs(0.1 * slow).mean()


def test_noise_is_measured_where_it_is() -> None:
    noise = np.tile(NOISE, (2, 3, 1))
    noise[:, 240:] = 0
    clean = np.full_like(noise, 0.4) + np.tile(NOISE / 10, (2, 3, 1))
    changed = np.abs(filtered(clean + noise, clean) - clean)
    assert changed[:, 360:].mean() < 0.3 * changed[:, :120].mean()


def test_fine_grain_stays_and_other_mild_noise_goes() -> None:
    rng = np.random.default_rng(1)
    shape = 256, 320

    def kept(brightness: Array, colors: Array) -> float:
        noise = np.float32((brightness[..., None] + colors) / 255)
        return float((filtered(flat + noise, flat) - flat).std() / noise.std())

    flat = np.full((*shape, 3), 0.4, np.float32)
    fine, colors = 1.4 * rng.normal(size=shape), rng.normal(size=(*shape, 3))
    colors -= colors.mean(axis=2, keepdims=True)
    coarse, smooth = 3.5 * gaussian_filter(fine, 1), 4 * gaussian_filter(colors, (1, 1, 0))
    assert kept(fine, smooth) > 0.9
    assert kept(4 * fine, 4 * smooth) < 0.1
    assert kept(coarse, smooth) < 0.1
    assert kept(fine, colors) < 0.1
    assert kept(fine, smooth / 4) < 0.1


def test_a_photo_is_filtered_once_after_the_network_at_all_sizes(monkeypatch) -> None:
    steps = []
    for name in ("filter_again", "correct_by_half"):
        real = getattr(engine, name)

        def noted(noisy, denoised, *rest, name=name, real=real):
            real(noisy, denoised, *rest)
            steps.append((name, noisy.shape[:3]))

        monkeypatch.setattr(engine, name, noted)
    denoiser = load_denoiser(device="cpu")
    halves = [("correct_by_half", (60, 80)), ("correct_by_half", (120, 160))]
    whole = [*halves, ("filter_again", (120, 160))]
    denoiser(PHOTO + NOISE)
    assert steps == [(name, (1, *size)) for name, size in whole]
    steps.clear()
    denoiser.denoise_batch([PHOTO + NOISE, PHOTO - NOISE])
    assert steps == [(name, (2, *size)) for name, size in whole]


def test_noisy_and_clean_photos_gain() -> None:
    usual = {"device": "cpu", "white_noise": "off"}
    off, on = (load_denoiser(**usual, wiener=each) for each in ("off", "auto"))
    assert psnr(PHOTO, on(PHOTO + NOISE)) > psnr(PHOTO, off(PHOTO + NOISE)) + 0.1
    clean = [s.references[0][:160, :200] for s in open_demo() if s.name.endswith("weak")]
    photos = [np.float32(each / 255) for each in clean]
    assert np.mean([psnr(each, on(each)) - psnr(each, off(each)) for each in photos]) > 2.5
