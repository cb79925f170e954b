"""Noise measured by what a denoiser removed and what it left."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.noise.darkening import measure_darkening
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.lifted import LiftedNoise
from ssbsn_cli.core.noise.measured import describe_noise, measure_noise, summarise
from ssbsn_cli.core.noise.texture import measure_texture
from ssbsn_cli.core.types import to_unit


def textured(side, rng):
    """A photo without a flat part: soft texture everywhere, (H, W, 3) in [0, 1]."""
    texture = ndimage.gaussian_filter(rng.standard_normal((side, side, 3)), (1.5, 1.5, 0))
    return 0.5 + 0.02 * texture / texture.std()


@pytest.mark.parametrize("passed", [0.1, 0.4])
def test_what_a_denoiser_leaves_counts_and_texture_does_not(passed):
    rng = np.random.default_rng(0)
    scene = textured(512, rng)
    noise = rng.normal(0, 10 / 255, scene.shape)
    found = measure_noise(cut(scene + noise), cut(scene + passed * noise))
    added = found.whole.add(np.full((256, 256, 3), 0.5, np.float32), rng, factor=1) - 0.5
    assert added.std() * 255 == pytest.approx(10, rel=0.1)
    # By the flattest parts of the noisy photo alone, it would be a tenth more.
    neighbours = (added[1:] * added[:-1]).mean() / added.var()
    assert abs(neighbours) < 0.1


def test_the_cautious_estimate_is_no_stronger_than_what_is_seen():
    rng = np.random.default_rng(1)
    scene = textured(512, rng)
    noise = rng.normal(0, 10 / 255, scene.shape)
    found = measure_noise(cut(scene + noise), cut(scene + 0.4 * noise))
    added = found.cautious.add(np.full((256, 256, 3), 0.5, np.float32), rng, factor=1) - 0.5
    assert 6 < added.std() * 255 < 11


def test_a_photograph_without_noise_has_none():
    scene = textured(256, np.random.default_rng(2))
    assert measure_noise(cut(scene), cut(scene)) is None


def test_black_and_white_show_no_noise():
    black = np.zeros((256, 256, 3), np.float32)
    assert measure_noise(cut(black), cut(black)) is None


def described(noise, scene):
    """Figures of noise in grey levels, of which a denoiser leaves a fifth."""
    return describe_noise(cut(scene + noise / 255), cut(scene + 0.2 * noise / 255))


def test_white_noise_is_described_by_its_deviation_and_correlates_with_nothing():
    rng = np.random.default_rng(3)
    scene = textured(512, rng)
    found = described(rng.normal(0, 15, scene.shape), scene)
    for points in found.deviations:
        np.testing.assert_allclose(points[:, 1] * 255, 15, rtol=0.1)
    assert np.abs(found.neighbours).max() < 0.1
    np.testing.assert_allclose(found.channels, np.eye(3), atol=0.1)


def test_each_channel_has_its_own_deviation_at_its_own_brightness():
    rng = np.random.default_rng(4)
    scene = np.linspace(0.1, 0.9, 512)[None, :, None] * np.array([1, 0.8, 0.5])
    scene = np.broadcast_to(scene, (512, 512, 3))
    strength = np.sqrt(9 + 255 * scene) * np.array([1, 0.7, 1.5])
    found = described(strength * rng.standard_normal(scene.shape), scene)
    for points, factor in zip(found.deviations, [1, 0.7, 1.5], strict=True):
        expected = factor * np.sqrt(9 + 255 * points[:, 0])
        np.testing.assert_allclose(points[:, 1] * 255, expected, rtol=0.15)


def test_noise_that_correlates_is_described_so():
    rng = np.random.default_rng(5)
    scene = textured(512, rng)
    grey = ndimage.gaussian_filter1d(rng.standard_normal(scene.shape[:2]), 0.8, axis=1)
    found = described((12 * grey / grey.std())[..., None].repeat(3, axis=2), scene)
    across, down = found.neighbours
    np.testing.assert_allclose(across[:2], [np.exp(-1 / 2.56), np.exp(-4 / 2.56)], atol=0.06)
    assert abs(down).max() < 0.1
    assert found.channels.min() > 0.9


def test_grey_photographs_are_described_too():
    rng = np.random.default_rng(6)
    scene = textured(256, rng)[..., :1]
    found = described(rng.normal(0, 15, scene.shape), scene)
    assert len(found.deviations) == 1
    np.testing.assert_allclose(found.deviations[0][:, 1] * 255, 15, rtol=0.15)


def test_without_noise_nothing_is_said_to_correlate():
    scene = textured(256, np.random.default_rng(7))
    found = described(np.zeros(scene.shape), scene)
    assert all((points[:, 1] == 0).all() for points in found.deviations)
    assert not found.neighbours.any()
    black = np.zeros((256, 256, 3))
    assert describe_noise(cut(black), cut(black)) is None


def test_a_channel_without_noise_is_described_by_numbers():
    rng = np.random.default_rng(3)
    scene = np.full((256, 256, 3), 0.5)
    noisy = scene + rng.normal(0, 10 / 255, scene.shape) * (1, 1, 0)
    found = describe_noise(cut(noisy), cut(scene))
    assert found.deviations[2][:, 1] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(found.channels).all()
    assert np.isfinite(found.neighbours).all()


def test_a_sentence_sums_up_what_was_measured():
    rng = np.random.default_rng(8)
    scene = textured(512, rng)
    noise = rng.normal(0, 12 / 255, scene.shape)
    line = summarise([measure_noise(cut(scene + noise), cut(scene + 0.2 * noise))])
    low, high = map(float, re.search(r"deviation ([\d.]+) to ([\d.]+) of", line).groups())
    assert low == pytest.approx(12, rel=0.1)
    assert high == pytest.approx(12, rel=0.1)
    assert abs(float(line.rstrip(".").rsplit(maxsplit=1)[1])) < 0.1


def test_texture_that_a_denoiser_smoothed_is_not_taken_for_noise_that_it_left():
    rng = np.random.default_rng(9)
    scene = textured(512, rng)
    noise = rng.normal(0, 4 / 255, scene.shape)
    found = measure_noise(cut(scene + noise), cut(scene + 0.3 * (0.5 - scene)))
    added = found.whole.add(np.full((256, 256, 3), 0.5, np.float32), rng, factor=1) - 0.5
    # Neighbours correlate in texture alone.
    assert (added[1:] * added[:-1]).mean() / added.var() < 0.2


def half_textured(factor, seed):
    """A photo whose right half is textured, and noise that is stronger there, in [0, 1]."""
    rng = np.random.default_rng(seed)
    scene = textured(256, rng).astype(np.float32)
    scene[:, :128] = 0.5
    noise = rng.normal(0, 5 / 255, scene.shape).astype(np.float32)
    noise[:, 128:] *= factor
    return scene, noise


WHITE = LiftedNoise(
    np.array([0.5]), np.array([5 / 255]), np.eye(3, dtype=np.float32)[..., None, None]
)


@pytest.mark.parametrize("factor", [1, 2])
def test_noise_is_found_stronger_in_texture_although_less_of_it_is_removed_there(factor):
    scene, noise = half_textured(factor, 10)
    passed = np.where(np.arange(256) < 128, 0.1, 0.6)[:, None]

    def denoise(noisy):
        return scene + passed * (noisy - scene)

    texture = measure_texture(WHITE, [(scene + noise, scene)], denoise)
    assert texture[1, -1] == pytest.approx(factor, rel=0.05)


def test_noise_that_follows_texture_is_added_where_texture_is():
    scene, _ = half_textured(1, 11)
    follows = replace(WHITE, texture=np.array([[0.002, 0.01], [1, 3]]))
    added = follows.add(scene, np.random.default_rng(0), factor=1) - scene
    flat, structured = added[:, :112].std(), added[:, 144:].std()
    assert structured / flat == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("darkens", [0.0, 1.0])
def test_how_much_noise_darkens_is_told_by_how_much_a_denoiser_brightens(darkens):
    photo = to_unit(np.ascontiguousarray(data.chelsea()[20:276, 100:356])) * np.float32(0.7)
    noise = replace(WHITE, strengths=np.array([25 / 255]), darkens=darkens)
    noisy = noise.add(photo, np.random.default_rng(1), factor=1)
    denoiser = load_denoiser(device="cpu")
    given = replace(noise, darkens=1.0), [(noisy, denoiser(noisy))]
    assert measure_darkening([given], denoiser) == [pytest.approx(darkens, abs=0.3)]


def test_noise_so_mild_that_it_cannot_darken_needs_no_denoiser():
    scene, noise = half_textured(1, 12)
    assert measure_darkening([(WHITE, [(scene + noise, scene)])], pytest.fail) == [1]


@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("darkens", [0.0, 0.4, 1.0])
def test_the_mean_is_that_of_many_photographs_with_noise(level, darkens):
    photo = np.full((512, 512, 3), level, np.float32)
    noise = replace(WHITE, strengths=np.array([25 / 255]), darkens=darkens)
    many = noise.add(photo, np.random.default_rng(2), factor=1).mean()
    assert noise.mean(photo[:2, :2]) == pytest.approx(many, abs=1 / 255)


def test_noise_that_does_not_darken_changes_no_mean_away_from_black_and_white():
    photo = np.full((8, 8, 3), 0.4, np.float32)
    noise = replace(WHITE, strengths=np.array([25 / 255]), darkens=0.0)
    assert noise.mean(photo) == pytest.approx(0.4, abs=1e-4)
    assert (replace(noise, darkens=1.0).mean(photo) < 0.39).all()


def test_texture_that_is_all_black_or_white_changes_nothing():
    black = np.zeros((128, 128, 3), np.float32)
    texture = measure_texture(WHITE, [(black, black)], lambda noisy: noisy)
    assert (texture[1] == 1).all()
