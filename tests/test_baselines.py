"""Classical denoisers: they remove white noise and need nothing but the photo."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import pytest
from skimage.restoration import estimate_sigma

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.baselines import BASELINES, open_baseline
from ssbsn_cli.core.noise.white import estimate_sigmas

SIGMA = 0.08
# In dB, on the picture below: about 2 less than measured.
GAINS = {"nlm": 11, "wavelet": 8, "tv": 12.5, "bm3d": 13.5}
CHEAP = [name for name in BASELINES if name != "bm3d"]


@pytest.fixture(params=BASELINES)
def baseline(request):
    if request.param == "bm3d":
        pytest.importorskip("bm3d")
    return open_baseline(request.param)


def smooth(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    planes = (0.5 + 0.3 * np.sin(x / 20), 0.5 + 0.3 * np.cos(y / 15), 0.3 + 0.4 * x / width)
    return np.stack(planes, axis=-1)


def blocks(low, high):
    levels = np.random.default_rng(3).uniform(low, high, (16, 16, 3))
    return levels.repeat(4, axis=0).repeat(4, axis=1)


def add_noise(clean, sigma=SIGMA, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32)


def psnr(clean, image):
    return -10 * np.log10(np.mean((clean - image) ** 2))


# Denoising


def test_white_noise_is_removed(baseline):
    clean = smooth()
    noisy = add_noise(clean)
    before, threads = noisy.copy(), cv2.getNumThreads()
    result = baseline.denoise(noisy)
    assert result.dtype == np.float32
    assert result.shape == noisy.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert psnr(clean, result) > psnr(clean, noisy) + GAINS[baseline.name]
    np.testing.assert_array_equal(noisy, before)
    assert cv2.getNumThreads() == threads
    np.testing.assert_array_equal(baseline.denoise(noisy), result)


@pytest.mark.parametrize("name", CHEAP)
def test_fine_texture_is_not_taken_for_weak_noise(name):
    clean = blocks(0.4, 0.6)
    noisy = add_noise(clean, 0.01)
    result = open_baseline(name).denoise(noisy)
    assert psnr(clean, result) > psnr(clean, noisy) - 1
    assert np.std(result - noisy) > 0.002


def test_tv_removes_as_much_as_there_is_noise():
    noisy = add_noise(blocks(0.2, 0.8), 0.03)
    removed = np.sqrt(np.mean((open_baseline("tv").denoise(noisy) - noisy) ** 2, axis=(0, 1)))
    np.testing.assert_allclose(removed, estimate_sigmas(noisy), rtol=0.051)


@pytest.mark.parametrize("name", ["wavelet", "tv"])
def test_a_darker_photo_is_denoised_alike(name):
    noisy = add_noise(smooth())
    run = open_baseline(name).denoise
    np.testing.assert_allclose(4 * run(noisy / 4), run(noisy), atol=1e-5)


def test_a_darker_photo_is_denoised_by_nlm():
    # Its colours are CIELAB's, which are not proportional to brightness.
    clean = smooth()
    noisy = add_noise(clean)
    result = open_baseline("nlm").denoise(noisy / 16)
    assert psnr(clean, 16 * result) > psnr(clean, noisy) + 4


@pytest.mark.parametrize("name", CHEAP)
def test_integers_and_floats_are_denoised_alike(name):
    baseline = open_baseline(name)
    # As many levels as all three types can express.
    levels = np.rint(add_noise(smooth(24, 24)) * 255).astype(np.uint8)
    expected = baseline.denoise(levels)
    np.testing.assert_allclose(baseline.denoise(levels * np.uint16(257)), expected, atol=1e-5)
    np.testing.assert_allclose(baseline.denoise(levels / np.float32(255)), expected, atol=1e-5)


@pytest.mark.parametrize("name", CHEAP)
def test_sixteen_bits_are_used_but_by_nlm(name):
    noisy = add_noise(smooth())
    fine = np.rint(noisy * 65535).astype(np.uint16)
    coarse = np.rint(noisy * 255).astype(np.uint8)
    baseline = open_baseline(name)
    result = baseline.denoise(fine)
    assert np.abs(result - baseline.denoise(coarse)).max() < 0.02
    result *= 255
    assert np.allclose(result, np.rint(result), atol=1e-3) == (name == "nlm")
    assert ("rounded to 8 bits" in baseline.description) == (name == "nlm")


def test_grey_photos_stay_grey_and_lose_their_noise(baseline):
    clean = np.repeat(smooth(32, 32)[..., :1], 3, axis=-1)
    noisy = np.repeat(add_noise(clean)[..., :1], 3, axis=-1)
    result = baseline.denoise(noisy)
    # CIELAB in 8 bits does not quite keep grey.
    np.testing.assert_allclose(result, result[..., :1].repeat(3, -1), atol=0.02)
    assert psnr(clean, result) > psnr(clean, noisy) + 3


def test_a_channel_without_noise_stays():
    noisy = add_noise(smooth(24, 24))
    noisy[..., 1] = 0.5
    result = open_baseline("tv").denoise(noisy)
    np.testing.assert_array_equal(result[..., 1], 0.5)
    assert np.std(result[..., 0] - noisy[..., 0]) > SIGMA / 2


# Images without noise, and images that are too small for it


@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_constant_photos_come_back(baseline, value, dtype):
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    image = np.full((20, 30, 3), value / 255 * white).astype(dtype)
    result = baseline.denoise(image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, value / 255, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_a_line_of_pixels_comes_back(baseline, size):
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    np.testing.assert_array_equal(baseline.denoise(image), image)


@pytest.mark.parametrize("size", [(2, 5), (3, 300), (8, 8)])
def test_tiny_photos_are_denoised(baseline, size):
    noisy = add_noise(np.full((*size, 3), 0.5))
    result = baseline.denoise(noisy)
    assert result.shape == noisy.shape
    assert np.isfinite(result).all()
    assert (result != noisy).any()
    assert np.std(result) <= np.std(noisy) + 1e-6


@pytest.mark.parametrize("name", CHEAP)
def test_enlarged_photos_are_finite(name):
    # No pair of pixels that the Haar wavelet looks at differs.
    noisy = add_noise(smooth(24, 32)).repeat(2, 0).repeat(2, 1)
    result = open_baseline(name).denoise(noisy)
    assert np.isfinite(result).all()
    assert (result != noisy).any()


@pytest.mark.parametrize("name", CHEAP)
def test_values_beyond_black_and_white_are_clipped(name):
    noise = np.random.default_rng(0).normal(-0.5, 0.2, (20, 20, 3)).astype(np.float32)
    noise[10:] += 2
    result = open_baseline(name).denoise(noise)
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


# The noise level


@pytest.mark.parametrize("sigma", [0.004, 0.02, 0.1])
def test_the_noise_level_of_white_noise_is_found(sigma):
    clean = 0.5 + (smooth(128, 128) - 0.5) / 4
    noise = np.random.default_rng(1).normal(0, [sigma, 0.5 * sigma, 0], clean.shape)
    found = estimate_sigmas(clean + noise)
    np.testing.assert_allclose(found[:2], [sigma, sigma / 2], rtol=0.05)
    assert found[2] < sigma / 20
    theirs = estimate_sigma(clean + noise, channel_axis=-1)
    np.testing.assert_allclose(found[:2], theirs[:2], rtol=1e-3)


def test_correlated_noise_is_underestimated():
    white = np.random.default_rng(0).normal(0, 0.1, (129, 129, 3))
    blurred = (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2
    assert blurred.std() == pytest.approx(0.1, rel=0.05)
    assert estimate_sigmas(0.5 + blurred).max() < 0.05


@pytest.mark.parametrize("level", [0, 1])
def test_black_and_blown_out_parts_do_not_count(level):
    noisy = add_noise(np.full((64, 64, 3), 0.5), 0.05)
    noisy[:48] = level
    np.testing.assert_allclose(estimate_sigmas(noisy), 0.05, rtol=0.15)


# Names


def test_each_says_what_it_is(baseline):
    assert baseline.title
    assert "estimated from the photo" in baseline.description
    assert "not corrected" in baseline.description
    # Part of a key that is written to a file and compared with what is read.
    settings = dict(baseline.settings)
    assert json.loads(json.dumps(settings)) == settings
    library = {"nlm": "opencv", "bm3d": "bm3d"}.get(baseline.name, "scikit-image")
    assert settings[library][0].isdigit()


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(OptionError, match="'bm3'") as refusal:
        open_baseline("bm3")
    assert "Did you mean bm3d?" in refusal.value.hint
    assert all(name in refusal.value.hint for name in BASELINES)


def test_bm3d_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(OptionError, match="bm3d") as refusal:
        open_baseline("bm3d")
    assert 'pip install "ssbsn[bm3d]"' in refusal.value.hint
    assert "non-commercial" in refusal.value.hint
    for name in CHEAP:
        assert open_baseline(name).name == name
