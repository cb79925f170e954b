"""Filtering the photo again gives back detail, removes the rest of the noise, and harms nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import ssbsn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
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
    board = np.where((rows + columns) % 2, 0.3, 0.7).astype(np.float32)[..., None]
    noisy = board + 1e4 * NOISE[..., :1]
    expected = (board + np.float32(0.5)) / 2
    np.testing.assert_allclose(filtered(noisy, board), expected, atol=0.01)


def test_detail_that_a_result_lacks_is_given_back() -> None:
    clean = np.full_like(PHOTO, 0.4)
    clean[20::50, 20::50] = clean[22::50, 23::50] = 0.9
    result = gaussian_filter(clean, (0.5, 0.5, 0))
    assert psnr(clean, filtered(clean + NOISE / 3, result)) > psnr(clean, result) + 1


def test_noise_that_a_result_has_is_removed() -> None:
    flat = np.full_like(PHOTO, 0.4)
    result = flat + NOISE / 3
    assert psnr(flat, filtered(flat + NOISE, result)) > psnr(flat, result) + 1


def test_grey_stays_grey_and_a_batch_is_its_images() -> None:
    grey, noise = (np.repeat(each[..., :1], 3, axis=2) for each in (PHOTO, NOISE))
    result = gaussian_filter(grey, (0.7, 0.7, 0))
    noisy, denoised = (np.stack([each, each[::-1]]) for each in (grey + noise, result))
    filter_again(noisy, denoised, torch.device("cpu"))
    for channel in range(3):
        np.testing.assert_array_equal(denoised[..., channel], denoised[..., 0])
    alone = filtered((grey + noise)[::-1].copy(), result[::-1].copy())
    np.testing.assert_allclose(denoised[1], alone, atol=1e-6)


def test_photos_gain() -> None:
    off, on = (load_denoiser(device="cpu", wiener=each) for each in ("off", "auto"))
    assert psnr(PHOTO, on(PHOTO + NOISE)) > psnr(PHOTO, off(PHOTO + NOISE)) + 0.15


def test_the_command_can_leave_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.uint8((PHOTO + NOISE).clip(0, 1) * 255)).save("photo.png")

    def run(*options: str) -> Array:
        done = ssbsn("denoise", "photo.png", "-o", "out.png", "--overwrite", "--json", *options)
        assert json.loads(done.stdout)["wiener"] == (not options)
        return np.asarray(Image.open("out.png"))

    assert (run() != run("--wiener", "off")).any()
