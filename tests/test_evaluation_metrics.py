"""Scores: rounded as the papers do, and agreeing with their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample
from ssbsn_cli.core.evaluation.metrics import MAX_PSNR, METRICS, ROUNDING, quantise

psnr, ssim, ssim_gaussian = (METRICS[name].compute for name in ("psnr", "ssim", "ssim_gaussian"))
WINDOWS = {"psnr": 1, "ssim": 7, "ssim_gaussian": 11}
LEVELS = st.floats(-1000, 1000, width=32)


def pair(height=20, width=24, seed=0, channels=3):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(30, 220, width)[None, :, None] + np.zeros((height, width, channels))
    clean = quantise(ramp + rng.normal(0, 10, ramp.shape))
    return clean, quantise(clean + rng.normal(0, 15, ramp.shape))


# Rounding


def test_halves_go_up_and_the_rest_is_clipped():
    x = np.array([-1e9, -0.6, -0.5, 0, 0.49, 0.5, 1.5, 2.5, 254.49, 254.5, 255.5, np.inf])
    expected = [0, 0, 0, 0, 0, 1, 2, 3, 254, 255, 255, 255]
    for dtype in (np.float32, np.float64):
        rounded = quantise(x.astype(dtype))
        assert rounded.dtype == np.uint8
        np.testing.assert_array_equal(rounded, expected)


@given(arrays.arrays(np.float32, st.integers(0, 50), elements=LEVELS))
def test_rounding_is_to_the_nearest_level(x):
    rounded = quantise(x).astype(np.float64)
    assert (np.abs(np.clip(x.astype(np.float64), 0, 255) - rounded) <= 0.5 + 1e-4).all()


@given(arrays.arrays(np.uint8, st.integers(0, 50)))
def test_what_is_rounded_already_stays(levels):
    np.testing.assert_array_equal(quantise(levels.astype(np.float32)), levels)


def test_nan_is_refused():
    with pytest.raises(OptionError, match="not numbers") as refusal:
        quantise(np.array([1.0, np.nan]))
    assert refusal.value.hint


# References


def mean_of(*references):
    return Sample("a", references[0], references).reference()


def test_references_are_averaged_without_rounding():
    first = np.full((2, 2, 3), 255, np.uint8)
    second = np.full((2, 2, 3), 254, np.uint8)
    mean = mean_of(first, second, (second / 255).astype(np.float32), second)
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, np.full((2, 2, 3), 254.25), rtol=1e-7)
    np.testing.assert_array_equal(mean_of(first, second), np.full((2, 2, 3), 254.5))
    np.testing.assert_array_equal(quantise(mean), second)
    np.testing.assert_array_equal(mean_of(first), first)


def test_the_fractions_of_a_mean_count():
    image = np.full((8, 8, 3), 100, np.uint8)
    mean = mean_of(image, image + 1)
    assert psnr(mean, image) == pytest.approx(10 * math.log10(255**2 / 0.25))
    assert ssim(mean, image) == pytest.approx(
        (2 * 100.5 * 100 + 6.5025) / (100.5**2 + 100**2 + 6.5025)
    )


# PSNR


@pytest.mark.parametrize(
    ("difference", "expected"), [(255, 0.0), (1, 48.1308036), (10, 28.1308036)]
)
def test_psnr_of_a_constant_difference(difference, expected):
    clean = np.zeros((3, 5, 3), np.uint8)
    assert psnr(clean, clean + np.uint8(difference)) == pytest.approx(expected, abs=1e-6)
    assert psnr(clean + np.uint8(difference), clean) == pytest.approx(expected, abs=1e-6)


def test_psnr_is_over_all_pixels_and_channels_at_once():
    clean = np.zeros((1, 2, 3), np.uint8)
    image = np.array([[[3, 0, 0], [0, 0, 6]]], np.uint8)
    assert psnr(clean, image) == pytest.approx(10 * math.log10(65025 / (45 / 6)))


def test_equal_pictures_have_the_highest_psnr():
    clean = np.zeros((400, 400, 3), np.uint8)
    assert psnr(clean, clean) == MAX_PSNR == 100
    image = clean.copy()
    image[0, 0, 0] = 1
    assert peak_signal_noise_ratio(clean, image) > 100
    assert psnr(clean, image) == MAX_PSNR


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_psnr_agrees_with_scikit_image(seed):
    rng = np.random.default_rng(seed)
    clean, image = rng.integers(0, 256, (2, 9, 7, 3), np.uint8)
    assert psnr(clean, image) == pytest.approx(peak_signal_noise_ratio(clean, image))


# SSIM


def by_formula(clean, image, weights, sample):
    """SSIM once more, straight from the formula of Wang et al."""
    side = len(weights)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = []
    for channel in range(clean.shape[2]):
        x, y = (
            np.lib.stride_tricks.sliding_window_view(
                picture[..., channel].astype(np.float64), (side, side)
            )
            for picture in (clean, image)
        )
        mean_x, mean_y = ((weights * v).sum((-1, -2))[..., None, None] for v in (x, y))
        norm = side**2 / (side**2 - 1) if sample else 1
        var_x = norm * (weights * (x - mean_x) ** 2).sum((-1, -2))
        var_y = norm * (weights * (y - mean_y) ** 2).sum((-1, -2))
        both = norm * (weights * (x - mean_x) * (y - mean_y)).sum((-1, -2))
        mean_x, mean_y = mean_x[..., 0, 0], mean_y[..., 0, 0]
        score = (2 * mean_x * mean_y + c1) * (2 * both + c2)
        score /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
        scores.append(score.mean())
    return np.mean(scores)


FLAT = np.full((7, 7), 1 / 49)
_BELL = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
GAUSSIAN = np.outer(_BELL, _BELL) / _BELL.sum() ** 2


@pytest.mark.parametrize("size", [(11, 11), (20, 24), (13, 40)])
def test_ssim_agrees_with_the_formula(size):
    clean, image = pair(*size)
    assert ssim(clean, image) == pytest.approx(by_formula(clean, image, FLAT, True), abs=1e-9)
    assert ssim_gaussian(clean, image) == pytest.approx(
        by_formula(clean, image, GAUSSIAN, False), abs=1e-9
    )
    assert 0.05 < ssim(clean, image) < 0.95
    assert ssim(clean, image) != ssim_gaussian(clean, image)


def test_ssim_is_that_of_the_papers_code_in_float32():
    clean, image = pair(64, 64)
    theirs = structural_similarity(
        image.astype(np.float32), clean.astype(np.float32), channel_axis=-1, data_range=255
    )
    assert ssim(clean, image) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("score", [ssim, ssim_gaussian])
def test_ssim_of_flat_pictures_is_the_term_of_luminance(score):
    dark, bright = (np.full((12, 12, 3), level, np.uint8) for level in (50, 100))
    expected = (2 * 50 * 100 + 6.5025) / (50**2 + 100**2 + 6.5025)
    assert score(dark, bright) == pytest.approx(expected)
    assert score(dark, dark) == pytest.approx(1)


# All of them


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(METRICS)), st.sampled_from([1, 3]))
def test_scores_are_symmetric_and_best_for_equal_pictures(seed, name, channels):
    metric = METRICS[name]
    clean, image = pair(12, 13, seed, channels)
    score = metric.compute(clean, image)
    assert score == pytest.approx(metric.compute(image, clean))
    assert score == metric.compute(clean.astype(np.float64), image)
    best = metric.compute(clean, clean)
    assert best == pytest.approx(100 if name == "psnr" else 1)
    assert (score < best) == metric.higher_is_better


def test_the_registry_says_what_each_score_is():
    assert "8 bits" in ROUNDING
    assert "7x7" in METRICS["ssim"].description
    assert "11x11" in METRICS["ssim_gaussian"].description


@pytest.mark.parametrize("name", sorted(METRICS))
def test_pictures_below_the_window_are_refused(name):
    metric = METRICS[name]
    side = WINDOWS[name]
    for shape in ((side - 1, 30, 3), (30, side - 1, 3)):
        small = np.zeros(shape, np.uint8)
        with pytest.raises(OptionError, match=f"at least {side}x{side} pixels") as refusal:
            metric.compute(small, small)
        assert refusal.value.hint
    just = np.zeros((side, side, 3), np.uint8)
    assert metric.compute(just, just) > 0.99
