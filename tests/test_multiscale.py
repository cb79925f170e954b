"""Results at smaller sizes remove more noise, and take no detail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import ssbsn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.inference import tensors
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.multiscale import correct_by_half, pyramid
from ssbsn_cli.core.inference.tensors import blur
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.noise.detail import estimate_noise
from ssbsn_cli.core.training.validation import psnr
from ssbsn_cli.core.weights.locate import LoadedWeights, load_weights

Array = np.ndarray[Any, np.dtype[Any]]


def unit(pixels: Array) -> Array:
    return np.asarray(pixels, np.float32) / np.float32(255)


def noise(shape: tuple[int, ...], deviation: float, reach: float = 0, seed: int = 0) -> Array:
    """Return noise of a standard deviation that is blurred over `reach` pixels."""
    drawn = np.random.default_rng(seed).normal(size=shape)
    drawn = gaussian_filter(drawn, (reach, reach, 0)) if reach else drawn
    return np.asarray(drawn / drawn.std() * deviation, np.float32)


def correct(noisy: Array, denoised: Array, clean: Array) -> Array:
    """Correct a result, (h, w, C), where half the size comes out clean."""
    corrected = denoised[None].copy()

    def denoise(half: Array) -> Array:
        # Sides that are no multiples of 8 are mirrored.
        pads = [(0, 2 * new - old) for new, old in zip(half.shape[1:3], clean.shape, strict=False)]
        return halve(np.pad(clean, [*pads, (0, 0)], mode="reflect"))[None]

    correct_by_half(noisy[None], corrected, denoise, torch.device("cpu"))
    return np.asarray(corrected[0])


def halve(image: Array) -> Array:
    height, width, channels = image.shape
    halved = image.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))
    return np.ascontiguousarray(halved)


SHAPE = 96, 128, 3
FLAT = np.full(SHAPE, 0.4, np.float32)
NOISE = noise(SHAPE, 0.05)


@pytest.mark.parametrize(("height", "width"), [SHAPE[:2], (91, 123)])
def test_what_is_left_of_far_reaching_noise_is_removed(height: int, width: int) -> None:
    left = noise(SHAPE, 0.004, reach=2, seed=1)[:height, :width]
    clean, added = FLAT[:height, :width], NOISE[:height, :width]
    corrected = correct(clean + added + left, clean + left, clean)
    assert (corrected - clean).std() < 0.5 * left.std()


def test_detail_that_only_the_full_size_shows_is_kept() -> None:
    rows, columns = np.indices(SHAPE[:2])
    weave = 0.06 * np.sign(np.sin(rows * 2 * np.pi / 8) * np.sin(columns * 2 * np.pi / 8))
    clean = FLAT + weave[..., None].astype(np.float32)
    corrected = correct(clean + NOISE, clean, FLAT)
    assert np.abs(corrected - clean).mean() < 0.1 * np.abs(weave).mean()


def test_brightness_is_that_of_the_full_size() -> None:
    corrected = correct(FLAT + NOISE, FLAT, FLAT - np.float32(0.03))
    np.testing.assert_allclose(corrected, FLAT, atol=1e-6)


class Counting:
    """A stand-in for a network that notes what it sees."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def denoise(self, x: torch.Tensor, **_: object) -> torch.Tensor:
        self.sizes.append(tuple(x.shape[-2:]))
        return x.clone()


def test_photos_are_denoised_at_full_half_and_a_quarter_of_the_size() -> None:
    network = Counting()
    weights = LoadedWeights(UNet(), Descriptor("unet", refine="none"), "counting", "")
    denoise = load_denoiser(weights, device="cpu", precision="fp32")
    denoise._engine.predictor.network = network  # type: ignore[assignment]
    denoise(NOISE + FLAT)
    assert network.sizes == [(96, 128), (48, 64), (32, 32)]


def test_adapted_weights_leave_smaller_sizes_to_the_original_ones() -> None:
    network, original = Counting(), Counting()

    def adapted_from(name: str, precision: str = "fp32", **options: Any) -> Denoiser:
        descriptor = Descriptor("unet", refine="none", coarse=name)
        weights = LoadedWeights(UNet(), descriptor, "adapted", "")
        return load_denoiser(weights, device="cpu", precision=precision, **options)

    denoise = adapted_from("photo")
    denoise._engine.predictor.network = network  # type: ignore[assignment]
    assert denoise._engine.coarse
    known = load_weights("photo").network.state_dict()
    for name, value in denoise._engine.coarse.network.state_dict().items():
        torch.testing.assert_close(value, known[name])
    denoise._engine.coarse.network = original  # type: ignore[assignment]
    denoise(NOISE + FLAT)
    assert network.sizes == [(96, 128)]
    assert original.sizes == [(48, 64), (32, 32)]
    # JSON and the cache of `eval` tell one file of these weights from another.
    assert denoise.describe()["coarse_weights"] == load_weights("photo").origin
    assert adapted_from("photo", multiscale="off").describe()["coarse_weights"] is None
    half = adapted_from("photo", precision="bf16")
    assert half.describe()["precision"] == "bf16"
    assert half._engine.coarse
    half._engine.coarse.fell_back = True
    assert half.describe()["precision"] == "fp32"
    for name in ("unheard-of", "ssbsn-photo"):
        with pytest.raises(WeightsError, match=name):
            adapted_from(name)
        adapted_from(name, multiscale="off")
    with pytest.raises(ValueError, match="coarse"):
        Descriptor("unet", coarse=3)  # type: ignore[arg-type]


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.7, 1.5, 4]))
def test_long_maps_are_blurred_like_others(height: int, width: int, deviation: float) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, height, width)))
    usual = blur(x, deviation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_LONGEST", 0)
        torch.testing.assert_close(blur(x, deviation), usual)


@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]))
def test_what_both_scales_leave_alone_stays(height: int, width: int, channels: int) -> None:
    noisy = FLAT[:height, :width, :channels] + NOISE[:height, :width, :channels]
    same = noisy[None].copy()
    correct_by_half(noisy[None], same, lambda images: images, torch.device("cpu"))
    np.testing.assert_allclose(same[0], noisy, atol=1e-6)


@pytest.mark.parametrize("shape", [(96, 128, 3), (99, 131, 1)])
def test_halved_images_are_read_in_parts(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    same, half, quarter = pyramid(image, 3)
    assert same is image
    assert half.shape == (shape[0] // 2, shape[1] // 2, shape[2])
    assert quarter.shape == (24, 32, shape[2])
    expected = halve(unit(image[:96, :128]))
    np.testing.assert_allclose(half[5:20, 30:40], expected[5:20, 30:40], atol=1e-6)
    np.testing.assert_allclose(quarter[3:24, 0:32], halve(expected)[3:24], atol=1e-6)
    assert all(estimate_noise(each) is None for each in pyramid(image[:1, :1], 3))


def test_photos_gain_and_clean_ones_lose_nothing() -> None:
    one, two = (load_denoiser(device="cpu", multiscale=each) for each in ("off", "auto"))
    gains, losses = [], []
    for clean in (s.references[0][:256, :256] for s in open_demo() if s.name.endswith("weak")):
        clean = unit(clean)
        noisy = clean + noise(clean.shape, 0.05, reach=1.5)
        gains.append(psnr(clean, two(noisy)) - psnr(clean, one(noisy)))
        losses.append(psnr(clean, one(clean)) - psnr(clean, two(clean)))
    assert min(gains) > 0.1, gains
    assert max(losses) < 0.1, losses


def test_blind_spot_networks_give_detail_back_at_each_size() -> None:
    one, two = (load_denoiser("ssbsn-photo", device="cpu", multiscale=m) for m in ("off", "auto"))
    sample = next(each for each in open_demo() if each.name == "astronaut_medium")
    clean, noisy = unit(sample.references[0])[:160, :160], sample.noisy[:160, :160]
    assert psnr(clean, unit(two(noisy))) > psnr(clean, unit(one(noisy))) - 0.15


def test_the_command_can_leave_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.uint8((FLAT + NOISE) * 255)).save("photo.png")

    def run(*options: str) -> Array:
        done = ssbsn("denoise", "photo.png", "-o", "out.png", "--overwrite", "--json", *options)
        assert json.loads(done.stdout)["multiscale"] == (not options)
        return np.asarray(Image.open("out.png"))

    assert (run() != run("--multiscale", "off")).any()
