"""Drawings and patterns that repeat exactly stay, and noise is never taken for them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.noise.noiseless import find_drawn, find_repeating

Array = np.ndarray[Any, np.dtype[Any]]
SHAPE = 199, 205


def colored(mask: Array, paper: int, ink: int) -> Array:
    return np.where(mask[..., None], ink, paper).astype(np.uint8).repeat(3, 2)


def squares(side: int) -> Array:
    return np.asarray((np.indices(SHAPE) // side).sum(axis=0) % 2 == 1)


def dots(apart: int) -> Array:
    mask = np.zeros(SHAPE, bool)
    mask[1::apart, 1::apart] = True
    return mask


def hatching() -> Array:
    down, across = np.indices(SHAPE)
    return np.asarray((down + 2 * across) % 11 == 0)


PATTERNS = {
    **{f"squares of {side}": squares(side) for side in (1, 3, 8)},
    **{f"dots every {apart}": dots(apart) for apart in (2, 3, 8)},
    "hatching": hatching(),
}


@pytest.fixture(scope="module")
def denoisers() -> tuple[Any, Any]:
    return load_denoiser(device="cpu"), load_denoiser(device="cpu", detail="off")


@pytest.mark.parametrize("colors", [(255, 0), (40, 50)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_come_back_as_they_are(
    denoisers: tuple[Any, Any], pattern: str, colors: tuple[int, int]
) -> None:
    denoise, _ = denoisers
    picture = colored(PATTERNS[pattern], *colors)
    floats = picture / np.float32(255)
    assert (denoise(floats) == floats).all()
    if colors == (255, 0):
        for kind in (picture, picture.astype(np.uint16) * 257, picture[..., :1]):
            assert (denoise(kind) == kind).all()
        assert all((result == floats).all() for result in denoise.denoise_batch([floats] * 2))


def test_the_network_takes_patterns_for_noise() -> None:
    picture = colored(PATTERNS["squares of 3"], 255, 0)
    network = load_denoiser(device="cpu", detail="off", wiener="off")
    assert network(picture).std() < 0.5 * picture.std()


def areas() -> Array:
    picture = np.full((*SHAPE, 3), 200, np.uint8)
    cv2.rectangle(picture, (20, 20), (150, 90), (40, 90, 160), -1)
    cv2.circle(picture, (120, 130), 50, (230, 60, 60), -1)
    return picture


def page(paper: int, ink: int) -> Array:
    picture = np.full((*SHAPE, 3), paper, np.uint8)
    for line in range(14, SHAPE[0], 16):
        text = "The quick brown fox jumps over the lazy dog"
        cv2.putText(picture, text, (4, line), 0, 0.4, (ink, ink, ink), 1, cv2.LINE_AA)
    return picture


def lines() -> Array:
    rng = np.random.default_rng(1)
    picture = np.full((*SHAPE, 3), 255, np.uint8)
    for _ in range(15):
        start, end = rng.integers(0, SHAPE[0], (2, 2)).tolist()
        cv2.line(picture, start, end, rng.integers(0, 200, 3).tolist(), int(rng.integers(1, 3)))
    return picture


def deviation(result: Array, picture: Array) -> float:
    return float((result.astype(float) - picture).std())


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(areas(), id="areas"),
        pytest.param(page(255, 0), id="black text"),
        pytest.param(page(30, 230), id="white text"),
        pytest.param(lines(), id="lines"),
    ],
)
@pytest.mark.parametrize("weights", ["photo", "photo-large", "photo-next"])
def test_drawings_come_back_but_for_rounding(picture: Array, weights: str) -> None:
    result = load_denoiser(weights, device="cpu")(picture)
    assert deviation(result, picture) < 1 / 12**0.5
    assert (result == picture).mean() > 0.99


@pytest.mark.parametrize("tile", [60, 64, 128])
def test_tiles_keep_patterns(tile: int) -> None:
    picture = colored(PATTERNS["dots every 3"][:140, :140], 240, 20)
    assert (load_denoiser(device="cpu", tile=tile)(picture) == picture).all()


def test_only_the_pattern_in_a_photo_is_kept(denoisers: tuple[Any, Any]) -> None:
    denoise, off = denoisers
    picture = next(s.noisy for s in open_demo() if s.name.endswith("strong")).copy()
    picture[64:128, 64:128] = colored(PATTERNS["squares of 3"][:64, :64], 255, 0)
    result, network = denoise(picture), off(picture)
    assert (result[64:128, 64:128] == picture[64:128, 64:128]).all()
    result[64:128, 64:128] = network[64:128, 64:128]
    assert (result == network).all()


def with_impulses(share: float) -> Array:
    rng = np.random.default_rng(0)
    picture = areas()
    hit = rng.random(picture.shape) < share
    picture[hit] = rng.choice(np.array([0, 255], np.uint8), hit.sum())
    return picture


def counted(peak: int, kind: str) -> Array:
    ramp = np.linspace(0, peak, SHAPE[1])[None, :, None].repeat(SHAPE[0], 0)
    counts = np.random.default_rng(0).poisson(ramp)
    return counts.astype(np.uint16) if kind == "uint16" else (counts * 15).clip(0, 255).astype("u1")


@pytest.mark.parametrize(
    "noisy",
    [
        pytest.param(with_impulses(0.01), id="few impulses"),
        pytest.param(with_impulses(0.05), id="impulses"),
        pytest.param(counted(6, "uint8"), id="photons"),
        pytest.param(counted(12, "uint8"), id="more photons"),
        pytest.param(counted(10, "uint16"), id="counts"),
    ],
)
def test_noise_of_few_values_is_removed_as_without_the_option(
    denoisers: tuple[Any, Any], noisy: Array
) -> None:
    automatic, off = (denoise(noisy).astype(float) for denoise in denoisers)
    # The part without photons is black in both.
    assert (automatic == off)[noisy > 0].all()


@pytest.mark.parametrize("step", [1, 4, 16])
def test_noise_of_photos_is_never_kept(step: int) -> None:
    for sample in open_demo():
        for photo in (sample.noisy, sample.noisy[..., :1]):
            coarse = photo // step * step
            kept = find_repeating(coarse.astype(np.float32) / np.float32(255))
            # Clipped parts have none.
            assert len(np.unique(coarse[kept])) <= 1


def test_photos_that_are_cut_off_at_white_are_no_drawings(denoisers: tuple[Any, Any]) -> None:
    # Much of this photo is cut off then.
    for sample in [each for each in open_demo() if each.name.startswith("astronaut")][::2]:
        cut = (sample.noisy.astype(int) * 4).clip(0, 255).astype(np.uint8)
        kept, removed = (denoise(cut) for denoise in denoisers)
        assert deviation(kept, removed) < 0.7


@pytest.mark.parametrize("times", [2, 3, 4])
def test_photos_with_repeated_pixels_are_no_drawings(times: int) -> None:
    for sample in open_demo():
        photo = sample.noisy[:100, :100].repeat(times, axis=0).repeat(times, axis=1)
        noisy = photo.astype(np.float32) / 255
        # Not even if next to nothing is removed.
        assert not find_drawn(noisy, noisy).any()


@given(
    seed=st.integers(0, 2**32 - 1),
    deviation=st.floats(0.4, 20),
    period=st.integers(1, 16),
    channels=st.sampled_from([1, 3]),
)
def test_patterns_with_noise_are_never_kept(
    seed: int, deviation: float, period: int, channels: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = np.tile(rng.uniform(90, 160, (period, period, channels)), (64, 64, 1))[:64, :64]
    noisy = np.rint(picture + rng.normal(0, deviation, picture.shape)).clip(0, 255)
    assert not find_repeating(noisy.astype(np.float32) / 255).any()
