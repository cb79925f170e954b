"""Noise of whole cameras, and noise lifted from real photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kurtosis
from test_data import noise, save
from test_noise import correlation, grey, only, photo

from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.noise.camera import Camera
from ssbsn_cli.core.noise.edits import Edits
from ssbsn_cli.core.noise.kinds import Grain
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.sensor import PATTERNS, demosaic_noise, sample
from ssbsn_cli.core.noise.tone import Tone, srgb_slope
from ssbsn_cli.core.training.batches import lift, synthetic_pairs
from ssbsn_cli.core.types import from_srgb, to_srgb

PARTS = (
    "mosaic",
    "differences",
    "clipped",
    "rows",
    "toned",
    "power",
    "hot",
    "smoothed",
    "sharpened",
    "zoomed",
    "blotched",
    "beyond",
)
PLAIN = dict.fromkeys(PARTS, 0.0)


def alike(noise, lag=1):
    """Return how noise (H, W, C) correlates over a distance."""
    return correlation((noise - noise.mean(axis=(0, 1))).transpose(2, 0, 1), lag).mean()


# What grows if noise goes through a part, and by how much at least.
SIGNS = {
    "rows": (lambda n: np.log(n.mean(axis=1).var() / n.mean(axis=0).var()), 0.1),
    "hot": (lambda n: np.log(kurtosis(n, axis=None) + 3), 0.5),
    "smoothed": (lambda n: alike(n[..., ::2] - n[..., 1:2]), 0.3),
    "sharpened": (lambda n: -alike(n), 0.03),
    "zoomed": (alike, 0.2),
    "blotched": (lambda n: alike(n, 5), 0.015),
}


@pytest.mark.parametrize("part", SIGNS)
def test_every_part_of_a_camera_leaves_its_traces(part):
    measure, least = SIGNS[part]

    def mean(share):
        camera = Camera(**PLAIN | {part: share, "deviation": (8, 8)})
        rngs = map(np.random.default_rng, range(24))
        noises = [255 * (camera.add(grey(0.1, 64), rng) - 0.1) for rng in rngs]
        # Processing hardly changes the strength of noise, and keeps its grey.
        assert part == "hot" or 6 < np.mean([noise.std() for noise in noises]) < 12
        assert np.mean([noise.mean(axis=2).std() / noise.std() for noise in noises]) > 0.3
        return np.mean([measure(noise) for noise in noises])

    assert mean(1.0) > mean(0.0) + least


def test_white_balance_amplifies_the_noise_of_red_and_blue():
    camera = Camera(**PLAIN | {"deviation": (8, 8)})
    noises = [camera.add(grey(0.4, 48), np.random.default_rng(seed)) for seed in range(16)]
    red, green, blue = np.mean([noise.std(axis=(0, 1)) for noise in noises], axis=0)
    assert min(red, blue) > 1.2 * green


def test_the_variance_grows_linearly_with_light():
    light = np.repeat(np.float32([0.05, 0.2, 0.35]), 32)
    photo = np.float32(np.tile(to_srgb(light)[None, :, None], (96, 1, 3)))
    camera, found = Camera(**PLAIN | {"deviation": (4, 4)}), []
    for seed in range(40):
        seen = from_srgb(np.clip(camera.add(photo, np.random.default_rng(seed)), 0, 1))
        found.append([seen[:, at + 8 : at + 24].var(axis=(0, 1)).mean() for at in (0, 32, 64)])
    low, middle, high = np.mean(found, axis=0)
    assert high > 4 * low
    assert (middle - low) / (high - low) == pytest.approx(0.5, abs=0.06)


def deviation(camera, level, seed):
    noisy = camera.add(grey(level, 96), np.random.default_rng(seed))
    return float(noisy.std(axis=(0, 1)).mean() * 255)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    parts=st.fixed_dictionaries({name: st.sampled_from([0.0, 1.0]) for name in PARTS}),
    seed=st.integers(0, 1000),
)
def test_photos_of_any_size_get_the_same_noise_again(height, width, parts, seed):
    clean = photo(height, width, seed)
    noisy, again = (Camera(**parts).add(clean, np.random.default_rng(seed)) for _ in range(2))
    assert noisy.shape == clean.shape
    assert noisy.dtype == np.float32
    assert np.isfinite(noisy).all()
    np.testing.assert_array_equal(again, noisy)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_noise_is_as_strong_as_asked_for(mosaic):
    camera = Camera(**{**PLAIN, "mosaic": mosaic, "deviation": (8, 8)})
    strengths = [deviation(camera, 0.4, seed) for seed in range(20)]
    assert 6 < np.mean(strengths) < 11
    weak, strong = (Camera(**{**PLAIN, "deviation": (d, d)}) for d in (2, 20))
    assert deviation(weak, 0.4, 0) * 5 < deviation(strong, 0.4, 0)


@pytest.mark.parametrize("pattern", range(PATTERNS))
@pytest.mark.parametrize("way", range(3))
def test_an_even_colour_comes_back_from_every_mosaic(pattern, way):
    colours = np.broadcast_to(np.float32([0.2, 0.5, 0.8]), (16, 18, 3))
    mosaic = sample(colours, pattern)
    found = demosaic_noise(mosaic, np.zeros_like(mosaic), pattern, way)
    np.testing.assert_allclose(found[2:-2, 2:-2], colours[2:-2, 2:-2], atol=2e-4)


def test_grain_has_its_deviation_at_middle_grey():
    grey = np.full((256, 256, 3), 0.5, np.float32)
    deviations = [
        (Grain((8, 8)).add(grey, np.random.default_rng(seed)) - grey).std() * 255
        for seed in range(8)
    ]
    assert np.median(deviations) == pytest.approx(8, rel=0.2)


def test_mosaics_make_neighbours_correlate():
    one = Camera(**{**PLAIN, "mosaic": 1.0, "deviation": (10, 10)})
    values = one.add(grey(0.5), np.random.default_rng(0)).astype(np.float64).transpose(2, 0, 1)
    values -= values.mean(axis=(1, 2), keepdims=True)
    assert (correlation(values, 1) > 0.3).all()
    assert (np.abs(correlation(values, 6)) < 0.1).all()


def test_channels_go_together_where_their_differences_are_smoothed():
    together = {}
    for differences in (0.0, 1.0):
        camera = Camera(
            **{**PLAIN, "mosaic": 1.0, "differences": differences, "deviation": (10, 10)}
        )
        values = [camera.add(grey(0.5), np.random.default_rng(seed)) for seed in range(8)]
        pairs = [np.corrcoef(each.reshape(-1, 3).T)[[0, 1], [1, 2]] for each in values]
        together[differences] = np.mean(pairs)
    assert together[1.0] > together[0.0] + 0.3


def test_sharp_photos_stay_sharp():
    """Only noise goes through the mosaic: edges are where they were."""
    stripes = np.full((32, 32, 3), 0.2, np.float32)
    for left in range(0, 32, 16):
        stripes[:, left : left + 8] = 0.8
    camera = Camera(**{**PLAIN, "mosaic": 1.0, "deviation": (1, 1)})
    noisy = camera.add(stripes, np.random.default_rng(0))
    assert np.abs(noisy - stripes).max() < 15 / 255


def test_a_channel_out_of_range_has_hardly_any_noise_and_the_others_have_theirs():
    olive = np.broadcast_to(np.float32([0.35, 0.33, 0]), (96, 96, 3))

    def noise_of(beyond):
        camera = Camera(**PLAIN | {"beyond": beyond}, deviation=(3, 3))
        strengths = []
        for seed in range(12):
            noisy = np.clip(camera.add(olive, np.random.default_rng(seed)), 0, 1)
            strengths.append((noisy - olive).std(axis=(0, 1)))
        return np.median(strengths, axis=0)

    within, beyond = noise_of(0.0), noise_of(1.0)
    assert beyond[2] < 0.5 * within[2]
    assert (beyond[:2] > 0.8 * within[:2]).all()


def test_black_that_is_clipped_gets_brighter():
    clipped = Camera(**{**PLAIN, "clipped": 1.0, "deviation": (20, 20)})
    shift = [
        clipped.add(grey(0.02, 64), np.random.default_rng(seed)).mean() - 0.02 for seed in range(5)
    ]
    assert np.mean(shift) > 0.01


def test_the_curve_of_srgb_is_undone_and_its_slope_is_its_slope():
    light = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(from_srgb(to_srgb(light)), light, atol=1e-6)
    np.testing.assert_allclose(
        srgb_slope(light[5:-1]), np.gradient(to_srgb(light), light)[5:-1], rtol=0.2
    )


@pytest.mark.parametrize("contrast", [-0.6, 0.0, 0.8, 0.98])
@pytest.mark.parametrize("gamma", [None, 2.0, 2.4])
def test_a_curve_is_undone_and_its_slope_is_its_slope(contrast, gamma):
    tone = Tone(contrast, gamma)
    light = np.linspace(0, 1, 2001)
    values = tone(light)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(values[[0, -1]], [0, 1], atol=1e-9)
    np.testing.assert_allclose(tone.undo(values), light, atol=1e-3)
    np.testing.assert_allclose(
        tone.slope(light)[10:-1], np.gradient(values, light)[10:-1], rtol=0.2
    )


def test_noise_darkens_the_dark_more_by_a_power():
    """Near black, a power is steeper than the curve of sRGB."""
    shift = {}
    for power in (0.0, 1.0):
        camera = Camera(**{**PLAIN, "power": power, "deviation": (18, 18)})
        noisy = [
            np.clip(camera.add(grey(0.12), np.random.default_rng(seed)), 0, 1) for seed in range(20)
        ]
        shift[power] = 255 * (np.mean(noisy) - 0.12)
    assert shift[1.0] < shift[0.0] - 0.3 < -1


# Lifted noise


def correlated(rng, height, width):
    """Noise whose neighbours correlate by one half, red stronger than blue."""
    white = rng.standard_normal((height + 1, width + 1, 3))
    smooth = (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2
    return smooth * [1.5, 1.0, 0.5]


@pytest.fixture
def lifted(tmp_path):
    """Lifted from a photo whose dark half has noise of 4 grey levels and whose bright one of 9."""
    rng = np.random.default_rng(0)
    scene = np.full((256, 512, 3), 60.0)
    scene[:, 256:] = 180
    # Edges and gradients are no noise.
    scene += np.linspace(0, 20, 512)[None, :, None]
    scene[::61] += 40
    strength = np.where(np.arange(512) < 256, 4, 9)[None, :, None]
    picture = scene + strength * correlated(rng, 256, 512)
    path = save(tmp_path / "noisy.png", np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    (found,) = lift(open_cache([path], tmp_path / "cache"))
    return found


def test_lifted_noise_is_that_of_the_photo(lifted):
    reference = correlated(np.random.default_rng(1), 256, 256).transpose(2, 0, 1)
    total = np.sqrt((reference**2).mean())
    for level, expected in ((70, 4), (190, 9)):
        strengths, lags, colors = [], [], []
        for seed in range(12):
            noisy = lifted.add(grey(level / 255), np.random.default_rng(seed))
            values = noisy.transpose(2, 0, 1).astype(np.float64) * 255
            values -= values.mean(axis=(1, 2), keepdims=True)
            strengths.append(np.sqrt((values**2).mean()))
            lags.append(correlation(values, 1))
            colors.append(values[0].std() / values[2].std())
        # A photo's noise comes back at half to twice its strength.
        assert 0.5 * expected * total < min(strengths)
        assert max(strengths) < 2.4 * expected * total
        assert max(strengths) > 1.5 * min(strengths)
        np.testing.assert_allclose(np.mean(lags, axis=0), correlation(reference, 1), atol=0.1)
        assert 2.2 < np.mean(colors) < 3.8


def test_small_photos_get_noise_as_strong_as_large_ones(lifted):
    def strength(side):
        noisy = [lifted.add(grey(0.5, side), np.random.default_rng(seed)) for seed in range(60)]
        return np.std(np.stack(noisy) - 0.5)

    assert 0.7 < strength(9) / strength(64) < 1.4


def test_photos_without_flat_parts_give_no_noise(tmp_path):
    black = save(tmp_path / "black.png", np.zeros((128, 128, 3), np.uint8))
    small = save(tmp_path / "small.png", noise(20, 20, 0))
    assert lift(open_cache([black, small], tmp_path / "cache")) == []


# Pairs


class Adds:
    """Lifted noise that says which it is."""

    def __init__(self, value):
        self.value = value

    def add(self, photo, rng, factor, *, beyond):
        assert 0.5 <= factor <= 8
        return photo + np.float32(self.value)


def test_each_lifted_noise_is_drawn_as_often_as_its_odds_say():
    rng = np.random.default_rng(0)
    recipe = only("lifted", lifted=[Adds(0.2), Adds(0.4), Adds(0.6)], odds=[3, 0, 1])
    black = np.zeros((3, 2, 2), np.float32)
    drawn = [round(float(np.median(recipe.pair(black, rng)[0])), 1) for _ in range(600)]
    assert drawn.count(0.2) / 600 > 0.6
    assert 0.17 < drawn.count(0.6) / 600 < 0.33
    assert drawn.count(0.4) < 30


def test_halved_crops_have_the_size_asked_for(tmp_path, lifted):
    cache = open_cache([save(tmp_path / "p.png", noise(64, 64, 1))], tmp_path / "cache")
    sampler = CropSampler([cache], [1], 32, Batching(6, seed=0))
    scenes = Scenes(halved=0.5, darkened=0.5, colored=0.5, drawn=0.2)
    for kind in ("camera", "lifted"):
        recipe = only(kind, scenes, lifted=[lifted])
        noisy, clean = synthetic_pairs(sampler, recipe, 3)
        assert noisy.shape == clean.shape == (6, 3, 16, 16)
        np.testing.assert_array_equal(synthetic_pairs(sampler, recipe, 3)[0], noisy)


def test_photos_without_colours_get_noise_without_colours(tmp_path):
    cache = open_cache([save(tmp_path / "p.png", noise(64, 64, 1))], tmp_path / "cache")
    sampler = CropSampler([cache], [1], 32, Batching(4, seed=0))
    recipe = only("camera", edits=Edits(0, 0, 1, 0, 0, 0, 0, 0))
    noisy, clean = synthetic_pairs(sampler, recipe, 0)
    for side in (noisy, clean):
        assert np.ptp(side, axis=1).max() < 1e-6
    assert not np.array_equal(noisy, clean)
