"""What people get without choosing weights: every noisy photo better, clean ones left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.noise.spec import NamedNoise
from ssbsn_cli.core.training.validation import psnr


def unit(pixels):
    return pixels.astype(np.float32) / 255


@pytest.fixture(scope="module")
def denoiser():
    return load_denoiser(device="cpu")


@pytest.fixture(scope="module")
def samples():
    return list(open_demo())


def test_every_noisy_photo_gets_better(denoiser, samples):
    gains = {}
    for sample in samples:
        clean = unit(sample.references[0])
        after = psnr(clean, unit(denoiser(sample.noisy)))
        gains[sample.name] = after - psnr(clean, unit(sample.noisy))
    assert min(gains.values()) > 0.5, gains
    assert min(gain for name, gain in gains.items() if not name.endswith("weak")) > 2, gains
    # The stronger the noise, the more is removed.
    strong, weak = (np.mean([gains[n] for n in gains if n.endswith(s)]) for s in ("strong", "weak"))
    assert strong > weak + 3


def test_clean_photos_come_back_all_but_unchanged(denoiser, samples):
    for sample in samples[::5]:
        assert psnr(unit(sample.references[0]), unit(denoiser(sample.references[0]))) > 37


@pytest.mark.parametrize("top", [24, 255])
def test_gradients_come_back_up_to_rounding(denoiser, top):
    ramp = np.rint(np.linspace(0, top, 256))
    gradient = np.tile(ramp[:, None], (96, 1, 3)).astype(np.uint8)
    assert np.abs(denoiser(gradient).astype(int) - gradient).max() <= 1


def test_letters_stay_sharp(denoiser):
    page = np.full((96, 256, 3), 255, np.uint8)
    for row in range(16, 96, 16):
        cv2.putText(
            page, "The quick brown fox 0123456789", (4, row), 0, 0.4, (0, 0, 0), 1, cv2.LINE_AA
        )
    assert psnr(unit(page), unit(denoiser(page))) > 42


def test_grey_photos_stay_grey_and_get_better(denoiser, samples):
    sample = next(each for each in samples if each.name.endswith("medium"))
    clean, noisy = (
        np.rint(p.mean(axis=2)).astype(np.uint8) for p in (sample.references[0], sample.noisy)
    )
    after = denoiser(noisy)
    assert after.shape == clean.shape
    assert psnr(unit(clean), unit(after)) > psnr(unit(clean), unit(noisy)) + 1


def test_tiles_leave_no_seams(denoiser, samples):
    # Floats, since of two all but equal values some round to different grey levels.
    clean = unit(np.tile(samples[5].references[0], (2, 2, 1)))
    image, _ = NamedNoise("soft:12").pair(clean, np.random.default_rng(0))
    image = image.clip(0, 1)
    whole = 255 * load_denoiser(device="cpu", tile=0)(image)
    tiled = 255 * load_denoiser(device="cpu", tile=256)(image)
    assert np.abs(tiled - whole).max() <= 6
    assert np.sqrt(((tiled - whole) ** 2).mean()) < 0.5
