"""Pairs made of one's own noisy photos."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_data import save

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.settings import UNCHANGING, Settings
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.lifted import LiftedNoise
from ssbsn_cli.core.noise.measured import Measured, measure_noise
from ssbsn_cli.core.runtime.storage import file_digest
from ssbsn_cli.core.training import adapt, data, parts
from ssbsn_cli.core.training.own import OwnSource
from ssbsn_cli.core.training.parts import NoNoiseError, Part, held_parts, trust_in
from ssbsn_cli.core.training.validation import Score, refuse_blotches

SIDE = 128


def part(level, photo):
    """A flat noisy photo and what a perfect denoiser makes of it."""
    noisy = np.random.default_rng(level).normal(level, 12, (SIDE, SIDE, 3))
    denoised = np.full((SIDE, SIDE, 3), level * 257, np.uint16)
    return Part(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), denoised, photo)


def source(weights, batching=None):
    parts = [part(200, (0, 0)), part(60, (1, 0)), part(65, (1, 1))]
    noises = {each.photo: measure_noise(cut(each.noisy), cut(each.denoised)) for each in parts}
    return OwnSource(parts, noises, weights, 32, batching or Batching(4, 0))


def brightness(draw):
    return draw.target.mean(axis=(1, 2, 3)) * 255


def test_folders_are_drawn_as_often_as_they_weigh():
    both, second = source([3, 1]), source([0, 1])
    seen = np.concatenate([brightness(both.draw(step)) for step in range(100)])
    assert 0.65 < (seen > 130).mean() < 0.85
    assert all((brightness(second.draw(step)) < 130).all() for step in range(10))


def test_photos_of_a_folder_are_drawn_equally_often_however_large_they_are():
    parts = [*[part(200, (0, 0))] * 9, part(60, (0, 1))]
    noises = {each.photo: measure_noise(cut(each.noisy), cut(each.denoised)) for each in parts}
    draws = OwnSource(parts, noises, [1], 32, Batching(64, 0))
    seen = np.concatenate([brightness(draws.draw(step)) for step in range(10)])
    assert 0.4 < (seen > 130).mean() < 0.6


def test_noise_of_other_photos_never_changes_real_pixels():
    """Two versions of a photo are independent only if the added noise is as strong as its own."""
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    clean = Part(flat, flat * np.uint16(257), (0, 0))
    noisy = part(200, (0, 1))
    noises = {noisy.photo: measure_noise(cut(noisy.noisy), cut(noisy.denoised))}
    draws = OwnSource([clean, noisy], noises, [1], 32, Batching(64, 0)).draw(0)
    of_clean = draws.target[brightness(draws) < 130]
    assert len(of_clean) > 10
    np.testing.assert_allclose(of_clean * 255, 90, atol=1e-3)
    assert held_parts(([clean, noisy], [clean]), noises) == [noisy]
    assert held_parts(([clean, noisy], [clean, noisy]), noises) == [noisy]


def test_dark_parts_are_denoised_like_dark_photos():
    dark = np.random.default_rng(0).normal(20, 8, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    denoiser = load_denoiser("photo", device="cpu", **UNCHANGING)
    made = parts._denoise(denoiser, ((0, 0), dark)).denoised
    np.testing.assert_allclose(made / 257, denoiser(dark), atol=0.51)


def test_mild_noise_is_trusted_less_than_strong_noise():
    def trust(deviation):
        noise = LiftedNoise(np.array([0.5]), np.array([deviation / 255]), np.zeros((3, 3, 1, 1)))
        return trust_in([Measured(noise, noise)])

    assert [trust(each) for each in (1, 2, 3, 6, 60)] == pytest.approx([0, 0, 0.25, 1, 1])


def test_weights_that_draw_nothing_are_refused():
    with pytest.raises(OptionError):
        source([0, 0])


def test_recorrupted_pairs_have_independent_noise():
    noisy, target, _ = source([1, 1], Batching(64, 0)).validation()[0]
    one, other = (side - side.mean(axis=(2, 3), keepdims=True) for side in (noisy, target))
    # As independent as an estimate of the noise allows that may be a tenth too strong; two copies
    # of the noisy photo would correlate by 0.8 or more.
    assert abs((one * other).mean()) < 0.2 * one.std() * other.std()
    assert one.std() < other.std()


def test_recorrupted_pairs_have_independent_noise_where_it_differs_across_and_down():
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (256, 256, 3)), (9, 1), 1.5)
    noisy = np.clip(np.rint(120 + 14 * noise / noise.std()), 0, 255).astype(np.uint8)
    striped = Part(noisy, np.full(noisy.shape, 120 * 257, np.uint16), (0, 0))
    known = {(0, 0): measure_noise(cut(noisy), cut(striped.denoised))}
    draws = OwnSource([striped], known, [1], 96, Batching(64, 0))
    one, other, _ = draws.validation()[0]
    one, other = (side - side.mean(axis=(2, 3), keepdims=True) for side in (one, other))
    limit = 0.2 * one.std() * other.std()
    assert abs((one[..., 1:] * other[..., :-1]).mean()) < limit
    assert abs((one[..., 1:, :] * other[..., :-1, :]).mean()) < limit


@pytest.mark.parametrize("level", [4, 60, 200])
def test_recorrupted_pairs_ask_for_the_brightness_of_the_result(level):
    """Clipped noise brightens the noisy photo near black, and noise in light darkens the rest."""
    result = np.full((SIDE, SIDE, 3), level / 255, np.float32)
    noise = LiftedNoise(np.array([0.5]), np.array([20 / 255]), np.eye(3)[..., None, None])
    noisy = np.rint(noise.add(result, np.random.default_rng(0), factor=1) * 255)
    parts = [Part(noisy.astype(np.uint8), np.full(noisy.shape, level * 257, np.uint16), (0, 0))]
    known = {(0, 0): Measured(noise, noise)}
    _, target, _ = OwnSource(parts, known, [1], 96, Batching(32, 0)).validation()[0]
    assert target.mean() * 255 == pytest.approx(level, abs=0.7)


def test_processes_share_what_one_would_draw():
    whole = source([1, 1], Batching(4, 7)).draw(3)
    halves = [source([1, 1], Batching(2, 7, rank, 2)).draw(3) for rank in (0, 1)]
    for all_of_it, first, second in zip(whole[:2], *(half[:2] for half in halves), strict=True):
        np.testing.assert_array_equal(all_of_it, np.concatenate([first, second]))


class Leaves(Network):
    """Leaves a fraction of what varies in a picture."""

    size_multiple = live_features = 1

    def __init__(self, fraction):
        super().__init__()
        self.fraction = fraction

    def forward(self, x, stride=None):
        return self.denoise(x)

    def denoise(self, x, **_):
        return torch.lerp(x.mean(dim=(2, 3), keepdim=True), x, self.fraction)


RED, BLUE, ALL = (1, 0, 0), (0, 0, 1), (1, 1, 1)


@pytest.mark.parametrize(
    ("size", "channels", "deviation", "most"),
    [
        (10, RED, 10, 0.55),
        (10, BLUE, 10, 0.55),
        (10, ALL, 10, 1),
        (10, RED, 0.1, 1),
        # Fine noise, which is measured, and the light of a scene are no blotches.
        (1, RED, 4, 1),
        (100, RED, 2, 1),
    ],
)
def test_only_networks_that_leave_hardly_more_blotches_of_colour_compete(
    size, channels, deviation, most
):
    wide = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (128, 128)), (0, 0), size)
    picture = np.float32(0.5 + (wide * deviation / 255 / wide.std())[..., None] * channels)
    flat = np.full_like(picture, 0.5)

    def likes_blotches(network):
        return Score({}, -network.fraction)

    validate = refuse_blotches(likes_blotches, [flat, picture], Leaves(0.5), torch.device("cpu"))
    scores = {left: validate(Leaves(left)) for left in (0.4, 0.5, 0.53, 0.7, 0.9)}
    better = {left for left, score in scores.items() if score.rating < scores[0.5].rating}
    assert better == {left for left in scores if 0.5 < left <= most}
    assert scores[0.4].figures["blotches"] <= 1 <= scores[0.9].figures["blotches"]
    assert (scores[0.9].figures["blotches"] > 1.1) == (most < 1)


@pytest.mark.parametrize(
    ("ratings", "helped"),
    [
        pytest.param([3, 2, 3, 1], [True, True], marks=pytest.mark.slow),
        ([3, 2, 1, 2], [True, False]),
        pytest.param([3, 2, 1, math.nan], [True, False], marks=pytest.mark.slow),
        pytest.param([3, 2], [True, False], marks=pytest.mark.slow),
        ([1, 2, 1, 2], [False, False]),
    ],
    ids=["both help", "first helps", "second diverges", "second finds no noise", "none helps"],
)
def test_adapting_takes_the_last_round_that_helped(ratings, helped, tmp_path, monkeypatch):
    """The ratings are those before and after each round."""
    measure, request = data.measure_parts, adapt.make_request
    rated = itertools.chain(ratings, itertools.repeat(math.nan))
    measured = itertools.count()

    def measure_parts(*arguments):
        if next(measured) % 2 and len(ratings) == 2:
            raise NoNoiseError("no noise")
        return measure(*arguments)

    def with_few_crops(asked, say):
        few = {"training.validation_crops": 2}
        return request(replace(asked, options=asked.options | few), say)

    monkeypatch.setenv("SSBSN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "score_loss", lambda *_: Score({}, next(rated)))
    monkeypatch.setattr(data, "measure_parts", measure_parts)
    monkeypatch.setattr(adapt, "make_request", with_few_crops)
    noisy = np.random.default_rng(0).normal(120, 12, (192, 96, 3))
    save(tmp_path / "a.png", np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    run = tmp_path / "run"

    def adapted():
        photos = [tmp_path / "a.png"]
        settings = Settings(white_noise="off")
        return adapt.adapt_weights(photos, None, 1e-4, settings, run, print, print, print)

    found = adapted()
    assert found.name == ("photo, adapted" if any(helped) else "photo")
    result, first = (folder / "weights.safetensors" for folder in (run, run / "round-1"))
    pairs = zip(*(load_file(file).values() for file in (result, first)), strict=True)
    assert any((a != b).any() for a, b in pairs) == helped[1]
    assert (found.digest == file_digest(result)) == any(helped)
    # As denoise --skip-existing does.
    assert adapted().digest == found.digest
