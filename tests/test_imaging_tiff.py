"""TIFF in its many layouts."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import memory
import numpy as np
import pytest
import tifffile
from pictures import first_page, noise, pillow_bytes, tiff_bytes
from PIL import Image

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    encode_photo,
    list_losses,
    read_photo,
    tiff_write,
    write_photo,
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "layout",
    [
        {"rowsperstrip": 3},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True, "tile": (16, 32)},
        {"compression": "lzw", "rowsperstrip": 7},
        {"compression": "packbits"},
        {"compression": "zstd"},
        {"byteorder": ">", "compression": "zlib"},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib", "rowsperstrip": 5},
    ],
)
def test_every_layout_is_read(layout: dict[str, Any], dtype: str) -> None:
    pixels = noise(37, 41, 3, dtype)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in layout else pixels
    photo = read_photo(tiff_bytes(stored, photometric="rgb", **layout))
    assert photo.pixels.dtype == dtype
    assert photo.pixels.flags.c_contiguous
    assert photo.pixels.dtype.isnative
    assert np.array_equal(photo.pixels, pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_min_is_white_is_inverted(dtype: str) -> None:
    pixels = noise(9, 8, 1, dtype)
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    read = read_photo(tiff_bytes(pixels[..., 0], photometric="miniswhite")).pixels
    assert np.array_equal(read, (white - pixels).astype(dtype))


def test_values_without_a_meaning_are_not_guessed() -> None:
    data = without_tag(tiff_bytes(noise(9, 8, 1)[..., 0], photometric="minisblack"), 262)
    with pytest.raises(ImageError, match="black or white"):
        read_photo(data)


def test_jpeg_inside_tiff_is_read_as_rgb() -> None:
    pixels = np.full((32, 32, 3), (220, 40, 90), np.uint8)
    data = pillow_bytes(Image.fromarray(pixels), "TIFF", compression="jpeg")
    read = read_photo(data).pixels
    assert np.abs(read.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize(
    ("code", "kind"), [("unspecified", 0), ("assocalpha", 1), ("unassalpha", 2)]
)
def test_the_meaning_of_alpha_is_kept(code: str, kind: int, channels: int) -> None:
    pixels = noise(8, 8, channels, "uint16")
    data = tiff_bytes(
        pixels,
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig="contig",
        extrasamples=[code],
    )
    again = encode_photo(read_photo(data), "tiff")
    assert first_page(again).extrasamples == (kind,)
    assert np.array_equal(read_photo(again).pixels, pixels)


def without_tag(data: bytes, tag: int) -> bytes:
    """Give a tag of a little-endian TIFF a number that means nothing."""
    place = first_page(data).tags[tag].offset
    return data[:place] + struct.pack("<H", 65000) + data[place + 2 :]


@pytest.mark.parametrize("target", ["png", "jpeg"])
@pytest.mark.parametrize("said", [True, False])
def test_a_channel_without_a_meaning_never_becomes_opacity(target: str, said: bool) -> None:
    pixels = noise(8, 8, 4)
    data = tiff_bytes(pixels, photometric="rgb", extrasamples=["unspecified"])
    photo = read_photo(data if said else without_tag(data, 338))
    assert read_photo(encode_photo(photo, target)).pixels.shape == (8, 8, 3)
    assert list_losses(photo, target) == ("a channel without a meaning",)
    assert list_losses(photo, "tiff") == ()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_colours_are_freed_for_png(dtype: str) -> None:
    white = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    color = np.array([0.2, 0.6, 1.0])
    pixels = np.empty((1, 3, 4), dtype)
    for column, alpha in enumerate((0.0, 0.5, 1.0)):
        pixels[0, column] = [*(color * alpha * white), alpha * white]
    photo = Photo(pixels, format="tiff", alpha="associated")
    png = read_photo(encode_photo(photo, "png")).pixels
    top = np.iinfo(png.dtype).max
    assert np.allclose(png[0, 1:, :3] / top, color, atol=0.01)
    assert np.allclose(png[..., 3] / top, pixels[..., 3] / white, atol=1e-5)
    assert np.array_equal(photo.pixels, pixels)


def test_written_tiffs_are_compressed_strips_that_anyone_can_read() -> None:
    pixels = np.tile(np.arange(1500, dtype=np.uint16)[:, None, None], (1, 700, 3))
    data = encode_photo(Photo(pixels), "tiff")
    page = first_page(data)
    assert len(data) < pixels.nbytes / 10
    assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert len(page.dataoffsets) > 1
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert seen is not None
    assert np.array_equal(seen, pixels)


def test_large_files_become_bigtiff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_write, "_CLASSIC_BYTES", 74)
    photo = Photo(noise(5, 5, 3), Metadata(exif=exif_with_gps(), xmp=b"<x/>" * 9))
    data = encode_photo(photo, "tiff")
    assert data[2] == 43
    assert encode_photo(Photo(photo.pixels[:4]), "tiff")[2] == 42
    read = read_photo(data)
    assert np.array_equal(read.pixels, photo.pixels)
    assert read.metadata.xmp == photo.metadata.xmp
    assert Image.open(io.BytesIO(encode_photo(read, "jpeg"))).getexif()[271] == "Maker"


def exif_with_gps() -> bytes:
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(34853)[29] = "2024:01:02"
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.skipif(not memory.STATUS.exists(), reason="needs /proc")
def test_memory_stays_close_to_the_size_of_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    rows = np.random.default_rng(0).integers(0, 255, (1, 6000, 3), dtype=np.uint8)
    write_photo(Photo(np.ascontiguousarray(np.broadcast_to(rows, (6000, 6000, 3)))), path)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from memory import peak\n"
        "from ssbsn_cli.core.imaging import read_photo, write_photo\n"
        "start = peak()\n"
        "photo = read_photo(Path(sys.argv[1]))\n"
        "write_photo(photo, Path(sys.argv[2]))\n"
        "assert peak() - start < 1.35 * photo.pixels.nbytes, peak() - start\n"
    )
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "copy.tif")]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)


def test_palettes_of_4_bits_are_read() -> None:
    indices = np.random.default_rng(0).integers(0, 16, (6, 8), dtype=np.uint8)
    colors = noise(16, 1, 3, "uint16")[:, 0]
    packed = (indices[:, ::2] << 4 | indices[:, 1::2]).tobytes()
    entries = [(256, 8), (257, 6), (258, 4), (259, 1), (262, 3), (273, 134), (277, 1), (278, 6)]
    entries += [(279, len(packed))]
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries) + 1)
    data += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    data += struct.pack("<HHIII", 320, 3, 48, 134 + len(packed), 0)
    data += packed + np.ascontiguousarray(colors.T).tobytes()
    assert np.array_equal(read_photo(data).pixels, (colors >> 8)[indices])


def test_an_unknown_compression_is_named() -> None:
    data = bytearray(tiff_bytes(noise(8, 8, 3), photometric="rgb", compression="zlib"))
    struct.pack_into("<H", data, first_page(bytes(data)).tags[259].valueoffset, 12345)
    with pytest.raises(ImageError, match="compressed as 12345, which cannot be read"):
        read_photo(bytes(data))


def test_odd_tags_are_not_talked_about(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(tiff_bytes(noise(8, 8, 3), photometric="rgb", software="x" * 40))
    at = first_page(bytes(data)).tags[305].offset
    struct.pack_into("<H", data, at + 2, 99)
    read_photo(bytes(data))
    assert capfd.readouterr().err == ""
    assert not caplog.records


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14, 16])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
def test_any_number_of_bits_is_stretched(bits: int, photometric: str) -> None:
    top, dtype = (1 << bits) - 1, "uint8" if bits <= 8 else "uint16"
    values = np.random.default_rng(bits).integers(0, top + 1, (9, 13, 3)).astype(dtype)
    stored = values if photometric == "rgb" else values[..., 0]
    data = tiff_bytes(stored, bitspersample=bits, photometric=photometric, metadata=None)
    photo = read_photo(data)
    pixels = photo.pixels
    assert pixels.dtype == dtype
    assert photo.bits == bits
    light = (stored if photometric != "miniswhite" else top - stored) / top
    assert np.abs(pixels - light.reshape(pixels.shape) * np.iinfo(dtype).max).max() <= 0.5


def test_tags_of_editors_and_printers_are_kept() -> None:
    exif = Image.Exif()
    exif[11], exif[50341] = "digiKam", b"PrintIM\x000300\0\0\0\0"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    data = encode_photo(Photo(noise(4, 4, 3), Metadata(exif=block)), "tiff")
    tags = first_page(data).tags
    assert (tags[11].value, tags[50341].value) == ("digiKam", b"PrintIM\x000300\0\0\0\0")


@pytest.mark.parametrize("layout", [{"rowsperstrip": 3}, {"tile": (16, 16)}, {}])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("count", [0, 1, 9000])
def test_stated_sizes_of_plain_strips_do_not_matter(
    layout: dict[str, Any], planar: bool, count: int
) -> None:
    pixels = noise(37, 41, 3)
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    options = layout | ({"planarconfig": "separate"} if planar else {})
    data = bytearray(tiff_bytes(stored, photometric="rgb", metadata=None, **options))
    page = first_page(bytes(data))
    tag = page.tags[325 if "tile" in layout else 279]
    kind = {3: "H", 4: "I"}[int(tag.dtype)]
    struct.pack_into(f"<{tag.count}{kind}", data, tag.valueoffset, *[count] * tag.count)
    assert np.array_equal(read_photo(bytes(data)).pixels, pixels)
    with pytest.raises(ImageError, match="cut short"):
        read_photo(bytes(data[: page.dataoffsets[-1]]))


def test_empty_tiles_that_are_left_out_are_told() -> None:
    data = bytearray(tiff_bytes(noise(64, 64, 3), photometric="rgb", tile=(32, 32)))
    for number in (324, 325):
        tag = first_page(bytes(data)).tags[number]
        struct.pack_into("<I", data, tag.valueoffset, 0)
    with pytest.raises(ImageError, match="leaves out empty tiles"):
        read_photo(bytes(data))
