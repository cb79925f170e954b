"""Every kind of noise has the requested strength, depends only on the seed, and can be left out."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.drawings import drawing
from ssbsn_cli.core.noise.edits import Edits, through_file
from ssbsn_cli.core.noise.kinds import (
    Banding,
    Grain,
    Impulses,
    Poisson,
    Speckle,
    White,
)
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.sensor import Sensor
from ssbsn_cli.core.noise.spec import NOISES, NamedNoise
from ssbsn_cli.core.noise.wide import SHARES, STAY, Wide

EVERYTHING = Edits(1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3)
NO_EDITS = Edits(0, 0, 0, 0, 0, 0, 0, 0)


def grey(level=0.5, side=128):
    return np.full((side, side, 3), level, np.float32)


def scene(side=64, seed=0):
    return np.random.default_rng(seed).random((3, side, side), np.float32)


def added(kind, photo, seed=0):
    return kind.add(photo, np.random.default_rng(seed)) - photo


@pytest.mark.parametrize("deviation", [5, 25, 75])
def test_white_noise_has_the_deviation_asked_for_in_every_channel(deviation):
    noise = added(White((deviation, deviation), 0, 0, 0), grey()) * 255
    np.testing.assert_allclose(noise.std(axis=(0, 1)), deviation, rtol=0.03)
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.05


def test_noise_that_is_equal_in_all_channels_has_no_colour():
    for kind in (White(equal=1), Grain(equal=1)):
        assert np.ptp(added(kind, grey()), axis=2).max() < 1e-6


def test_coupled_channels_keep_the_strength():
    strengths = [(added(White((20, 20), 0, 1, 0), grey(), seed) * 255).std() for seed in range(30)]
    assert 17 < math.sqrt(np.mean(np.square(strengths))) < 23


def test_photons_make_the_variance_grow_with_the_value():
    dark, bright = (added(Poisson((50, 50)), grey(level)) for level in (0.1, 0.9))
    np.testing.assert_allclose(dark.var(), 0.1 / 50, rtol=0.1)
    np.testing.assert_allclose(bright.var(), 0.9 / 50, rtol=0.1)


def test_speckle_multiplies():
    dark, bright = (added(Speckle((0.2, 0.2)), grey(level)).std() for level in (0.1, 0.8))
    np.testing.assert_allclose([dark, bright], [0.02, 0.16], rtol=0.1)


def test_grain_is_strongest_in_the_middle_and_correlated():
    kind = Grain((10, 10), (1.5, 1.5), 1)
    noises = [[added(kind, grey(level), seed) for seed in range(12)] for level in (0.5, 0.97)]
    middle, bright = (np.std(each) for each in noises)
    assert middle > 1.1 * bright
    values = noises[0][0][..., 0]
    assert (values[1:] * values[:-1]).mean() > 0.3 * values.var()


def test_as_many_pixels_are_lost_as_asked_for():
    lost = added(Impulses((0.05, 0.05), 1, 1), grey()) != 0
    assert 0.04 < lost.any(axis=2).mean() < 0.06


def test_bands_run_along_rows_or_columns():
    for seed in range(10):
        bands = added(Banding(), np.zeros((40, 60, 3), np.float32), seed)
        assert min(np.ptp(bands, axis=0).max(), np.ptp(bands, axis=1).max()) < 1e-6


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), deviation=st.floats(0.5, 60))
def test_sensors_meet_the_variance_asked_for(seed, deviation):
    sensor = Sensor.draw(np.random.default_rng(seed))
    shot, read = sensor.for_variance((deviation / 255) ** 2, 0.5, 2.0)
    if shot < 0.99:
        assert math.isclose(0.5 * shot + 2 * read**2, (deviation / 255) ** 2, rel_tol=1e-3)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), side=st.sampled_from([16, 40, 64]))
def test_pairs_have_the_size_and_range_asked_for_and_come_again(seed, side):
    wide = Wide(Scenes(0.5, 0.5, 0.5, 0.2), EVERYTHING)
    one, two = (wide.pair(scene(2 * side), np.random.default_rng(seed)) for _ in range(2))
    for picture, again in zip(one, two, strict=True):
        assert picture.shape == (3, side, side)
        assert picture.dtype == np.float32
        assert picture.flags.c_contiguous
        assert 0 <= picture.min() <= picture.max() <= 1
        np.testing.assert_array_equal(picture, again)


@pytest.mark.parametrize("kind", [name for name in SHARES if name not in (*STAY, "lifted")])
def test_every_kind_can_be_all_there_is(kind):
    shares = dict.fromkeys(SHARES, 0.0) | {kind: 1.0}
    noisy, clean = Wide(Scenes(), NO_EDITS, shares).pair(scene(), np.random.default_rng(3))
    assert 0.002 < np.abs(noisy - clean).mean() < 0.4


def test_noise_that_is_not_edited_is_the_named_kind_alone():
    shares = dict.fromkeys(SHARES, 0.0) | {"plain_white": 1.0}
    wide = Wide(Scenes(), EVERYTHING, shares, edited=0)
    picture = np.full((3, 128, 128), 0.5, np.float32)
    for seed in range(12):
        noisy, clean = wide.pair(picture, np.random.default_rng(seed))
        noise = noisy - clean
        for one, other in (noise[..., 1:], noise[..., :-1]), (noise[:, 1:], noise[:, :-1]):
            assert abs((one * other).mean()) < 0.08 * noise.var()
        assert (np.abs(noise) < 5 * noise.std()).all()


def test_cameras_have_less_noise_in_the_shadows():
    # As in the JPEGs of real ones, whose curves flatten the shadows.
    shares = dict.fromkeys(SHARES, 0.0) | {"camera": 1.0}
    wide = Wide(Scenes(), NO_EDITS, shares)
    picture = np.full((3, 128, 128), 64 / 255, np.float32)
    picture[..., :32] = 12 / 255
    pairs = (wide.pair(picture, np.random.default_rng(seed)) for seed in range(80))
    noises = [noisy - clean for noisy, clean in pairs]
    ratios = [noise[..., 4:28].std() / noise[..., 36:60].std() for noise in noises]
    assert 0.6 < np.median(ratios) < 0.9


@pytest.mark.parametrize("kind", STAY)
def test_clean_pictures_come_back_but_for_rounding(kind):
    shares = dict.fromkeys(SHARES, 0.0) | {kind: 1.0}
    for seed in range(10):
        noisy, clean = Wide(Scenes(0.5, 0.5, 0.5, 0.5), NO_EDITS, shares).pair(
            scene(), np.random.default_rng(seed)
        )
        assert np.abs(noisy - clean).max() <= 0.5001 / 255


def test_unknown_kinds_and_senseless_shares_are_refused():
    with pytest.raises(OptionError, match="snow"):
        Wide(Scenes(), Edits(), {"snow": 1})
    with pytest.raises(OptionError, match="shares"):
        Wide(Scenes(), Edits(), dict.fromkeys(SHARES, 0.0))


def test_resizing_noise_and_photo_alike_leaves_no_seam_between_them():
    """Where there is no noise, the noisy picture is the clean one, whatever the edit."""
    edits = Edits(1, 0.5, 0.5, 0.5, 0, 0, 0, 0)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scale = edits.scale(rng)
        assert 0.5 <= scale <= 2
        picture = scene(2 * 40).transpose(1, 2, 0)
        noisy, clean = edits.apply(picture, picture, 40, scale, rng)
        assert noisy.shape == (40, 40, 3)
        np.testing.assert_array_equal(noisy, clean)


def edited(picture, seed, side=None, **edits):
    """Return what edits make of two equal pictures, a noisy and a clean one, and the scale."""
    rng, edits = np.random.default_rng(seed), replace(NO_EDITS, **edits)
    scale = edits.scale(rng)
    return *edits.apply(picture, picture, side or len(picture), scale, rng), scale


def test_resizing_keeps_the_middle_and_divides_slopes_by_the_scale():
    y, x = np.mgrid[:128, :128].astype(np.float32)
    ramps, turned = np.stack([0.2 + 0.004 * x, 0.2 + 0.004 * y, 0.5 + 0 * x], axis=2), []
    for seed in range(60):
        out, _, scale = edited(ramps, seed, 48, scaled=1.0)
        middle = [each.mean(axis=(0, 1)) for each in (out[23:25, 23:25], ramps[63:65, 63:65])]
        np.testing.assert_allclose(*middle, atol=0.005)
        down, across = (np.diff(out[12:-12, 12:-12, 0], axis=axis).mean() for axis in (0, 1))
        assert np.hypot(down, across) == pytest.approx(0.004 / scale, rel=0.03)
        turned.append(abs(np.arctan2(down, across)) > 0.02)
    assert 5 < sum(turned) < 30


def test_brightened_pictures_mostly_get_more_light():
    found = [edited(grey(0.2, 8), seed, brightened=1.0)[0].mean() for seed in range(100)]
    assert 75 < sum(each > 0.205 for each in found) < 97
    assert all(abs(each - 0.2) > 1e-4 for each in found)


def test_sharpening_makes_texture_stronger():
    texture = 0.4 + 0.2 * scene().transpose(1, 2, 0)
    sharper = [edited(texture, seed, sharpened=1.0)[0].std() for seed in range(10)]
    assert min(sharper) > 1.1 * texture.std()


def test_only_the_noisy_picture_is_saved_and_strong_compression_takes_more():
    picture = scene().transpose(1, 2, 0)

    def change(**saved):
        pairs = [edited(picture, seed, **saved) for seed in range(20)]
        assert all((clean == picture).all() for _, clean, _ in pairs)
        return np.mean([np.abs(noisy - picture).mean() for noisy, *_ in pairs])

    assert 0.02 < change(compressed=1.0, strong=0.0) < 0.8 * change(compressed=1.0, strong=1.0)
    assert change(webp=1.0) > 0.02


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_jpegs_are_those_of_other_programs(quality):
    pixels = np.rint(255 * scene().transpose(1, 2, 0)).astype(np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=quality, subsampling=2)
    ours = 255 * through_file(np.float32(pixels / 255), ".jpg", quality)
    assert np.abs(ours - np.asarray(Image.open(file))).mean() < 0.5


def test_webps_of_high_quality_change_less():
    picture = scene().transpose(1, 2, 0)
    low, high = (np.abs(through_file(picture, ".webp", q) - picture).mean() for q in (10, 95))
    assert high < low


def test_some_jpegs_keep_colours_at_full_resolution():
    stripes = np.full((32, 32, 3), 0.5, np.float32)
    stripes[:, ::2, 2] = 0.3
    saved = (through_file(stripes, ".jpg", 95, np.random.default_rng(s)) for s in range(60))
    assert 15 < sum(np.abs(np.diff(each[..., 2], axis=1)).mean() > 0.1 for each in saved) < 33


def test_drawings_have_lines_letters_and_areas():
    drawings = [drawing(64, np.random.default_rng(seed)) for seed in range(60)]
    assert all(0 <= d.min() <= d.max() <= 1 for d in drawings)
    assert all(np.array_equal(d * 255, np.rint(d * 255)) for d in drawings)
    assert np.mean([d.std() > 0.05 for d in drawings]) > 0.5
    # Some have edges everywhere, as pages of text and dots have, and some hardly any.
    edges = [(np.abs(np.diff(d.mean(axis=2), axis=1)) > 0.05).mean() for d in drawings]
    assert np.mean(np.array(edges) > 0.2) > 0.1
    assert np.mean(np.array(edges) < 0.05) > 0.2


def test_some_drawings_are_regular_patterns_of_every_direction_and_size():
    """Few frequencies then hold most of the contrast."""
    found = []
    for seed in range(600):
        grey = drawing(64, np.random.default_rng(seed)).mean(axis=2)
        power = np.abs(np.fft.fft2(grey - grey.mean())[:33]) ** 2
        power[0, 33:] = 0
        strongest = np.unravel_index(power.argmax(), power.shape)
        down, right = strongest[0], min(strongest[1], 64 - strongest[1])
        if max(down, right) > 2 and np.sort(power, axis=None)[-4:].sum() > 0.4 * power.sum():
            found.append((64 / np.hypot(down, right), np.rad2deg(np.arctan2(down, right))))
    periods, angles = np.array(found).T
    assert min(periods) < 4
    assert min(np.histogram(angles, [0, 10, 80, 91])[0]) > 2
    # Blocks of a few random pixels alone would not reach this.
    slanting = periods[(angles > 10) & (angles < 80)]
    assert np.any((slanting > 5) & (slanting < 13))


def test_some_drawings_are_mosaics_of_squares():
    """Then whole rows equal their neighbours, in groups of the same height."""
    sides = set()
    for seed in range(400):
        picture = drawing(64, np.random.default_rng(seed))
        changes = np.abs(np.diff(picture, axis=0)).max(axis=(1, 2)) > 0
        busy = np.abs(np.diff(picture, axis=1)).max(axis=2).mean() > 0.05
        edges = np.flatnonzero(changes) + 1
        if busy and 3 < len(edges) < 33 and len(set(np.diff([0, *edges]))) == 1:
            sides.add(edges[0])
    assert len(sides) > 2


def test_half_of_the_drawings_are_on_the_photo():
    photo = scene(64).transpose(1, 2, 0)
    scenes = Scenes(drawn=1)
    kept = [
        np.mean(np.abs(scenes.draw(photo, 64, np.random.default_rng(seed)) - photo) < 1 / 255)
        for seed in range(100)
    ]
    assert 30 < np.sum(np.array(kept) > 0.3) < 60


# Noise by name


@pytest.mark.parametrize("name", NOISES)
def test_every_name_makes_noise_of_its_own(name):
    strength = {"speckle": 0.1, "impulses": 0.05, "poisson": 30}.get(name, 20)
    picture = scene().transpose(1, 2, 0)
    noise = NamedNoise(f"{name}:{strength}")
    one, two = (noise.pair(picture, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], picture)
    assert np.abs(one[0] - picture).mean() > 0.003


def test_stages_follow_one_another():
    picture = grey()
    noisy, clean = NamedNoise("white:25+monochrome").pair(picture, np.random.default_rng(0))
    assert np.ptp(noisy, axis=2).max() < 1e-6
    # Luma averages independent channels.
    np.testing.assert_allclose((noisy - clean).std() * 255, 25 * 0.669, rtol=0.05)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "''"),
        ("snow:3", "snow"),
        ("white", "white"),
        ("white:x", "'x'"),
        ("white:-1", "-1"),
        ("white:nan", "nan"),
        ("white:25+", "''"),
        ("monochrome:3", "monochrome"),
        ("jpeg:101", "101"),
    ],
)
def test_names_and_strengths_that_make_no_sense_are_refused(text, word):
    with pytest.raises(OptionError, match=word):
        NamedNoise(text)
