"""``ssbsn info PHOTO`` through its real entry point: what a photo is and how its noise is."""

from __future__ import annotations

import base64
import io
import json
import os
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from commands import ssbsn
from PIL import Image, ImageCms

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo, tiff_stream
from ssbsn_cli.core.inference import inspecting


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name, values):
    Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).save(name)


def photo_with(noise):
    """A part of a photo that scikit-image ships, with noise in grey levels, (256, 384, 3)."""
    clean = skimage.data.coffee()[:256, :384].astype(float)
    return clean + noise(np.random.default_rng(0), clean)


def facts(*arguments, code=0):
    return [
        json.loads(line)
        for line in ssbsn("info", *arguments, "--json", code=code).stdout.splitlines()
    ]


def test_white_noise_is_found_as_strong_as_it_is(folder):
    save("photo.png", photo_with(lambda rng, clean: rng.normal(0, 15, clean.shape)))
    (found,) = facts("photo.png")
    assert (found["format"], found["width"], found["height"], found["bits"]) == ("png", 384, 256, 8)
    assert found["measured_pixels"] == 384 * 256
    noise = found["noise"]
    for points in noise["deviations"].values():
        # What is nearly black or white is clipped, and its noise with it.
        inside = [deviation for level, deviation in points if 45 < level < 210]
        assert np.median(inside) == pytest.approx(15, rel=0.15)
    for lags in noise["neighbours"].values():
        assert abs(lags[0]) < 0.15
    # The default weights have others for it, so nothing is to be done.
    assert found["finding"].endswith("It is white noise.")


def test_noise_that_is_stronger_in_texture_is_told_from_noise_that_is_not(folder):
    def smoothed_where_flat(rng, clean):
        grey = clean.mean(axis=2)
        detail = cv2.GaussianBlur((grey - cv2.GaussianBlur(grey, (0, 0), 4)) ** 2, (0, 0), 4)
        return rng.normal(0, 8, clean.shape) * np.where(detail > np.median(detail), 2, 1)[..., None]

    save("even.png", photo_with(lambda rng, clean: rng.normal(0, 12, clean.shape)))
    save("smoothed.png", photo_with(smoothed_where_flat))
    even, smoothed = facts("even.png", "smoothed.png")
    assert even["noise"]["texture"] < 1.3
    assert 1.5 < smoothed["noise"]["texture"] < 2.6
    assert "In texture" in smoothed["finding"]
    Image.open("smoothed.png").convert("L").save("grey.png")
    (grey,) = facts("grey.png")
    assert 1.4 < grey["noise"]["texture"] < 2.6


def test_what_is_wrong_with_a_registry_does_not_keep_the_other_facts(folder, monkeypatch):
    (folder / "wrong.toml").write_text("default = 3")
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(folder / "wrong.toml"))
    told = json.loads(ssbsn("info", "--json").stdout)
    assert told["weights_present"].startswith("none: ")
    assert told["threads"] > 0


def test_what_correlates_is_told_from_what_does_not(folder):
    def blurred(rng, clean):
        grey = cv2.GaussianBlur(rng.standard_normal(clean.shape[:2]), (0, 0), 0.8)
        return (12 * grey / grey.std())[..., None]

    save("photo.png", photo_with(blurred))
    (found,) = facts("photo.png")
    assert "--adapt" in found["finding"]
    noise = found["noise"]
    assert noise["neighbours"]["horizontal"][0] == pytest.approx(0.66, abs=0.12)
    assert noise["neighbours"]["vertical"][0] == pytest.approx(0.66, abs=0.12)
    assert min(noise["channels"].values()) > 0.8


def test_photos_without_noise_and_photos_that_cannot_be_measured_say_so(folder):
    ramp = np.linspace(40, 200, 256 * 3).reshape(1, 256, 3).repeat(256, axis=0)
    save("smooth.png", ramp)
    save("black.png", np.zeros((256, 256, 3)))
    save("tiny.png", np.full((20, 20, 3), 128))
    smooth, black, tiny = facts("smooth.png", "black.png", "tiny.png")
    assert not smooth["noise"]["found"]
    assert smooth["noise"]["neighbours"] is None
    assert "No noise was found" in smooth["finding"]
    assert black["noise"] is None
    assert black["clipped"] == {"black": 1.0, "white": 0.0}
    assert "cannot be measured" in black["finding"]
    assert "cannot be measured" in tiny["finding"]
    assert "No noise was found" in ssbsn("info", "smooth.png").stdout


def test_what_a_file_says_is_told(folder):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("L", (40, 30), 90).save("grey.jpg", icc_profile=profile)
    Image.new("RGB", (40, 30), 90).save("broken.png", icc_profile=b"no profile")
    tifffile.imwrite("deep.tif", np.full((30, 40, 3), 30_000, np.uint16), photometric="rgb")
    wide = Photo(np.full((30, 40, 3), 90, np.uint8), Metadata(cicp=bytes((12, 13, 0, 1))))
    Path("wide.png").write_bytes(encode_photo(wide, "png"))
    grey, broken, deep, wide = facts("grey.jpg", "broken.png", "deep.tif", "wide.png")
    assert wide["colors"] == "the colours of P3 with the curve of sRGB, as numbers (cicp)"
    assert (grey["format"], grey["channels"], grey["colors"]) == ("jpeg", 1, "sRGB built-in")
    assert broken["colors"] == "a colour profile that cannot be read"
    assert (deep["format"], deep["bits"], deep["colors"]) == ("tiff", 16, "no profile, so sRGB")


def test_a_photo_that_cannot_be_read_does_not_stop_the_others(folder):
    save("photo.png", np.full((64, 64, 3), 90))
    missing, there = facts("missing.png", "photo.png", code=1)
    assert missing["input"] == "missing.png"
    assert "does not exist" in missing["error"]
    assert there["input"] == "photo.png"
    assert "1 failed" in ssbsn("info", "missing.png", code=1).stderr


def test_a_photo_that_meets_a_defect_does_not_stop_the_others(folder, monkeypatch):
    save("photo.png", np.full((64, 64, 3), 90))
    read = inspecting.read_photo

    def fail(path, **options):
        return 1 / 0 if path.name == "bad.png" else read(path, **options)

    monkeypatch.setattr(inspecting, "read_photo", fail)
    bad, there = facts("bad.png", "photo.png", code=1)
    assert "bug" in bad["error"]
    assert there["input"] == "photo.png"


def test_no_pictures_are_kept_for_no_page(folder, monkeypatch):
    save("photo.png", np.full((64, 64, 3), 90))
    inspect, kept = inspecting.inspect_photo, []

    def watch(*arguments):
        inspected = inspect(*arguments)
        kept.append(weakref.ref(inspected.noisy))
        return inspected

    monkeypatch.setattr(inspecting, "inspect_photo", watch)
    facts(*["photo.png"] * 4)
    assert not any(each() is not None for each in kept[:2])


def test_the_noise_of_a_dark_photo_is_what_denoise_removes(folder, monkeypatch):
    dark = photo_with(lambda rng, clean: rng.normal(0, 15, clean.shape))[:120, :160] // 4
    save("photo.png", dark)
    inspect, found = inspecting.inspect_photo, []
    monkeypatch.setattr(
        inspecting, "inspect_photo", lambda *a: found.append(inspect(*a)) or found[0]
    )
    facts("photo.png")
    denoised = load_denoiser()(cv2.imread("photo.png")[..., ::-1])
    np.testing.assert_array_equal(found[0].denoised, denoised)


def test_a_page_replaces_no_photo(folder):
    save("photo.png", np.full((64, 64, 3), 90))
    (folder / "photo").write_bytes((folder / "photo.png").read_bytes())
    for photo, page in (("photo.png", "photo.png"), ("photo", "photo"), ("photo", "photo.png")):
        ssbsn("info", photo, "--report", page, "--overwrite", code=2)
    assert (folder / "photo.png").read_bytes() == (folder / "photo").read_bytes()


def test_the_page_shows_plots_and_the_photo_before_and_after(folder):
    save("<photo>.png", photo_with(lambda rng, clean: rng.normal(0, 15, clean.shape)))
    ssbsn("info", "<photo>.png", "--report", "page.html")
    page = (folder / "page.html").read_text("utf-8")
    assert "&lt;photo&gt;.png" in page
    assert "<photo>" not in page
    for title in ("Standard deviation", "Correlation"):
        assert f'aria-label="{title}"' in page
    for style in ("red", "green", "blue", "smooth", "check"):
        assert f'polyline class="{style}"' in page
    assert "min:" not in page
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(part.split('"')[0]))), float)
        for part in page.split("data:image/webp;base64,")[1:]
    )
    assert before.shape == after.shape == (256, 256, 3)
    assert np.abs(np.diff(after, axis=1)).mean() < 0.7 * np.abs(np.diff(before, axis=1)).mean()
    refused = ssbsn("info", "<photo>.png", "--report", "page.html", code=2)
    assert "--overwrite" in refused.stderr
    ssbsn("info", "<photo>.png", "--report", "page.html", "--overwrite")


def test_the_page_shows_photos_without_noise_too(folder):
    save("smooth.png", np.full((128, 128, 3), 90))
    save("black.png", np.zeros((128, 128, 3)))
    ssbsn("info", "smooth.png", "black.png", "--report", "page.html")
    page = (folder / "page.html").read_text("utf-8")
    assert "No noise was found" in page
    assert "cannot be measured" in page
    assert 'aria-label="Correlation"' not in page


def test_values_that_are_no_numbers_are_left_out(folder):
    values = np.random.default_rng(0).normal(0.5, 15 / 255, (256, 256, 3)).astype(np.float32)
    values[:32, :64], values[200:220, 100:120] = np.nan, np.inf
    tifffile.imwrite("photo.tif", values, photometric="rgb")
    (found,) = facts("photo.tif", "--report", "page.html")
    assert found["bits"] == 32
    for points in found["noise"]["deviations"].values():
        np.testing.assert_allclose(np.array(points)[:, 1], 15, rtol=0.15)


def test_a_tiff_that_is_too_large_for_memory_is_measured_in_its_file(folder, monkeypatch):
    values = np.random.default_rng(0).normal(128, 15, (150, 200, 3)).astype(np.uint8)
    tifffile.imwrite("photo.tif", values, photometric="rgb", tile=(64, 64))
    whole = facts("photo.tif")
    monkeypatch.setattr(tiff_stream, "STREAM_BYTES", 0)
    monkeypatch.delattr(inspecting, "read_photo")
    assert facts("photo.tif") == whole


def test_a_page_needs_a_photo(folder):
    assert "need a photo" in ssbsn("info", "--report", "page.html", code=2).stderr
    assert "--report" in ssbsn("info", "photo.png", "--overwrite", code=2).stderr
    missing = ssbsn("info", "photo.png", "--report", "none/page.html", code=2)
    assert "its folder does not exist" in missing.stderr


def test_a_page_that_cannot_be_written_is_refused_before_photos_are_measured(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    result = ssbsn("info", "missing.png", "--report", "page.html", code=2)
    assert "may not write" in result.stderr
    assert "missing.png" not in result.stderr


def test_a_large_photo_is_measured_in_parts_that_are_spread_over_it(folder, monkeypatch):
    monkeypatch.setattr(inspecting, "_SIDE", 32)
    save("photo.png", np.random.default_rng(0).normal(128, 9, (400, 500, 3)))
    (found,) = facts("photo.png")
    assert found["measured_pixels"] == 4 * 6 * 32 * 32
    assert found["noise"]["found"]
    assert "limit of 1000" in facts("photo.png", "--max-pixels", 1000, code=1)[0]["error"]
