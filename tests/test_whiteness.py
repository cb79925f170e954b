"""White noise is told from all other noise, and denoised by weights of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.whiteness import share_of_white
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.training.validation import psnr
from ssbsn_cli.core.weights.locate import LoadedWeights, load_weights, others_when_adapted

Array = np.ndarray[Any, np.dtype[Any]]

PHOTO = np.float32(next(iter(open_demo())).references[0][:160, 40:240] / 255)
NOISE = np.random.default_rng(0).normal(size=PHOTO.shape).astype(np.float32)
CAMERA = gaussian_filter(NOISE, (0.7, 0.7, 0))


@settings(max_examples=60)
@given(
    st.integers(48, 120),
    st.integers(48, 120),
    st.sampled_from([1, 3]),
    st.floats(3, 90),
    st.booleans(),
)
def test_white_noise_of_any_strength_is_found(
    height: int, width: int, channels: int, deviation: float, cut_off: bool
) -> None:
    clean = PHOTO[:height, :width, :channels]
    noisy = clean + np.float32(deviation / 255) * NOISE[:height, :width, :channels]
    if cut_off:
        noisy = noisy.clip(0, 1)
    assert share_of_white(noisy, clean) > 0.9


def defects(density: float) -> Array:
    places = np.random.default_rng(1).random(PHOTO.shape) < density
    return np.where(places, np.float32(0.5), np.float32(0)) * np.sign(NOISE)


@pytest.mark.parametrize(
    "other",
    [
        CAMERA,
        gaussian_filter(NOISE, (0, 0.5, 0)),
        np.repeat(np.repeat(NOISE[::2, ::2], 2, axis=0), 2, axis=1),
        np.float32(np.indices(PHOTO.shape[:2]).sum(axis=0) % 2)[..., None] - np.float32(0.5),
        NOISE[:, :1] + 0 * NOISE,
        defects(0.01),
        0 * NOISE,
        0.1 * NOISE,
    ],
    ids=["camera", "along rows", "enlarged", "pattern", "rows", "defects", "nothing", "hardly any"],
)
def test_other_noise_is_not_white(other: Array) -> None:
    assert share_of_white(PHOTO + np.float32(0.05) * other, PHOTO) == 0


class Flat(torch.nn.Module):
    """Stands for a network whose results have one brightness."""

    def __init__(self, brightness: float) -> None:
        super().__init__()
        self.brightness = brightness
        self.seen: list[tuple[int, ...]] = []

    def denoise(self, x: torch.Tensor, **_: object) -> torch.Tensor:
        self.seen.append(tuple(x.shape))
        return torch.full_like(x, self.brightness)


def test_only_images_with_white_noise_are_denoised_again_but_these_at_all_sizes() -> None:
    descriptor = Descriptor("unet", refine="none", white_noise="photo-white")
    weights = LoadedWeights(UNet(), descriptor, "mine", "")
    denoise = load_denoiser(weights, device="cpu", precision="fp32", wiener="off")
    engine, usual, other = denoise._engine, Flat(0.4), Flat(0.6)
    assert engine.white_noise
    engine.predictor.network = usual  # type: ignore[assignment]
    engine.white_noise.network = other  # type: ignore[assignment]
    noise = np.float32(0.06) * np.stack([CAMERA, NOISE, gaussian_filter(NOISE, (0, 0.45, 0))])
    clean = np.full_like(PHOTO, 0.4)
    between = share_of_white(clean + noise[2], clean)
    assert 0.1 < between < 0.9
    results = denoise.denoise_batch(list(clean + noise))
    for result, brightness in zip(results, (0.4, 0.6, 0.4 + 0.2 * between), strict=True):
        np.testing.assert_allclose(result, brightness, atol=1e-5)
    assert usual.seen == [(3, 3, 160, 200), (3, 3, 80, 100), (3, 3, 40, 52)]
    assert other.seen == [(2, *shape[1:]) for shape in usual.seen]
    for network in (usual, other):
        network.seen.clear()
    np.testing.assert_allclose(denoise(clean[1] + noise[1]), 0.6, atol=1e-5)
    assert usual.seen == [(1, 3, 160, 200)]
    assert len(other.seen) == 3


def test_by_default_white_noise_comes_off_better_and_other_noise_as_before() -> None:
    usual, plain = (load_denoiser(device="cpu", white_noise=step) for step in ("auto", "off"))
    for deviation, least in ((15, 0.15), (50, 0.3)):
        noisy = PHOTO + np.float32(deviation / 255) * NOISE
        cut = noisy.clip(0, 1)
        assert psnr(PHOTO, usual(cut)) > psnr(PHOTO, plain(cut)) + least
        # Floats may have noise beyond black and white, which the other weights do not know.
        assert psnr(PHOTO, usual(noisy)) > psnr(PHOTO, plain(noisy)) - 0.02
    noisy = PHOTO + np.float32(0.1) * CAMERA
    np.testing.assert_array_equal(usual(noisy), plain(noisy))


def test_weights_name_those_for_white_noise() -> None:
    def named(name: str, **options: Any) -> Denoiser:
        descriptor = Descriptor("unet", refine="none", white_noise=name)
        return load_denoiser(LoadedWeights(UNet(), descriptor, "mine", ""), device="cpu", **options)

    # JSON and the cache of `eval` tell one file of these weights from another.
    origin = load_weights("photo-white").origin
    assert named("photo-white").describe()["white_noise_weights"] == origin
    assert load_denoiser("photo", device="cpu").describe()["white_noise_weights"] == origin
    assert named("photo-white", white_noise="off").describe()["white_noise_weights"] is None
    assert named("").describe()["white_noise_weights"] is None
    for name in ("unheard-of", "ssbsn-photo"):
        with pytest.raises(WeightsError, match=name) as caught:
            named(name)
        assert "--white-noise off" in caught.value.hint
        named(name, white_noise="off")
    with pytest.raises(ValueError, match="white_noise"):
        Descriptor("unet", white_noise=3)  # type: ignore[arg-type]
    assert others_when_adapted("photo") == ("photo", "photo-white")
    assert others_when_adapted("photo-next") == ("photo-next", "")
