"""Photos larger than memory: TIFFs that are denoised without ever being whole in it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import memory
import numpy as np
import pytest
import tifffile
import torch
from commands import ssbsn
from test_tiles import Local

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import read_photo, tiff_stream, tiff_write
from ssbsn_cli.core.imaging.tiff_stream import open_large_tiff
from ssbsn_cli.core.inference.files import denoise_files
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import FileOptions
from ssbsn_cli.core.weights.locate import load_weights

ICC = bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(88)
# What matters little to how a photo is read and written, and takes most of the time.
PLAIN = {"detail": "off", "multiscale": "off", "wiener": "off"}
XMP = b"<x:xmpmeta tiff:Orientation='1'/>"


def noise(height: int, width: int, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    y, x = np.mgrid[:height, :width] / max(height, width)
    clean = (0.25 + 0.5 * x + 0.2 * y)[..., None]
    noisy = clean + np.random.default_rng(0).normal(0, 0.05, (height, width, channels))
    return (np.clip(noisy, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def save(path: Path, pixels: np.ndarray, **layout: Any) -> Path:
    grey = pixels.shape[2] == 1
    layout.setdefault("photometric", "minisblack" if grey else "rgb")
    tifffile.imwrite(path, pixels[..., 0] if grey else pixels, metadata=None, **layout)
    return path


bundled = cache(partial(load_weights, "photo"))


def denoiser(**settings: Any) -> Any:
    """The real thing around a stand-in network."""
    made = load_denoiser(bundled(), device="cpu", precision="fp32", tile=48, overlap=16, **settings)
    torch.manual_seed(0)
    made._engine.predictor.network = Local()
    made._engine.white_noise = None
    made._engine.detail = settings.get("detail") != "off"
    return made


def denoise_file(denoiser: Any, job: Job, progress: Any = lambda *_: None, **options: Any) -> Any:
    ((_, outcome),) = denoise_files(denoiser, [job], FileOptions(**options), progress=progress)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Denoise a file without having it in memory, and return what is reported."""

    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("the photo was read whole")

    def run(source: Path, target: Path, comparison: Path | None = None, **settings: Any) -> Any:
        options = settings.pop("options", {})
        progress = settings.pop("progress", lambda *_: None)
        with monkeypatch.context() as patch:
            patch.setattr(tiff_stream, "STREAM_BYTES", 0)
            patch.setattr("ssbsn_cli.core.inference.opening.read_photo", read)
            job = Job(source, target, comparison)
            return denoise_file(denoiser(**settings), job, progress, **options)

    return run


def usual(source: Path, target: Path, comparison: Path | None = None, **settings: Any) -> Any:
    return denoise_file(denoiser(**settings), Job(source, target, comparison))


@pytest.mark.parametrize(
    ("layout", "compression", "dtype", "channels"),
    # Any two values of different parameters occur together.
    [
        ({"tile": (32, 16)}, None, "uint8", 3),
        ({"tile": (32, 16)}, "zlib", "uint16", 1),
        ({"rowsperstrip": 7}, None, "uint16", 3),
        ({"rowsperstrip": 7}, "zlib", "uint8", 1),
        ({"tile": (64, 64), "byteorder": ">"}, None, "uint8", 1),
        ({"tile": (64, 64), "byteorder": ">"}, "zlib", "uint16", 3),
    ],
)
def test_the_result_is_that_of_smaller_photos(
    tmp_path: Path, stream: Any, layout: dict[str, Any], compression: Any, dtype: str, channels: int
) -> None:
    pixels = noise(100, 91, channels, dtype)
    path = save(tmp_path / "in.tif", pixels, compression=compression, **layout)
    report = stream(path, tmp_path / "streamed.tif")
    expected = usual(path, tmp_path / "usual.tif")
    streamed, result = (read_photo(tmp_path / f"{name}.tif") for name in ("streamed", "usual"))
    assert streamed.pixels.dtype == dtype
    assert np.array_equal(streamed.pixels, result.pixels)
    assert not np.array_equal(streamed.pixels, pixels)
    for each in (report, expected):
        for key in ("output", "seconds", "megapixels_per_second"):
            del each[key]
    assert report == expected


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": "zlib", "predictor": True, "tile": (32, 32)},
        {"byteorder": ">", "bigtiff": True},
        {"photometric": "miniswhite"},
        {"photometric": "miniswhite", "compression": "zlib", "rowsperstrip": 11},
        {"compression": "lzw", "tile": (16, 16)},
    ],
)
def test_other_layouts_too(
    tmp_path: Path, stream: Any, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any]
) -> None:
    # Uncompressed, the whole photo is one strip, which is read in pieces.
    monkeypatch.setattr(tiff_stream, "_RUN_BYTES", 1000)
    pixels = noise(90, 131, 1 if layout.get("photometric") else 3, "uint16")
    path = save(tmp_path / "in.tif", pixels, **layout)
    stream(path, tmp_path / "streamed.tif")
    usual(path, tmp_path / "usual.tif")
    streamed, result = (read_photo(tmp_path / f"{name}.tif") for name in ("streamed", "usual"))
    assert np.array_equal(streamed.pixels, result.pixels)


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 300), (256, 512), (513, 257)])
def test_any_size_comes_back_at_its_own(tmp_path: Path, stream: Any, size: Any) -> None:
    for channels in (1, 3):
        path = save(tmp_path / "in.tif", noise(*size, channels), tile=(64, 64))
        for settings in ({"strength": 0.0}, PLAIN):
            stream(path, tmp_path / "out.tif", options={"overwrite": True}, **settings)
            assert read_photo(tmp_path / "out.tif").pixels.shape == (*size, channels)


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_strength_blends_with_the_original(tmp_path: Path, stream: Any, strength: float) -> None:
    path = save(tmp_path / "in.tif", noise(100, 90, 3, "uint16"), tile=(32, 32))
    stream(path, tmp_path / "streamed.tif", strength=strength)
    usual(path, tmp_path / "usual.tif", strength=strength)
    streamed, result = (read_photo(tmp_path / f"{name}.tif") for name in ("streamed", "usual"))
    assert np.array_equal(streamed.pixels, result.pixels)
    assert np.array_equal(streamed.pixels, read_photo(path).pixels) == (strength == 0)


@pytest.mark.parametrize("side", [200, 3000])
def test_compare_shows_before_and_after(tmp_path: Path, stream: Any, side: int) -> None:
    path = save(tmp_path / "in.tif", noise(60, side), tile=(64, 64))
    pictures = tmp_path / "streamed.png", tmp_path / "usual.png"
    stream(path, tmp_path / "streamed.tif", pictures[0], **PLAIN)
    usual(path, tmp_path / "usual.tif", pictures[1], **PLAIN)
    streamed, expected = (read_photo(picture).pixels.astype(int) for picture in pictures)
    assert streamed.shape == expected.shape
    assert np.abs(streamed - expected).max() <= 1


def test_what_describes_the_photo_is_kept(tmp_path: Path, stream: Any) -> None:
    tags = [(271, 2, 0, "Maker", True), (700, 1, len(XMP), XMP, True)]
    path = tmp_path / "in.tif"
    described = {"description": "A title", "resolution": (300, 300), "iccprofile": ICC}
    save(path, noise(60, 50), tile=(32, 32), software="Scanner", extratags=tags, **described)
    stream(path, tmp_path / "out.tif")
    assert read_photo(tmp_path / "out.tif").metadata == read_photo(path).metadata
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        found = tiff.pages[0].tags
        assert found[282].value == (300, 1)
        assert (found[270].value, found[271].value) == ("A title", "Maker")
        assert found[34675].value == ICC
    stream(path, tmp_path / "bare.tif", options={"strip_metadata": True})
    bare = read_photo(tmp_path / "bare.tif").metadata
    assert (bare.icc, bare.xmp, bare.text) == (ICC, b"", ())
    assert b"Maker" not in bare.exif


def test_results_are_compressed_tiles_and_bigtiff_beyond_four_gigabytes(
    tmp_path: Path, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "in.tif", noise(300, 280), tile=(64, 64), iccprofile=ICC)
    for limit, big in ((tiff_write._CLASSIC_BYTES, False), (1000, True)):
        monkeypatch.setattr(tiff_write, "_CLASSIC_BYTES", limit)
        stream(path, tmp_path / "out.tif", options={"overwrite": True}, **PLAIN)
        with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
            page = tiff.pages[0]
            assert tiff.is_bigtiff == big
            assert (page.is_tiled, page.compression) == (True, 8)
            assert page.iccprofile == ICC
            assert page.shape == (300, 280, 3)


def damage(path: Path) -> None:
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[-1], tiff.pages[0].databytecounts[-1]
    with path.open("rb+") as file:
        file.seek(offset)
        file.write(b"\xff" * count)


def test_a_damaged_tile_is_an_error_and_nothing_is_left_behind(
    tmp_path: Path, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "in.tif", noise(200, 200), tile=(64, 64), compression="zlib")
    damage(path)
    # For the estimate of noise, only some tiles are read: the damage is met on the way.
    for detail in ("auto", "off"):
        with pytest.raises(ImageError, match=r"in\.tif is a damaged TIFF\.") as caught:
            stream(path, tmp_path / "out.tif", tmp_path / "compare.png", detail=detail)
        assert caught.value.hint
        assert [each.name for each in tmp_path.iterdir()] == ["in.tif"]
    monkeypatch.setattr(tiff_stream, "STREAM_BYTES", 0)
    result = ssbsn("denoise", path, "-o", tmp_path / "out.tif", code=1)
    assert "damaged TIFF" in result.output


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_no_half_written_file(
    tmp_path: Path, stream: Any, error: type[BaseException]
) -> None:
    path = save(tmp_path / "in.tif", noise(300, 100), tile=(64, 64))

    def interrupt(done: int, of: int) -> None:
        if done > of // 2:
            assert len(list(tmp_path.glob(".ssbsn-*.part"))) == 1
            raise error

    with pytest.raises(error):
        stream(path, tmp_path / "out.tif", progress=interrupt)
    assert [each.name for each in tmp_path.iterdir()] == ["in.tif"]


def test_progress_counts_every_tile(tmp_path: Path, stream: Any) -> None:
    path = save(tmp_path / "in.tif", noise(100, 90), tile=(64, 64))
    seen: list[tuple[int, int]] = []
    stream(path, tmp_path / "out.tif", progress=lambda *at: seen.append(at))
    assert seen == [(i, seen[0][1]) for i in range(seen[0][1] + 1)]


def test_the_result_may_replace_the_photo(tmp_path: Path, stream: Any) -> None:
    path = save(tmp_path / "in.tif", noise(300, 90), tile=(64, 64))
    before = path.read_bytes()
    with pytest.raises(ImageError, match="replace the photo itself"):
        stream(path, path)
    assert path.read_bytes() == before
    usual(path, tmp_path / "usual.tif")
    stream(path, path, options={"overwrite": True})
    assert np.array_equal(read_photo(path).pixels, read_photo(tmp_path / "usual.tif").pixels)


@pytest.mark.parametrize(
    "layout",
    [
        {"extratags": [(274, 3, 1, 6, True)]},
        {"planarconfig": "separate"},
        {"compression": "zlib", "rowsperstrip": 80},
        {"extrasamples": ["unassalpha"]},
    ],
)
def test_what_cannot_be_streamed_is_denoised_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any]
) -> None:
    pixels = noise(80, 70, 4 if "extrasamples" in layout else 3)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in layout else pixels
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, stored, photometric="rgb", metadata=None, **layout)
    usual(path, tmp_path / "usual.tif")
    monkeypatch.setattr(tiff_stream, "STREAM_BYTES", 0)
    monkeypatch.setattr(tiff_stream, "_MAX_ROW_BYTES", 10_000)
    assert open_large_tiff(path) is None
    usual(path, tmp_path / "again.tif")
    assert (tmp_path / "again.tif").read_bytes() == (tmp_path / "usual.tif").read_bytes()


@pytest.mark.parametrize("name", ["in.tif", "missing.tif", "text.tif", "raw.dng", "photo.png"])
def test_small_photos_and_other_files_are_left_to_the_usual_way(tmp_path: Path, name: str) -> None:
    save(tmp_path / "in.tif", noise(30, 30))
    save(tmp_path / "raw.dng", noise(30, 30))
    (tmp_path / "text.tif").write_text("this is text")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert open_large_tiff(tmp_path / name) is None


def test_a_file_cut_short_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "in.tif", noise(200, 200), tile=(64, 64))
    path.write_bytes(path.read_bytes()[:-5000])
    monkeypatch.setattr(tiff_stream, "STREAM_BYTES", 0)
    with pytest.raises(ImageError, match="cut short"):
        usual(path, tmp_path / "out.tif")
    assert [each.name for each in tmp_path.iterdir()] == ["in.tif"]


MEMORY = """
import sys
from dataclasses import replace
from pathlib import Path
from memory import peak
from test_stream import PLAIN, denoise_file, denoiser
from ssbsn_cli.core.imaging import tiff_stream
from ssbsn_cli.core.inference.jobs import Job

class Same:
    def denoise(self, x, **_):
        return x

tiff_stream.STREAM_BYTES = 0
# The estimate of noise reads a sample, which takes the same memory for all but small photos. All
# else works on tiles.
made = denoiser(impulses="off", **PLAIN)
made._engine.predictor.network = Same()
made._engine.tiling = replace(made._engine.tiling, tile=512)
for path in map(Path, sys.argv[1:]):
    denoise_file(made, Job(path, path.with_suffix(".out.tif")))
    print(peak())
"""


@pytest.mark.skipif(not memory.STATUS.exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_photo(tmp_path: Path) -> None:
    tile = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 256, 3))
    paths = []
    for height in (4096, 32768):
        paths.append(tmp_path / f"{height}.tif")
        tifffile.imwrite(
            paths[-1],
            (tile for _ in range(height // 256 * 4)),
            shape=(height, 1024, 3),
            dtype=np.uint8,
            tile=tile.shape[:2],
            photometric="rgb",
            compression="zlib",
        )
    command = [sys.executable, "-c", MEMORY, *map(str, paths)]
    here = Path(__file__).parent
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    assert result.returncode == 0, result.stderr
    first, second = map(int, result.stdout.split())
    # The second photo is 90 MB larger. How threads share the memory varies by some 50.
    assert second - first < 70 << 20
