"""``ssbsn denoise`` on what phones and cameras write, and what it says without their extras."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_denoise import names, noisy, ssbsn
from test_imaging_raw import dng, scene

from ssbsn_cli.core.imaging import Photo, read_photo, write_photo


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory card: HEIC and JPEG photos of a phone, a raw file and its JPEG of a camera."""
    monkeypatch.chdir(tmp_path)
    folder = Path("DCIM/100APPLE")
    folder.mkdir(parents=True)
    photo = Photo(noisy(24, 40))
    for name in ("IMG_1.HEIC", "IMG_2.JPG", "DSC_3.JPG"):
        write_photo(photo, folder / name)
    (folder / "DSC_3.DNG").write_bytes(dng(scene((0.3, 0.3, 0.3))))
    return folder


def test_a_phones_folder(card: Path) -> None:
    result = ssbsn("denoise", "DCIM/", "-o", "clean/", "-r", "--json")
    assert names("clean/100APPLE") == ["DSC_3.JPG", "DSC_3.tif", "IMG_1.HEIC", "IMG_2.JPG"]
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    dtypes = {Path(row["output"]).name: row["dtype"] for row in rows}
    assert dtypes["DSC_3.tif"] == "uint16"
    assert dtypes["IMG_1.HEIC"] == "uint8"
    for path in Path("clean/100APPLE").iterdir():
        assert read_photo(path).format == {"tif": "tiff", "HEIC": "heic"}.get(
            path.suffix[1:], "jpeg"
        )
    before, after = (read_photo(Path(top, "100APPLE/IMG_1.HEIC")) for top in ("DCIM", "clean"))
    assert after.pixels.std() < before.pixels.std()


@pytest.mark.parametrize("format", ["heic", "avif", "jxl", "jpeg"])
def test_another_format_can_be_asked_for(card: Path, format: str) -> None:
    ssbsn("denoise", card / "IMG_1.HEIC", card / "DSC_3.DNG", "-o", "out/", "--format", format)
    extension = {"jpeg": ".jpg"}.get(format, f".{format}")
    first = "IMG_1.HEIC" if format == "heic" else f"IMG_1{extension}"
    assert names("out") == sorted([first, f"DSC_3{extension}"])
    assert all(read_photo(path).format == format for path in Path("out").iterdir())


def test_a_raw_file_is_developed_to_a_wide_space(card: Path) -> None:
    ssbsn("denoise", card / "DSC_3.DNG", "-o", "wide.tif", "--raw-space", "prophoto")
    ssbsn("denoise", card / "DSC_3.DNG", "-o", "plain.tif")
    wide, plain = (read_photo(Path(name)) for name in ("wide.tif", "plain.tif"))
    assert wide.metadata.icc != plain.metadata.icc
    assert wide.pixels.dtype == np.uint16
    assert wide.pixels.mean() < plain.pixels.mean()


def test_what_is_not_installed_fails_alone(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssbsn_cli.core.imaging.codec.find_spec", lambda _: None)
    result = ssbsn("denoise", "DCIM/", "-o", "clean/", "-r", code=1)
    assert names("clean/100APPLE") == ["DSC_3.JPG", "IMG_2.JPG"]
    for extra in ("heif", "raw"):
        assert f'pip install "ssbsn[{extra}]"' in result.stderr
    refused = ssbsn("denoise", card / "IMG_2.JPG", "-o", "out.jxl", code=1)
    assert 'pip install "ssbsn[formats]"' in refused.stderr
    formats = json.loads(ssbsn("info", "--json").stdout)["formats"]
    assert "JPEG" in formats
    assert 'HEIC: not installed. Install it with pip install "ssbsn[heif]".' in formats
    assert any("camera raw" in line and "ssbsn[raw]" in line for line in formats)
