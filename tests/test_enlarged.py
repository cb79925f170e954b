"""Photos that were enlarged are denoised at their own size, and only those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import ssbsn
from PIL import Image

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.inference.enlarged import find_enlargement
from ssbsn_cli.core.noise.drawings import drawing
from ssbsn_cli.core.training.validation import psnr

Array = np.ndarray[Any, np.dtype[Any]]


def unit(pixels: Array) -> Array:
    return np.asarray(pixels, np.float32) / np.float32(255)


def by_opencv(pixels: Array, factor: float, method: int) -> Array:
    enlarged = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=method)
    return enlarged.reshape(*enlarged.shape[:2], -1)


def by_pillow(pixels: Array, factor: float, method: Image.Resampling) -> Array:
    size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
    return np.asarray(Image.fromarray(pixels).resize(size, method))


METHODS = {
    "OpenCV, linear": lambda pixels, factor: by_opencv(pixels, factor, cv2.INTER_LINEAR),
    "OpenCV, cubic": lambda pixels, factor: by_opencv(pixels, factor, cv2.INTER_CUBIC),
    "OpenCV, Lanczos": lambda pixels, factor: by_opencv(pixels, factor, cv2.INTER_LANCZOS4),
    "Pillow, cubic": lambda pixels, factor: by_pillow(pixels, factor, Image.Resampling.BICUBIC),
    "Pillow, Lanczos": lambda pixels, factor: by_pillow(pixels, factor, Image.Resampling.LANCZOS),
}


@pytest.fixture(scope="module")
def samples() -> list[Any]:
    return [sample for sample in open_demo() if sample.name.endswith("medium")]


@pytest.mark.parametrize("factor", [1.25, 1.5, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_enlarged_photos_are_recognised(samples: list[Any], method: str, factor: float) -> None:
    for sample in samples:
        assert 0.97 < find_enlargement(METHODS[method](sample.noisy, factor)) / factor < 1.02


@pytest.mark.parametrize(
    "treat",
    [
        pytest.param(lambda noisy: noisy[77:340, 33:300], id="a part"),
        pytest.param(lambda noisy: noisy.mean(axis=2, keepdims=True).astype(np.uint8), id="grey"),
        pytest.param(lambda noisy: noisy.astype(np.uint16) * 257, id="16 bits"),
        pytest.param(lambda noisy: np.rot90(noisy), id="turned"),
        pytest.param(lambda noisy: noisy.astype(np.float32) / 255, id="8 bits as floats"),
    ],
)
def test_enlarged_photos_are_recognised_after(samples: list[Any], treat: Any) -> None:
    for sample in samples:
        enlarged = treat(METHODS["OpenCV, cubic"](sample.noisy, 1.5))
        assert 1.35 < find_enlargement(enlarged) < 1.55


def jpeg(pixels: Array, quality: int) -> Array:
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


@pytest.mark.parametrize(
    "treat",
    [
        pytest.param(lambda photo: photo, id="as it is"),
        pytest.param(lambda photo: jpeg(photo, 90), id="JPEG"),
        pytest.param(lambda photo: jpeg(photo, 60), id="more JPEG"),
        pytest.param(lambda photo: jpeg(photo, 20)[3:, 5:], id="part of a poor JPEG"),
        pytest.param(lambda photo: by_opencv(photo, 0.6, cv2.INTER_AREA), id="reduced"),
        pytest.param(lambda photo: cv2.GaussianBlur(photo, (0, 0), 1), id="blurred"),
        pytest.param(lambda photo: cv2.medianBlur(photo, 5), id="smoothed"),
        pytest.param(lambda photo: photo.mean(axis=2, keepdims=True).astype(np.uint8), id="grey"),
    ],
)
def test_other_photos_are_not_taken_for_enlarged(treat: Any) -> None:
    for sample in open_demo():
        assert find_enlargement(treat(sample.noisy)) == 1
        assert find_enlargement(treat(sample.references[0])) == 1


@pytest.mark.parametrize("quality", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_jpegs_with_a_plain_border_are_not_taken_for_enlarged(quality: int) -> None:
    picture = np.full((700, 700, 3), 255, np.uint8)
    for sample in open_demo():
        picture[:256, :256] = sample.noisy
        assert find_enlargement(jpeg(picture, quality)) == 1


def test_pictures_without_noise_are_not_taken_for_enlarged() -> None:
    rng = np.random.default_rng(0)
    pictures = [np.rint(255 * drawing(320, rng)).astype(np.uint8) for _ in range(24)]
    ramp = np.tile(np.linspace(0, 255, 320)[:, None, None], (1, 320, 3)).astype(np.uint8)
    pictures += [np.zeros((320, 320, 3), np.uint8), ramp, ramp.swapaxes(0, 1)]
    assert [find_enlargement(picture) for picture in pictures] == [1] * len(pictures)


@pytest.fixture(scope="module")
def denoisers() -> tuple[Any, Any]:
    return load_denoiser(device="cpu"), load_denoiser(device="cpu", own_size="off")


@pytest.mark.parametrize("method", ["OpenCV, linear", "Pillow, Lanczos"])
def test_enlarged_photos_stay_sharp(
    denoisers: tuple[Any, Any], samples: list[Any], method: str
) -> None:
    gains = []
    for sample in samples:
        enlarged = METHODS[method](sample.references[0], 1.5)
        own, as_it_is = (psnr(unit(enlarged), unit(denoise(enlarged))) for denoise in denoisers)
        gains.append(own - as_it_is)
    assert min(gains) > -0.5, gains
    assert max(gains) > 1, gains


@pytest.mark.parametrize("method", ["OpenCV, cubic", "Pillow, Lanczos"])
def test_enlarged_photos_are_denoised_as_before_enlarging(
    denoisers: tuple[Any, Any], samples: list[Any], method: str
) -> None:
    for sample in samples:
        expected = METHODS[method](denoisers[0](sample.noisy), 1.5)
        result = denoisers[0](METHODS[method](sample.noisy, 1.5))
        assert psnr(unit(expected), unit(result)) > 38


def test_other_photos_do_not_depend_on_the_option(
    denoisers: tuple[Any, Any], samples: list[Any]
) -> None:
    automatic, off = (denoise(samples[0].noisy) for denoise in denoisers)
    assert (automatic == off).all()


def test_photos_of_a_batch_are_denoised_as_alone(
    denoisers: tuple[Any, Any], samples: list[Any]
) -> None:
    enlarged = METHODS["OpenCV, cubic"](samples[0].noisy, 1.5)[:256, :256]
    batch = [unit(enlarged), unit(samples[1].noisy[:256, :256])]
    together = denoisers[0].denoise_batch(batch)
    for image, result in zip(batch, together, strict=True):
        assert np.allclose(result, denoisers[0](image), atol=1e-4)


def test_the_command_tells_what_it_found(
    samples: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    enlarged = Image.fromarray(METHODS["Pillow, cubic"](samples[0].noisy, 1.5))
    for name, photo in (("own.png", Image.fromarray(samples[0].noisy)), ("large.png", enlarged)):
        photo.save(tmp_path / name)

    def run(folder: str, *options: str) -> dict[str, Any]:
        done = ssbsn("denoise", "own.png", "large.png", "-o", folder, "--json", *options)
        records = map(json.loads, done.stdout.splitlines())
        return {record["input"]: record["enlarged"] for record in records}

    assert run("found") == {"own.png": None, "large.png": 1.5}
    assert run("off", "--own-size", "off") == {"own.png": None, "large.png": None}
    results = {
        name: [(tmp_path / folder / name).read_bytes() for folder in ("found", "off")]
        for name in ("own.png", "large.png")
    }
    assert results["own.png"][0] == results["own.png"][1]
    assert results["large.png"][0] != results["large.png"][1]


@pytest.mark.parametrize("factor", [1.25, 1.5, 2])
def test_tiles_of_an_enlarged_photo_leave_no_seams(samples: list[Any], factor: float) -> None:
    image = unit(METHODS["OpenCV, cubic"](samples[0].noisy, factor))
    whole, tiled = (255 * load_denoiser(device="cpu", tile=tile)(image) for tile in (0, 128))
    assert 0 < np.sqrt(np.mean((tiled - whole) ** 2)) < 0.4
    assert np.abs(tiled - whole).max() < 8


def test_rows_that_are_streamed_are_those_of_the_whole_photo(samples: list[Any]) -> None:
    denoiser = load_denoiser(device="cpu", tile=128)
    image = METHODS["OpenCV, cubic"](samples[0].noisy, 1.5)[:383, :371]
    assert (np.concatenate(list(denoiser.stream(image))) == denoiser(image)).all()
    assert float(denoiser.enlargements[0]) == 1.5


def test_strength_blends_with_the_enlarged_photo(samples: list[Any]) -> None:
    image = unit(METHODS["OpenCV, cubic"](samples[0].noisy, 1.5))
    all_of_it, half = (
        load_denoiser(device="cpu", strength=strength)(image) for strength in (1, 0.5)
    )
    assert np.allclose(half, (image + all_of_it) / 2, atol=1e-6)


@pytest.mark.parametrize("weights", ["photo", pytest.param("ssbsn-photo", marks=pytest.mark.slow)])
def test_grey_photos_and_blind_spot_networks_have_own_sizes(
    samples: list[Any], weights: str
) -> None:
    grey = [
        np.rint(each.mean(axis=2, keepdims=True)).astype(np.uint8)
        for each in (samples[0].noisy, samples[0].references[0])
    ]
    noisy, clean = (METHODS["OpenCV, linear"](each, 1.5)[:260, :300] for each in grey)
    denoiser = load_denoiser(weights, device="cpu")
    result = denoiser(noisy)
    assert denoiser.enlargements[0] > 1.4
    assert result.shape == noisy.shape
    assert psnr(unit(clean), unit(result)) > psnr(unit(clean), unit(noisy)) + 2
