"""Text, line art and patterns come back as they are, and noise is never taken for them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.noise.noiseless import find_noiseless

Array = np.ndarray[Any, np.dtype[Any]]
SIDE = 192


def colored(mask: Array, paper: int, ink: int) -> Array:
    return np.where(mask[..., None], ink, paper).astype(np.uint8).repeat(3, 2)


def squares(side: int) -> Array:
    return np.asarray((np.indices((SIDE, SIDE)) // side).sum(axis=0) % 2 == 1)


def dots(apart: int) -> Array:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[1::apart, 2::apart] = True
    return mask


def hatching() -> Array:
    down, across = np.indices((SIDE, SIDE))
    return np.asarray((down + 2 * across) % 11 == 0)


PATTERNS = {
    **{f"squares of {side}": squares(side) for side in (1, 2, 3, 4, 6, 8)},
    **{f"dots every {apart}": dots(apart) for apart in (2, 3, 5, 8)},
    "hatching": hatching(),
}


@pytest.fixture(scope="module")
def denoiser() -> Any:
    return load_denoiser(device="cpu")


@pytest.mark.parametrize("colors", [(255, 0), (40, 90)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_come_back_as_they_are(
    denoiser: Any, pattern: str, colors: tuple[int, int]
) -> None:
    picture = colored(PATTERNS[pattern], *colors)
    assert (denoiser(picture) == picture).all()
    floats = picture / np.float32(255)
    assert all((result == floats).all() for result in denoiser.denoise_batch([floats] * 2))
    for deep in (picture.astype(np.uint16) * 257, picture[..., :1]):
        assert (denoiser(deep) == deep).all()


def test_without_the_option_patterns_are_taken_for_noise() -> None:
    picture = colored(PATTERNS["squares of 3"], 255, 0)
    assert load_denoiser(device="cpu", detail="off")(picture).std() < 0.5 * picture.std()


def test_tiles_keep_patterns() -> None:
    picture = colored(PATTERNS["dots every 3"], 240, 20)
    assert (load_denoiser(device="cpu", tile=64, overlap=16)(picture) == picture).all()


def test_only_the_drawn_part_of_a_photo_is_kept(denoiser: Any) -> None:
    photo = next(sample.noisy for sample in open_demo() if sample.name.endswith("strong"))
    with_pattern = photo.copy()
    with_pattern[64:128, 64:128] = colored(PATTERNS["squares of 3"][:64, :64], 255, 0)
    result = denoiser(with_pattern)
    assert (result[64:128, 64:128] == with_pattern[64:128, 64:128]).all()
    assert np.abs(result[200:].astype(float) - denoiser(photo)[200:]).mean() < 0.5


@pytest.mark.parametrize("darker", [1, 4, 16])
def test_noise_of_photos_is_never_kept(darker: int) -> None:
    for sample in open_demo():
        for photo in (sample.noisy, sample.noisy[..., :1], cv2.medianBlur(sample.noisy, 3)):
            assert not find_noiseless((photo // darker).astype(np.float32) / 255).any()


@given(
    seed=st.integers(0, 2**32 - 1),
    deviation=st.floats(0.3, 60),
    levels=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    channels=st.sampled_from([1, 3]),
)
def test_noise_on_two_levels_is_never_kept(
    seed: int, deviation: float, levels: tuple[int, int], channels: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = np.empty((48, 48, channels))
    picture[:, :24], picture[:, 24:] = levels
    noisy = np.rint(picture + rng.normal(0, deviation, picture.shape)).clip(0, 255)
    kept = find_noiseless(noisy.astype(np.float32) / 255)
    # Less noise than that is of no concern, and clipping may remove all of it.
    assert not kept.any() or np.abs(noisy - picture)[kept].std() < 1.5
