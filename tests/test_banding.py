"""Rows and columns that share an offset are made even, and nothing else is taken for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.inference.banding import remove_banding
from ssbsn_cli.core.training.validation import psnr
from ssbsn_cli.core.types import from_srgb, from_unit, to_srgb

Array = np.ndarray[Any, np.dtype[Any]]

PHOTO = (skimage.data.astronaut()[:256, :320] / 255).astype(np.float32)


def turned(image: Array) -> Array:
    return image.swapaxes(0, 1)


def with_bands(photo: Array, deviation: float, noise: float = 0, seed: int = 0) -> Array:
    """Add bands and noise of so many grey levels."""
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, deviation, (len(photo), 1, 1)) + rng.normal(0, noise, photo.shape)
    return np.asarray((photo + offsets / 255).clip(0, 1), np.float32)


def error(one: Array, other: Array) -> float:
    """Return the root mean square of the difference, in grey levels."""
    return float(np.sqrt(np.square(one - other).mean()) * 255)


def even(image: Array) -> Array:
    found = remove_banding(image)
    assert found, "there is banding"
    return found[:, :]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("deviation", "noise", "left"), [(4, 0, 0.7), (8, 0, 0.6), (8, 10, 0.65)])
def test_bands_are_removed(
    dtype: type[np.generic], channels: int, deviation: float, noise: float, left: float
) -> None:
    photo = PHOTO[..., :channels]
    banded = with_bands(photo, deviation, noise)
    without = with_bands(photo, 0, noise)
    found = even(from_unit(banded, np.dtype(dtype)))
    assert 0 <= found.min() <= found.max() <= 1
    assert error(found, without) < left * error(banded, without)


def test_a_banded_photo_is_denoised_like_one_without() -> None:
    photo = PHOTO[:160, :160]
    banded, without = (from_unit(with_bands(photo, k, 6), np.dtype(np.uint8)) for k in (8, 0))
    steps = {"device": "cpu", "multiscale": "off", "wiener": "off"}
    usual, plain = (load_denoiser(**steps, banding=each) for each in ("auto", "off"))
    best, good, bad = (
        psnr(photo, denoise(image) / np.float32(255))
        for denoise, image in ((plain, without), (usual, banded), (plain, banded))
    )
    assert best > good > bad + 3
    together = usual.denoise_batch([banded, without])
    for one, image in zip(together, (banded, without), strict=True):
        assert error(one.clip(0, 1), usual(image) / np.float32(255)) < 0.5


def test_rows_and_columns_are_removed_at_once() -> None:
    both = turned(with_bands(turned(with_bands(PHOTO, 6)), 6, seed=1))
    assert error(even(both), PHOTO) < 0.65 * error(both, PHOTO)


def test_bands_are_as_strong_as_they_are_at_each_brightness() -> None:
    """Offsets of the sensor are far larger in the dark, once a curve has brightened it."""
    photo = np.where(np.arange(320)[:, None] < 160, PHOTO * 0.2, PHOTO * 0.4 + 0.6)
    light = from_srgb(photo) + np.random.default_rng(0).normal(0, 0.004, (256, 1, 1))
    banded = to_srgb(light.clip(0, 1)).astype(np.float32)
    found = even(banded)
    for half in (np.s_[:, :150], np.s_[:, 170:]):
        assert error(found[half], photo[half]) < 0.8 * error(banded[half], photo[half])


def cut_off() -> Array:
    photo = np.clip(PHOTO * 1.6 - 0.3, 0, 1)
    return np.where(photo % 1 == 0, photo, with_bands(photo, 8))


def test_what_is_cut_off_stays_black_and_white() -> None:
    photo = cut_off()
    flat = cv2.blur(np.abs(photo - photo.round()), (15, 15)) == 0
    assert flat.mean() > 0.05
    assert np.abs(even(photo) - photo)[flat].max() < 1 / 255


def barcode(width: int) -> Array:
    bars = np.random.default_rng(3).integers(0, 2, 256 // width).repeat(width)
    return np.broadcast_to(0.2 + 0.6 * bars[:, None, None], (256, 256, 3)).astype(np.float32)


def brushed() -> Array:
    lines = cv2.blur(np.random.default_rng(4).normal(0, 1, (256, 512)), (128, 1))[:, 128:384]
    return np.repeat(0.5 + 0.03 * (lines / lines.std())[..., None], 3, axis=2).astype(np.float32)


def waves() -> Array:
    rows = 0.5 + 0.1 * np.sin(np.arange(256, dtype=np.float32))
    return rows[:, None, None].repeat(256, 1)


def framed() -> Array:
    """The edges of scans are as straight as bands."""
    return np.pad(PHOTO[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)))


def page() -> Array:
    image = np.full((256, 256, 3), 240, np.uint8)
    rng = np.random.default_rng(5)
    for y in range(20, 256, 14):
        line = "".join(map(chr, rng.integers(97, 123, 40)))
        cv2.putText(image, line, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (20, 20, 20))
    return image / np.float32(255)


@pytest.mark.parametrize("noise", [0, 2, 10, 25])
@pytest.mark.parametrize(
    "make",
    [
        lambda: PHOTO,
        lambda: skimage.data.coffee() / np.float32(255),
        lambda: skimage.data.rocket() / np.float32(255),
        lambda: np.repeat(skimage.data.brick()[..., None] / np.float32(255), 3, axis=2),
        lambda: np.full((256, 256, 3), 0.5, np.float32),
        lambda: barcode(1),
        lambda: barcode(2),
        lambda: barcode(4),
        brushed,
        framed,
        page,
        waves,
        lambda: np.linspace(0, 1, 256, dtype=np.float32)[:, None, None].repeat(256, 1),
    ],
    ids=[
        "astronaut", "coffee", "rocket", "brick", "flat", "thin bars", "bars", "thick bars",
        "brushed", "framed", "page", "waves", "gradient",
    ],
)  # fmt: skip
def test_nothing_else_is_taken_for_bands(make: Callable[[], Array], noise: float) -> None:
    image = with_bands(make(), 0, noise)
    assert remove_banding(from_unit(image, np.dtype(np.uint8))) is None


@given(st.integers(128, 160), st.integers(128, 160), st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_columns_are_treated_like_rows(height: int, width: int, seed: int) -> None:
    banded = with_bands(PHOTO[:height, :width], 12, seed=seed)
    upright, lying = remove_banding(banded), remove_banding(turned(banded))
    assert bool(upright) == bool(lying)
    if upright and lying:
        assert np.abs(turned(upright[:, :]) - lying[:, :]).max() < 1e-4


def test_tiles_see_the_same_as_the_whole() -> None:
    found = remove_banding(with_bands(PHOTO, 8))
    assert found
    whole, tile = found[:, :], found[64:192, 96:224]
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(whole[64:192, 96:224][inner] - tile[inner]).max() < 1e-5


def test_bands_are_removed_where_memory_allows_a_row_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    banded = with_bands(PHOTO, 8)
    monkeypatch.setattr("ssbsn_cli.core.imaging.photo._AT_ONCE", 1)
    assert error(even(banded), PHOTO) < 0.6 * error(banded, PHOTO)


def test_small_images_stay_as_they_are() -> None:
    assert remove_banding(with_bands(PHOTO[:100], 20)) is None
    assert remove_banding(np.zeros((1, 1, 3), np.uint8)) is None
