"""Floats below black, above white and without a value come out where they were."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from commands import ssbsn
from PIL import Image, ImageCms

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    encode_photo,
    list_losses,
    read_photo,
    write_photo,
)
from ssbsn_cli.core.imaging.compare import Comparison
from ssbsn_cli.core.inference.fitting import fit_image

Array = np.ndarray[Any, np.dtype[Any]]


def noisy(level: float, deviation: float = 0.02, side: int = 96) -> Array:
    noise = np.random.default_rng(0).normal(level, deviation, (side, side, 3))
    return noise.astype(np.float32)


@pytest.fixture(scope="module")
def denoiser() -> Any:
    return load_denoiser(device="cpu")


@pytest.mark.parametrize("level", [-2.0, -0.2, 0.0, 0.5, 1.5, 8.0])
def test_the_mean_of_a_flat_photo_stays(denoiser: Any, level: float) -> None:
    result = denoiser(noisy(level))
    assert abs(result.mean() - level) < 0.004 * max(1, abs(level))
    assert result.std() < 0.02


@pytest.mark.parametrize("darker", [2, 8, 64, 1024])
def test_only_the_scale_of_a_dark_photo_differs(denoiser: Any, darker: int) -> None:
    photo = noisy(0.4)
    assert np.allclose(denoiser(photo / darker) * darker, denoiser(photo), rtol=0, atol=1e-5)


@pytest.mark.parametrize("darker", [1, 64])
@pytest.mark.parametrize("value", [-8, 1, 15])
def test_a_pixel_far_outside_the_range_spoils_no_others(
    denoiser: Any, darker: int, value: float
) -> None:
    photo = noisy(0.4) / np.float32(darker)
    expected = denoiser(photo)
    photo[4, 4] = value
    result = denoiser(photo)
    assert np.abs(result - expected)[32:].max() < 0.006 / darker
    assert np.abs(result[4, 4] - value).max() < 4


def test_floats_up_to_255_are_denoised_like_those_up_to_1(denoiser: Any) -> None:
    photo = noisy(0.6)
    assert np.allclose(denoiser(256 * photo), 256 * denoiser(photo), atol=1e-3)


@pytest.mark.parametrize(("level", "brighter"), [(1e-3, 2.0**4), (1e-6, 2.0**14)])
def test_a_far_too_dark_photo_is_denoised_as_if_it_were_brighter(
    denoiser: Any, level: float, brighter: float
) -> None:
    photo = noisy(level, level / 5)
    photo[4, 4] *= 16
    expected = denoiser(photo * np.float32(brighter)) / brighter
    assert abs(expected[20:].mean() - level) < 0.05 * level
    assert expected[20:].std() < 0.7 * level / 5
    assert np.allclose(denoiser(photo), expected, rtol=0, atol=1e-3 * level)
    if level > 1e-4:
        integers = denoiser(np.rint(photo * 65535).astype(np.uint16)) / 65535
        assert np.allclose(integers[20:], expected[20:], rtol=0, atol=0.05 * level)


def test_holes_stay_and_do_not_spread(denoiser: Any) -> None:
    photo = noisy(0.4)
    expected = denoiser(photo)
    photo[20:24, 30:40] = np.nan
    photo[60, 60, 1] = np.inf
    photo[70, :, 0] = -np.inf
    for images in ([photo], [photo, photo.copy()]):
        results = [image.copy() for image in images]
        denoiser.denoise_in_place(results)
        for result in results:
            finite = np.isfinite(photo)
            assert np.array_equal(result[~finite], photo[~finite], equal_nan=True)
            assert np.abs(result - expected)[finite].max() < 0.05
    nothing = np.full((40, 40, 3), np.nan, np.float32)
    assert np.isnan(denoiser(nothing)).all()


def test_photos_that_need_no_change_are_left_alone() -> None:
    assert fit_image(np.zeros((4, 4, 3), np.uint16)) is None
    assert fit_image(np.linspace(0, 1.5, 48).reshape(4, 4, 3)) is None


def test_holes_are_read_and_become_black_where_there_are_none() -> None:
    pixels = np.full((6, 6, 3), 0.5, np.float32)
    pixels[2, 3, 1], pixels[4, 4, 2], pixels[5, 5, 0] = np.nan, np.inf, -np.inf
    photo = read_photo(encode_photo(Photo(pixels), "tiff"))
    assert np.array_equal(photo.pixels, pixels, equal_nan=True)
    shallow = read_photo(encode_photo(photo, "png")).pixels
    assert [shallow[2, 3, 1], shallow[4, 4, 2], shallow[5, 5, 0]] == [0, 65535, 0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_jpeg_xl_keeps_floats_outside_the_range(dtype: str) -> None:
    pixels = noisy(0.5, side=32).astype(dtype)
    pixels[0] = [-1, 2, 15]
    pixels[1, :2, 0] = np.nan, np.inf
    result = read_photo(encode_photo(Photo(pixels, format="tiff"), "jxl")).pixels
    assert np.array_equal(result, pixels, equal_nan=True)


def test_light_that_a_format_clips_is_named() -> None:
    for values, clipped in (
        ([0, 1.005], False),
        ([0, 7], True),
        ([-0.5, 1], True),
        ([np.nan], True),
    ):
        photo = Photo(np.array(values, np.float32).reshape(1, -1, 1), format="tiff")
        assert list_losses(photo, "tiff") == ()
        assert bool(list_losses(photo, "png")) == clipped


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_before_and_after_of_floats_can_be_compared(dtype: str) -> None:
    pixels = np.full((20, 800, 3), 0.5, dtype)
    pixels[3, 3] = np.nan
    comparison = Comparison(pixels.shape)
    comparison.add_before(pixels)
    comparison.add_after(pixels)
    picture = comparison.picture()
    assert picture.dtype == np.uint8
    assert 120 < np.median(picture) < 135


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def denoise(*arguments: str, code: int = 0) -> str:
    return ssbsn("denoise", *arguments, code=code).output


PIXELS = np.full((24, 32, 3), 90, np.uint8)


def test_what_is_not_kept_is_said_once(folder: Path) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(5000)
    for name in "ab":
        jpeg = encode_photo(Photo(PIXELS, Metadata(text=(("Comment", "x"),))), "jpeg")
        Path(f"{name}.jpg").write_bytes(jpeg + video)
    Path("c.png").write_bytes(encode_photo(Photo(PIXELS), "png"))
    said = denoise("a.jpg", "b.jpg", "c.png", "-o", "out/", "--format", "webp")
    assert said.count("do not keep") == 1
    assert "the video of a motion photo (of 2), comments (of 2)." in said
    record = json.loads(denoise("a.jpg", "-o", "x.jpg", "--json").splitlines()[0])
    assert record["left_out"] == ["the video of a motion photo"]
    assert "do not keep" not in denoise("c.png")


def test_a_photo_over_the_limit_of_pixels_fails_alone(folder: Path) -> None:
    Path("big.png").write_bytes(encode_photo(Photo(PIXELS), "png"))
    Path("small.png").write_bytes(encode_photo(Photo(PIXELS[:8, :8]), "png"))
    said = denoise("big.png", "small.png", "-o", "out/", "--max-pixels", "100", code=1)
    assert "more than the limit of 100" in said
    assert [path.name for path in Path("out").iterdir()] == ["small.png"]


def test_comparisons_keep_the_colours(folder: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_photo(Photo(PIXELS, Metadata(icc=icc, xmp=b"<private/>")), Path("a.jpg"))
    denoise("a.jpg", "-o", "b.jpg", "--compare", "both.png")
    with Image.open("both.png") as picture:
        assert picture.info["icc_profile"] == icc
    assert b"private" not in Path("both.png").read_bytes()


def test_a_float_tiff_keeps_its_level_from_file_to_file(folder: Path) -> None:
    tifffile.imwrite("dark.tif", noisy(-0.2, 0.0), photometric="rgb")
    denoise("dark.tif", "-o", "out.tif")
    result = read_photo(Path("out.tif").read_bytes()).pixels
    assert np.abs(result + 0.2).max() < 0.01
    assert tifffile.imread(io.BytesIO(Path("out.tif").read_bytes())).dtype == np.float32
