"""Every format brings the pixels back: same values, same depth, same channels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import Array, noise, pillow_bytes, png_chunk
from PIL import Image

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import (
    PHOTO_EXTENSIONS,
    Metadata,
    Photo,
    encode_photo,
    format_of_path,
    is_photo_name,
    read_photo,
    stored_dtype,
    write_photo,
)
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.types import FormatKind

LOSSLESS = {
    "png": (("uint8", "uint16"), (1, 2, 3, 4)),
    "bmp": (("uint8",), (1, 3)),
    "pnm": (("uint8", "uint16"), (1, 3)),
    "tiff": (("uint8", "uint16", "float16", "float32", "float64"), (1, 2, 3, 4)),
}
WRITABLE = [ext for c in CODECS.values() if c.encode for ext in c.extensions if ext != ".pbm"]
KINDS = [(f, d, c) for f, (dtypes, channels) in LOSSLESS.items() for d in dtypes for c in channels]


def same(pixels: Array, expected: Array) -> bool:
    return pixels.dtype == expected.dtype and np.array_equal(pixels, expected)


@pytest.mark.parametrize(("format", "dtype", "channels"), KINDS)
def test_lossless_formats_bring_back_every_pixel(format: str, dtype: str, channels: int) -> None:
    elements: dict[str, Any] | None = (
        {"min_value": 0, "max_value": 16} if dtype.startswith("float") else None
    )
    shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(channels))
    arrays = hnp.arrays(dtype, shapes, elements=elements)

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(arrays)
    def check(pixels: Array) -> None:
        photo = read_photo(encode_photo(Photo(pixels), format))
        assert same(photo.pixels, pixels)
        assert photo.format == format

    check()


@pytest.mark.parametrize("shape", [(1, 1), (3, 20000), (20000, 3)])
@pytest.mark.parametrize("format", ["jpeg", "png", "bmp", "pnm", "tiff"])
def test_extreme_shapes_survive(format: str, shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), (10, 100, 200), np.uint8)
    read = read_photo(encode_photo(Photo(pixels), format)).pixels
    assert read.shape == pixels.shape
    assert np.abs(read.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_narrow_pngs_of_noise_are_written(dtype: str, channels: int) -> None:
    shape = (3000, 1, channels)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    assert same(read_photo(encode_photo(Photo(pixels), "png")).pixels, pixels)


@pytest.mark.parametrize(("format", "dtype", "channels"), KINDS)
def test_other_programs_see_the_same_pixels(format: str, dtype: str, channels: int) -> None:
    pixels = noise(6, 5, channels, dtype)
    data = encode_photo(Photo(pixels), format)
    seen: Any
    if format == "tiff":
        seen = tifffile.imread(io.BytesIO(data))
    elif dtype == "uint16" and channels > 1:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        seen = decoded[..., {2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]]
    else:
        seen = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(seen.reshape(pixels.shape), pixels)


def test_big_tiffs_and_swapped_bytes_are_read() -> None:
    pixels = noise(7, 6, 3, "uint16")
    for options in ({"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="rgb", **options)
        assert same(read_photo(buffer.getvalue()).pixels, pixels)


@pytest.mark.parametrize("format", ["png", "tiff", "pnm"])
def test_a_dark_16_bit_photo_stays_16_bit(format: str) -> None:
    pixels = (noise(5, 5, 3, "uint16") % 200).astype(np.uint16)
    assert same(read_photo(encode_photo(Photo(pixels), format)).pixels, pixels)


def test_grey_jpeg_stays_grey() -> None:
    assert read_photo(encode_photo(Photo(noise(9, 9, 1)), "jpeg")).pixels.shape == (9, 9, 1)


def test_jpeg_is_decoded_in_rgb_order_and_close_to_the_original() -> None:
    pixels = np.full((16, 16, 3), (250, 20, 60), np.uint8)
    data = encode_photo(Photo(pixels), "jpeg", quality=90)
    read = read_photo(data).pixels
    assert np.abs(read.astype(int) - pixels).max() <= 3
    assert np.array_equal(read, np.asarray(Image.open(io.BytesIO(data))))


def test_higher_quality_makes_larger_and_truer_files() -> None:
    pixels = noise(64, 64, 3)
    for format in ("jpeg", "webp"):
        low, high = (encode_photo(Photo(pixels), format, quality=q) for q in (30, 95))
        assert len(low) < len(high)


@pytest.mark.parametrize("alpha", [np.uint8(0), np.uint8(128)])
def test_webp_keeps_alpha_exactly(alpha: np.uint8) -> None:
    pixels = noise(20, 20, 4)
    pixels[0, 0, 3] = alpha
    data = encode_photo(Photo(pixels), "webp")
    assert np.array_equal(read_photo(data).pixels[..., 3], pixels[..., 3])


def test_color_is_a_view_without_alpha() -> None:
    photo = Photo(noise(4, 4, 4))
    photo.color[:] = 7
    assert photo.has_alpha
    assert (photo.pixels[..., :3] == 7).all()
    assert Photo(noise(4, 4, 1)).color.shape == (4, 4, 1)


@pytest.mark.parametrize("format", ["jpeg", "bmp", "pnm"])
@pytest.mark.parametrize("channels", [2, 4])
def test_formats_without_alpha_refuse_it(format: str, channels: int) -> None:
    with pytest.raises(ImageError, match="alpha") as caught:
        encode_photo(Photo(noise(4, 4, channels)), format)
    assert "PNG" in caught.value.hint


def test_palettes_become_their_colours() -> None:
    palette = Image.fromarray(noise(12, 12, 3)).quantize(7)
    for format in ("PNG", "BMP", "TIFF"):
        data = pillow_bytes(palette, format)
        assert same(read_photo(data).pixels, np.asarray(palette.convert("RGB"))), format
    data = pillow_bytes(palette, "PNG", transparency=3)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    assert same(read_photo(data).pixels, expected)


def test_bilevel_images_become_black_and_white() -> None:
    bits = Image.fromarray(noise(9, 11, 1)[..., 0]).convert("1")
    expected = np.asarray(bits.convert("L"))[..., None]
    for format in ("PNG", "BMP", "PPM"):
        assert same(read_photo(pillow_bytes(bits, format)).pixels, expected), format
    for compression in ("raw", "tiff_adobe_deflate"):
        data = pillow_bytes(bits, "TIFF", compression=compression)
        assert same(read_photo(data).pixels, expected), compression


@pytest.mark.parametrize("alpha", [0, 128])
def test_alpha_that_a_bmp_leaves_unset_is_none(alpha: int) -> None:
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = bytes((30, 200, 10, alpha)) * 64
    head = struct.pack("<IiiHHIIiiII", 124, 8, 8, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head + masks + bytes(68)
    photo = read_photo(data + pixels)
    assert photo.has_alpha == bool(alpha)
    assert photo.color[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_becomes_alpha(mode: str) -> None:
    image = Image.fromarray(noise(8, 8, 3)).convert(mode)
    data = pillow_bytes(image, "PNG", transparency=image.getpixel((2, 1)))
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("LA" if mode == "L" else "RGBA"))
    read = read_photo(data).pixels
    assert same(read, expected)
    assert read[1, 2, -1] == 0


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_shade_of_few_bits_becomes_alpha(depth: int) -> None:
    header = struct.pack(">IIBBBBB", 8 // depth, 1, depth, 0, 0, 0, 0)
    top = (1 << depth) - 1
    row = {1: 0b10000000, 2: 0b11000110, 4: 0b11110101}[depth]
    data = b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            png_chunk(b"tRNS", struct.pack(">H", top)),
            png_chunk(b"IDAT", zlib.compress(bytes((0, row)))),
            png_chunk(b"IEND", b""),
        ]
    )
    pixels = read_photo(data).pixels
    assert pixels[0, 0].tolist() == [255, 0]
    assert (pixels[0, 1:, 1] == 255).all()


def test_a_transparent_colour_of_16_bits_becomes_alpha() -> None:
    pixels = noise(4, 4, 3, "uint16")
    plain = encode_photo(Photo(pixels), "png")
    key = png_chunk(b"tRNS", struct.pack(">3H", *pixels[2, 3].tolist()))
    read = read_photo(plain[:33] + key + plain[33:]).pixels
    assert same(read[..., :3], pixels)
    assert read[2, 3, 3] == 0
    assert np.count_nonzero(read[..., 3]) == 15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"P2\n# made by hand\n2 1\n255\n7 255\n", [[7], [255]]),
        (b"P3 2 1 255 1 2 3  4 5 6", [[1, 2, 3], [4, 5, 6]]),
        (b"P1\n2 1\n10", [[0], [255]]),
        (b"P4\n2 1\n\x40", [[255], [0]]),
        (b"P5 2 1 15\n\x0f\x00", [[255], [0]]),
    ],
)
def test_hand_made_netpbm_files_are_read(text: bytes, expected: list[list[int]]) -> None:
    assert read_photo(text).pixels.tolist() == [expected]


@pytest.mark.parametrize("format", ["jpeg", "avif"])
def test_colours_keep_their_resolution_from_quality_90_on(format: str) -> None:
    stripes = np.full((32, 32, 3), 128, np.uint8)
    stripes[:, ::2, 2] = 60
    contrasts = []
    for quality in (89, 90):
        data = encode_photo(Photo(stripes), format, quality=quality)
        blue = read_photo(data).pixels[..., 2].astype(int)
        contrasts.append(np.abs(np.diff(blue, axis=1)).mean())
    assert contrasts[0] < 20
    assert contrasts[1] > 50


def test_netpbm_of_10_bits_fills_the_range_of_16() -> None:
    data = b"P5\n3 1\n1023\n" + struct.pack(">3H", 0, 512, 1023)
    photo = read_photo(data)
    assert photo.bits == 10
    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.ravel().tolist() == [0, 32800, 65535]


def test_shallower_formats_get_the_nearest_value() -> None:
    deep = np.arange(0, 65536, 257 // 8, dtype=np.uint16).reshape(1, -1, 1)
    read = read_photo(encode_photo(Photo(deep), "bmp")).pixels
    assert np.array_equal(read, np.rint(deep / 257))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_clipped_and_rounded_where_needed(dtype: str) -> None:
    values = np.array([-0.5, 0, 0.25, 0.5, 1, 7], dtype).reshape(1, -1, 1)
    photo = Photo(values, format="tiff")
    assert read_photo(encode_photo(photo, "png")).pixels.ravel().tolist() == [
        0,
        0,
        16384,
        32768,
        65535,
        65535,
    ]
    assert read_photo(encode_photo(photo, "bmp")).pixels.ravel().tolist() == [
        0,
        0,
        64,
        128,
        255,
        255,
    ]
    assert same(read_photo(encode_photo(photo, "tiff")).pixels, values)


@pytest.mark.parametrize("format", [name for name, codec in CODECS.items() if codec.encode])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_announced_depth_is_the_stored_one(format: str, dtype: str) -> None:
    photo = Photo(noise(4, 4, 3, dtype))
    assert read_photo(encode_photo(photo, format)).pixels.dtype == stored_dtype(photo, format)


@pytest.mark.parametrize(("format", "shape"), [("jpeg", (65501, 1)), ("webp", (1, 16384))])
def test_too_large_for_the_format(format: str, shape: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"out\.x cannot be written.*a side") as caught:
        write_photo(Photo(np.zeros((*shape, 3), np.uint8)), tmp_path / "out.x", format=format)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_the_extension_picks_the_format(tmp_path: Path) -> None:
    for extension in sorted(WRITABLE):
        path = tmp_path / f"photo{extension.upper()}"
        write_photo(Photo(noise(5, 5, 3)), path)
        assert read_photo(path).format == format_of_path(path)
        assert is_photo_name(path)


def test_every_format_is_known_to_the_options_and_has_extensions_of_its_own() -> None:
    assert {name for name, codec in CODECS.items() if codec.encode} == set(get_args(FormatKind))
    extensions = [extension for codec in CODECS.values() for extension in codec.extensions]
    assert sorted(extensions) == sorted(PHOTO_EXTENSIONS)
    for name, codec in CODECS.items():
        assert name == codec.name
        assert not codec.encode or stored_dtype(Photo(noise(1, 1, 1)), name) == "uint8"


@pytest.mark.parametrize("name", ["notes.txt", "photo", ".hidden.png"])
def test_other_names_are_no_photos(name: str) -> None:
    assert not is_photo_name(name)


def test_an_unknown_extension_lists_the_known_ones() -> None:
    with pytest.raises(ImageError, match=r"\.xyz") as caught:
        format_of_path(Path("out.xyz"))
    assert ".png" in caught.value.hint
    assert ".tiff" in caught.value.hint


def test_the_name_does_not_matter_for_reading(tmp_path: Path) -> None:
    path = tmp_path / "really-a.jpg"
    path.write_bytes(encode_photo(Photo(noise(4, 4, 3)), "png"))
    assert read_photo(path).format == "png"


def test_senseless_options_are_refused() -> None:
    photo = Photo(noise(4, 4, 3))
    calls: list[Callable[[], bytes]] = [
        lambda: encode_photo(photo, "gif"),
        lambda: encode_photo(photo, "jpeg", quality=0),
        lambda: encode_photo(photo, "jpeg", quality=101),
    ]
    for call in calls:
        with pytest.raises(OptionError):
            call()


def test_metadata_is_empty_where_the_format_has_none() -> None:
    for format in ("bmp", "pnm"):
        assert read_photo(encode_photo(Photo(noise(4, 4, 3)), format)).metadata == Metadata()
