"""Synthetic noise is like that of cameras, and the same on the same crop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_data import noise, save

from ssbsn_cli.core.data import CropSampler, NoiseModel, SyntheticPairs, Varied, open_cache
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.runtime.threads import prefetch

NONE = {"shot": (0, 0), "read": (0, 0)}
STRONG = {"shot": (4e-3, 1.2e-2), "read": (4e-3, 1.5e-2)}


def photo(height=64, width=64, seed=0):
    return (noise(height, width, seed).transpose(2, 0, 1) / 255).astype(np.float32)


def grey(level, side=256):
    return np.full((3, side, side), level, np.float32)


def residual(model, level, seed):
    noisy = model.synthesise(grey(level), np.random.default_rng(seed)).astype(np.float64)
    return noisy - noisy.mean(axis=(1, 2), keepdims=True)


def correlation(values, lag):
    down = (values[:, lag:] * values[:, :-lag]).mean()
    across = (values[:, :, lag:] * values[:, :, :-lag]).mean()
    return np.array([down, across]) / (values**2).mean()


# The model


@pytest.mark.parametrize("levels", [NONE, {"shot": (1e-12, 1e-10), "read": (1e-9, 1e-7)}])
def test_without_noise_the_photo_comes_back(levels):
    clean = photo()
    noisy = NoiseModel(**levels).synthesise(clean, np.random.default_rng(0))
    assert np.abs(noisy - clean).max() < 1 / 255
    black_and_white = np.stack([grey(0)[0], grey(1)[0], grey(1)[0]])
    noisy = NoiseModel(**NONE).synthesise(black_and_white, np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, black_and_white)


def test_the_same_numbers_make_the_same_noise():
    clean, model = photo(), NoiseModel(jpeg_quality=(60, 95))
    before = clean.copy()
    one, two, other = (model.synthesise(clean, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(clean, before)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(8))
def test_neighbours_correlate_as_in_real_photos(seed):
    values = residual(NoiseModel(**STRONG), 0.5, seed)
    for channel in values[:, None]:
        assert np.all((correlation(channel, 1) > 0.43) & (correlation(channel, 1) < 0.71))
        assert np.all((correlation(channel, 2) > 0.05) & (correlation(channel, 2) < 0.38))


def test_noise_without_blur_is_white():
    values = residual(NoiseModel(**STRONG, blur=(0, 0)), 0.5, 0)
    assert np.abs(correlation(values, 1)).max() < 0.01


def linear(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("blur", [0, 0.6, 0.84])
@pytest.mark.parametrize("level", [0.35, 0.5, 0.7])
def test_noise_is_as_strong_as_was_asked_for(level, blur):
    shot, read, gain = 3e-3, 5e-3, 2
    model = NoiseModel((shot, shot), (read, read), (gain, gain), (gain, gain), (blur, blur))
    light = linear(model.synthesise(grey(level), np.random.default_rng(0)).astype(np.float64))
    signal = linear(level)
    for channel, g in zip(light, (gain, 1, gain), strict=True):
        expected = g * np.sqrt(shot * signal / g + read**2)
        assert channel.std() == pytest.approx(expected, rel=0.03)
        assert channel.mean() == pytest.approx(signal, rel=0.01)


def test_the_strength_of_photos_spreads_evenly_by_its_logarithm():
    model = NoiseModel(shot=(0, 0), read=(1e-2, 1e-1), blur=(0, 0))
    green = grey(0.7, 48)
    strengths = [
        np.log10(linear(model.synthesise(green, np.random.default_rng(i))[1]).std())
        for i in range(200)
    ]
    # Rounding and clipping touch the ends a little.
    assert -2.05 < min(strengths) < -1.95
    assert -1.05 < max(strengths) < -0.95
    assert np.median(strengths) == pytest.approx(-1.5, abs=0.1)


def test_default_noise_is_that_of_real_photos():
    strengths = [residual(NoiseModel(), 0.5, seed)[1].std() * 255 for seed in range(40)]
    assert 0.5 < min(strengths) < 3
    assert 10 < max(strengths) < 30


def test_jpeg_changes_what_it_saves():
    clean = photo()
    low = NoiseModel(**NONE, jpeg_quality=(20, 20)).synthesise(clean, np.random.default_rng(0))
    high = NoiseModel(**NONE, jpeg_quality=(98, 98)).synthesise(clean, np.random.default_rng(0))
    assert np.abs(high - clean).mean() < np.abs(low - clean).mean()
    # Red stays red.
    red = np.stack([grey(1)[0], grey(0)[0], grey(0)[0]])
    saved = NoiseModel(**NONE, jpeg_quality=(90, 90)).synthesise(red, np.random.default_rng(0))
    assert np.abs(saved - red).max() < 0.03


def ranges(most, least=0.0):
    return st.tuples(*[st.floats(least, most, allow_subnormal=False)] * 2).map(
        lambda pair: tuple(sorted(pair)) if min(pair) > 0 else (0, 0)
    )


@settings(deadline=None, max_examples=60)
@given(
    clean=arrays.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(0, 1, width=32),
    ),
    shot=ranges(1),
    read=ranges(1),
    gains=ranges(16, 1),
    blur=ranges(1),
    quality=st.none() | st.integers(1, 100).map(lambda quality: (quality, 100)),
    seed=st.integers(0, 100),
)
def test_every_photo_comes_out_in_range(clean, shot, read, gains, blur, quality, seed):
    model = NoiseModel(shot, read, gains, gains, blur, quality)
    noisy = model.synthesise(clean, np.random.default_rng(seed))
    assert noisy.shape == clean.shape
    assert noisy.dtype == np.float32
    assert noisy.flags.c_contiguous
    assert 0 <= noisy.min() <= noisy.max() <= 1
    np.testing.assert_allclose(noisy * 255, np.rint(noisy * 255), atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"shot": (2e-3, 1e-3)},
        {"shot": (0, 1e-3)},
        {"read": (-1, 1)},
        {"read": (float("nan"), 1)},
        {"red_gain": (0.5, 2)},
        {"blue_gain": (1, float("inf"))},
        {"blur": (0, 3)},
        {"jpeg_quality": (0, 50)},
        {"jpeg_quality": (50, 101)},
    ],
)
def test_senseless_ranges_are_refused_by_name(change):
    (name,) = change
    with pytest.raises(OptionError, match=name.replace("_", " ")) as refusal:
        NoiseModel(**change)
    assert refusal.value.hint


# Pairs


@pytest.fixture
def cache(tmp_path):
    paths = [save(tmp_path / f"photos/{i}.png", noise(40 + i, 50, i)) for i in range(3)]
    return open_cache(paths, tmp_path / "cache")


def test_the_clean_crops_are_those_of_the_sampler(cache):
    sampler = CropSampler([cache], [1], 16, 4, seed=3)
    noisy, clean = SyntheticPairs(sampler, Varied(NoiseModel(**STRONG), Scenes()), seed=5).batch(2)
    np.testing.assert_array_equal(clean, sampler.batch(2))
    assert noisy.dtype == np.float32
    assert noisy.shape == clean.shape
    assert all(np.abs(a - b).max() > 0.02 for a, b in zip(noisy, clean, strict=True))


def test_a_resumed_or_split_training_sees_the_same_noise(cache):
    model = Varied(NoiseModel(), Scenes())
    sampler = CropSampler([cache], [1], 16, 4, seed=3)
    run = list(prefetch(SyntheticPairs(sampler, model, seed=3), 0, 4))
    resumed = SyntheticPairs(sampler, model, seed=3)
    np.testing.assert_array_equal(resumed.batch(3)[0], run[3][0])
    for rank in (0, 1):
        half = CropSampler([cache], [1], 16, 2, seed=3, rank=rank, world=2)
        for step, (noisy, _) in enumerate(run):
            part, _ = SyntheticPairs(half, model, seed=3).batch(step)
            np.testing.assert_array_equal(part, noisy[2 * rank : 2 * rank + 2])


def test_every_crop_has_noise_of_its_own(tmp_path):
    flat = open_cache([save(tmp_path / "p.png", np.full((9, 9, 3), 128, np.uint8))], tmp_path)
    sampler = CropSampler([flat], [1], 9, 8, seed=0)
    noisy, _ = SyntheticPairs(sampler, Varied(NoiseModel(**STRONG), Scenes()), seed=0).batch(0)
    assert len({crop.tobytes() for crop in noisy}) == 8
    other, _ = SyntheticPairs(sampler, Varied(NoiseModel(**STRONG), Scenes()), seed=1).batch(0)
    assert not np.array_equal(other, noisy)
    with pytest.raises(OptionError, match="seed"):
        SyntheticPairs(sampler, Varied(NoiseModel(), Scenes()), seed=-1)
