"""Detail that is no noise comes back, and noise does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssbsn_cli.core.inference.engine import Engine
from ssbsn_cli.core.inference.predictor import Predictor
from ssbsn_cli.core.inference.tiles import Tiling
from ssbsn_cli.core.noise.detail import estimate_noise, recover_detail
from ssbsn_cli.core.noise.flat import cut, find_flat
from ssbsn_cli.core.training.validation import psnr


def scene(side=256):
    """A smooth picture with a patch of fine texture, and where that is."""
    y, x = np.mgrid[:side, :side] / side
    clean = np.stack([0.3 + 0.3 * x, 0.5 - 0.2 * y, 0.4 + 0.2 * x * y], axis=2)
    patch = np.zeros((side, side), bool)
    patch[96:160, 96:160] = True
    checks = 0.15 * ((np.indices((side, side)) // 2).sum(axis=0) % 2 - 0.5)
    return np.float32(clean + (checks * patch)[..., None]), patch


def with_noise(clean, low, high, seed=0):
    """Noise that is stronger where the picture is brighter."""
    rng = np.random.default_rng(seed)
    deviation = low + (high - low) * clean
    return np.float32(clean + deviation * rng.standard_normal(clean.shape))


def blurred(image):
    return cv2.GaussianBlur(image, (0, 0), 3)


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.01), (0.02, 0.08), (0.08, 0.08)])
def test_noise_is_measured_where_nothing_else_is(low, high):
    clean, _ = scene()
    flat = find_flat(cut(with_noise(clean, low, high)))
    assert flat is not None
    expected = low + (high - low) * flat.levels
    np.testing.assert_allclose(flat.deviations.mean(axis=1), expected, rtol=0.25)


def test_texture_without_flat_parts_is_not_taken_for_noise():
    clean, _ = scene()
    texture = blurred(np.random.default_rng(1).normal(0, 1, clean.shape))
    bright = clean.copy()
    bright[:, 128:] += 0.3 + texture[:, 128:]
    flat = find_flat(cut(with_noise(bright, 0.02, 0.02)))
    assert flat is not None
    assert flat.deviations.max() < 0.03


@pytest.mark.parametrize("channels", [1, 3])
def test_the_spectrum_of_white_noise_is_flat(channels):
    clean, _ = scene()
    noise = estimate_noise(with_noise(clean[..., :channels], 0.04, 0.04))
    assert noise is not None
    assert noise.power.shape[1] == channels
    # The plane that is subtracted from each part takes some of the lowest frequencies along.
    np.testing.assert_allclose(noise.power[..., 4:, 4:], 0.04**2, rtol=0.6)
    np.testing.assert_allclose(noise.power[..., 4:, 4:].mean(), 0.04**2, rtol=0.1)
    for level, power in zip(noise.levels, noise.power, strict=True):
        np.testing.assert_allclose(noise.at(np.float32([[level]]))[0, 0], power, rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 40, 1), (16, 16, 3), (33, 47, 3)])
def test_where_nothing_was_removed_nothing_comes_back(shape):
    clean, _ = scene()
    noise = estimate_noise(with_noise(clean[..., : shape[2]], 0.02, 0.02))
    image = np.random.default_rng(0).random(shape, np.float32)
    assert noise is not None
    np.testing.assert_array_equal(recover_detail(image, image, noise), image)
    # Ten times the noise is no noise, wherever it is.
    off = recover_detail(image + np.float32(0.2), image, noise)
    np.testing.assert_allclose(off, image + np.float32(0.2), atol=0.02)


def test_texture_comes_back_and_noise_does_not():
    clean, patch = scene()
    noisy = with_noise(clean, 0.02, 0.02)
    network = blurred(noisy)
    better = recover_detail(noisy, network, estimate_noise(noisy))
    assert psnr(better[patch], clean[patch]) > psnr(network[patch], clean[patch]) + 3
    # Far from the texture, next to nothing changes.
    calm = np.zeros_like(patch)
    calm[:64] = True
    assert psnr(better[calm], clean[calm]) > psnr(network[calm], clean[calm]) - 1.5


def test_strong_noise_stays_away():
    clean, _ = scene()
    noisy = with_noise(clean, 0.2, 0.2)
    network = blurred(noisy)
    better = recover_detail(noisy, network, estimate_noise(noisy))
    assert psnr(better, clean) > psnr(network, clean) - 1


def test_brightness_and_colours_stay():
    clean, _ = scene()
    noisy = with_noise(clean, 0.1, 0.1)
    # Far less off than any pixel is by its noise.
    dark = blurred(noisy) - np.float32([0.01, 0, -0.005])
    better = recover_detail(noisy, dark, estimate_noise(noisy))
    parts = (better - noisy).reshape(4, 64, 4, 64, 3).mean(axis=(1, 3))
    assert np.abs(parts).max() < 0.002


def test_a_picture_without_noise_comes_back_whole():
    clean, _ = scene()
    better = recover_detail(clean, blurred(clean), estimate_noise(clean))
    assert psnr(better, clean) > psnr(blurred(clean), clean) + 10


@pytest.mark.parametrize("size", [(1, 1), (20, 300), (40, 40)])
def test_photos_too_small_to_measure_are_left_to_the_network(size):
    assert estimate_noise(np.full((*size, 3), 0.5, np.float32)) is None


class Blurring:
    """A stand-in for a network that loses detail."""

    def float(self):
        return self

    def denoise(self, x, **_):
        import torch

        pictures = [blurred(each.permute(1, 2, 0).numpy()) for each in x]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def test_whole_images_tiles_and_batches_agree():
    import torch

    clean, patch = scene()
    noisy = with_noise(clean, 0.02, 0.02)

    def run(detail, **options):
        predictor = Predictor(Blurring(), torch.device("cpu"))
        engine = Engine(predictor, Tiling(**options), detail=detail)
        out = np.empty_like(noisy)
        engine.run(noisy, out)
        return engine, out

    engine, whole = run(True)
    _, plain = run(False)
    assert psnr(whole[patch], clean[patch]) > psnr(plain[patch], clean[patch]) + 3
    _, tiled = run(True, tile=160, overlap=64, halo=16)
    np.testing.assert_allclose(tiled, whole, atol=0.01)
    for each in engine.run_batch([noisy, noisy]):
        np.testing.assert_allclose(each, whole, atol=1e-6)
