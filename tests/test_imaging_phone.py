"""HEIC, AVIF and JPEG XL keep depth, colours and metadata, and are turned upright once."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from pictures import Array
from PIL import ExifTags, Image, ImageCms, ImageOps

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo, list_losses, read_photo
from ssbsn_cli.core.imaging.avif import add_metadata
from ssbsn_cli.core.imaging.boxes import Box, build_box, read_boxes
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.imaging.photo import DAMAGED
from ssbsn_cli.core.imaging.profile import PRIMARIES, make_profile

FORMATS = ["heic", "avif", "jxl"]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="%d"/></x:xmpmeta>'
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Display P3 and HDR (BT.2100 PQ).
P3, PQ = bytes((12, 13, 0, 1)), bytes((9, 16, 0, 1))


def smooth(channels: int = 3, dtype: str = "uint8") -> Array:
    """Draw a smooth picture, different at every corner, wider than high."""
    down, across = np.mgrid[0:24, 0:40]
    planes = [across * 2 + down * 4, across * 3 + 60, 200 - across * 2 - down, 255 - down * 9]
    chosen = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    pixels = np.stack([planes[index] for index in chosen], axis=-1)
    return (pixels * (257 if dtype == "uint16" else 1)).astype(dtype)


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Maker", "Phone 1", orientation
    exif.get_ifd(ExifTags.IFD.Exif).update({34855: 800, 40962: 40, 40963: 24})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 30.0, 15.5)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def distance(one: Array, other: Array) -> float:
    assert one.shape == other.shape
    white = 65535 if one.dtype == np.uint16 else 255
    return float(np.abs(one.astype(float) - other.astype(float)).mean() / white * 255)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_come_back(format: str, dtype: str, channels: int) -> None:
    pixels = smooth(channels, dtype)
    read = read_photo(encode_photo(Photo(pixels), format)).pixels
    assert read.dtype == pixels.dtype
    if channels == 2 and format == "jxl":
        # OpenImageIO writes alpha beside RGB only.
        pixels = pixels[..., [0, 0, 0, 1]]
    assert distance(read, pixels) < 1.5


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_avif_at_quality_100_is_exact(bits: int, channels: int) -> None:
    top = (1 << bits) - 1
    values = np.random.default_rng(bits).integers(0, top + 1, (7, 9, channels))
    stored = values.astype(np.uint8 if bits == 8 else np.uint16)
    plain = stored[..., 0] if channels == 1 else stored
    photo = read_photo(bytes(imagecodecs.avif_encode(plain, level=100, bitspersample=bits)))
    if bits > 8:
        assert photo.pixels.max() <= 65535
        assert np.array_equal(np.rint(photo.pixels / 65535 * top), values)
    else:
        assert np.array_equal(photo.pixels, values)
    again = encode_photo(photo, "avif", quality=100)
    assert np.array_equal(imagecodecs.avif_decode(again).reshape(values.shape), values)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_xl_at_quality_100_is_exact(dtype: str, channels: int) -> None:
    values = np.random.default_rng(1).random((7, 9, channels))
    scale = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    pixels = (values * scale).astype(dtype)
    data = encode_photo(Photo(pixels), "jxl", quality=100)
    read = read_photo(data).pixels
    assert read.dtype == pixels.dtype
    assert np.array_equal(read, pixels if read.shape == pixels.shape else pixels[..., [0, 0, 0]])
    seen = imagecodecs.jpegxl_decode(data)
    assert np.array_equal(seen.reshape(read.shape), read)


@pytest.mark.parametrize("bits", [10, 12])
def test_heic_keeps_its_bits(bits: int) -> None:
    top = (1 << bits) - 1
    ramp = np.linspace(0, top, 64 * 64).reshape(64, 64).astype(np.uint16)
    buffer = io.BytesIO()
    pillow_heif.encode(f"L;{bits}", (64, 64), ramp.tobytes(), buffer, quality=-1, bit_depth=bits)
    photo = read_photo(buffer.getvalue())
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(np.rint(photo.pixels[..., 0] / 65535 * top), ramp)
    again = pillow_heif.open_heif(
        io.BytesIO(encode_photo(photo, "heic")), convert_hdr_to_8bit=False, hdr_to_16bit=False
    )
    assert again.info["bit_depth"] == bits


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg_xl_tells_its_bits(bits: int) -> None:
    pixels = smooth(dtype="uint16") >> (16 - bits)
    data = imagecodecs.jpegxl_encode(pixels, lossless=True, bitspersample=bits)
    assert read_photo(data).bits == bits


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", [*FORMATS, "jpeg", "png", "tiff"])
def test_metadata_survive_every_change_of_format(source: str, target: str) -> None:
    metadata = Metadata(exif_block(), XMP % 1, SRGB_PROFILE)
    photo = read_photo(encode_photo(Photo(smooth(), metadata), source))
    kept = read_photo(encode_photo(photo, target)).metadata
    exif = Image.Exif()
    exif.load(kept.exif)
    assert (exif[271], exif.get_ifd(ExifTags.IFD.Exif)[34855]) == ("Maker", 800)
    assert [float(part) for part in exif.get_ifd(ExifTags.IFD.GPSInfo)[2]] == [48, 30, 15.5]
    assert kept.xmp == XMP % 1
    # A lossy JPEG XL says sRGB in its header.
    assert kept.icc == SRGB_PROFILE or "jxl" in (source, target)


@pytest.mark.parametrize("format", FORMATS)
def test_other_programs_find_the_metadata(format: str) -> None:
    data = encode_photo(Photo(smooth(), Metadata(exif_block(), XMP % 1, SRGB_PROFILE)), format)
    if format == "jxl":
        found = {box.kind: data[box.start : box.end] for box in read_boxes(data)}
        assert (found[b"Exif"], found[b"xml "]) == (bytes(4) + exif_block(), XMP % 1)
        return
    opened: Any = Image.open if format == "avif" else pillow_heif.open_heif
    info = opened(io.BytesIO(data)).info
    assert info["exif"].removeprefix(b"Exif\0\0") == exif_block()
    assert (info["xmp"], info["icc_profile"]) == (XMP % 1, SRGB_PROFILE)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("cicp", [P3, PQ])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_space_in_numbers_stays_one_or_becomes_a_profile(
    format: str, cicp: bytes, channels: int
) -> None:
    data = encode_photo(Photo(smooth(channels, "uint16"), Metadata(cicp=cicp)), format)
    photo = read_photo(data)
    assert (photo.metadata.cicp, photo.metadata.icc) == (cicp, b"")
    as_tiff = read_photo(encode_photo(photo, "tiff")).metadata
    assert bool(as_tiff.icc) == (cicp == P3)
    assert ("the HDR colour space" in list_losses(photo, "tiff")) == (cicp == PQ)


@pytest.mark.parametrize("format", ["heic", "avif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_narrow_range_of_video_becomes_the_whole_one(
    format: str, dtype: str, channels: int
) -> None:
    white = np.iinfo(dtype).max
    pixels = np.full((24, 48, channels), white // 2, dtype)
    for part, value in enumerate((16, 125, 235)):
        colors = pixels[:, 16 * part : 16 * part + 16, : channels - 1 + channels % 2]
        colors[...] = value * ((white + 1) // 256)
    data = encode_photo(Photo(pixels), format, quality=100)
    flags = data.index(b"nclx") + 10
    whole, photo = (read_photo(each) for each in (data, data[:flags] + b"\0" + data[flags + 1 :]))
    assert photo.metadata.lost == ()
    expected = np.array([0, 109 / 219, 1]) * white
    assert np.abs(photo.pixels[12, 8::16, 0] - expected).max() < 0.015 * white
    assert channels != 2 or np.array_equal(photo.pixels[..., -1], whole.pixels[..., -1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_lossy_jpeg_xl_with_a_profile_of_its_own_becomes_srgb(dtype: str, channels: int) -> None:
    white = np.iinfo(dtype).max
    ramp = np.broadcast_to(np.arange(256)[:, None, None] * (white // 255), (256, 64, channels))
    # A curve that no numbers stand for.
    curve = (2.1, 1 / 1.05, 0.05 / 1.05, 1 / 11, 0.05)
    icc = make_profile(PRIMARIES[9], curve, channels < 3)
    photo = read_photo(encode_photo(Photo(ramp.astype(dtype), Metadata(icc=icc)), "jxl"))
    assert photo.pixels.dtype == dtype
    assert photo.metadata.icc == b""
    assert list_losses(photo, "png") == ("the colour profile (its colours became sRGB)",)
    value = np.linspace(0, 1, 256)
    light = np.where(value < 0.05, value / 11, ((value + 0.05) / 1.05) ** 2.1)
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(photo.pixels[:, 32, 0] / white - expected).max() < 0.025


def test_an_avif_that_does_not_name_its_bits() -> None:
    data = encode_photo(Photo(smooth(3, "uint16")), "avif")
    silent = data.replace(b"pixi", b"free")
    assert np.array_equal(read_photo(silent).pixels, read_photo(data).pixels)


def turned_file(format: str, orientation: int) -> bytes:
    """Store a picture on its side by other programs: in the container, and in EXIF and XMP."""
    buffer = io.BytesIO()
    block = exif_block(orientation)
    if format == "avif":
        image = Image.fromarray(smooth())
        image.save(
            buffer, "AVIF", quality=100, subsampling="4:4:4", exif=block, xmp=XMP % orientation
        )
    else:
        options: dict[str, Any] = {
            "quality": -1,
            "chroma": 444,
            "exif": block,
            "xmp": XMP % orientation,
        }
        pillow_heif.encode("RGB", (40, 24), smooth().tobytes(), buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["heic", "avif"])
def test_pictures_are_turned_upright_once(format: str, orientation: int) -> None:
    image = Image.fromarray(smooth())
    image.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    photo = read_photo(turned_file(format, orientation))
    assert distance(photo.pixels, expected) < 1.5
    assert photo.metadata.xmp == XMP % 1
    exif = Image.Exif()
    exif.load(photo.metadata.exif)
    assert exif.get(274, 1) == 1
    sides = [exif.get_ifd(ExifTags.IFD.Exif)[tag] for tag in (40962, 40963)]
    assert sides == [photo.pixels.shape[1], photo.pixels.shape[0]]
    again = read_photo(encode_photo(photo, format))
    assert distance(again.pixels, expected) < 3
    seen = ImageOps.exif_transpose(Image.open(io.BytesIO(encode_photo(photo, "jpeg"))))
    assert distance(np.asarray(seen), expected) < 4


@pytest.mark.parametrize("format", FORMATS)
def test_only_the_container_says_how_to_turn(format: str) -> None:
    encode = CODECS[format].encode
    assert encode
    buffer = io.BytesIO()
    encode(Photo(smooth(), Metadata(exif_block(6))), buffer, 95)
    data = buffer.getvalue()
    # libheif turns what EXIF says into a property of the image.
    expected = (40, 24, 3) if format == "heic" else (24, 40, 3)
    assert read_photo(data).pixels.shape == expected


@pytest.mark.parametrize(("width", "height"), [(20, 10), (0, 10)])
def test_a_crop_is_applied(width: int, height: int) -> None:
    pixels = smooth()
    left, top = 5, 3
    profile = b"prof" + bytes(28)
    data = add_metadata(encode_photo(Photo(pixels), "avif", quality=100), Metadata(icc=bytes(28)))
    offsets = 2 * left + width - 40, 2, 2 * top + height - 24, 2
    crop = struct.pack(">4I4i", width, 1, height, 1, *offsets)
    cropped = bytearray(data.replace(b"colr" + profile, b"clap" + crop))
    assert len(cropped) == len(data)
    # The last property of the image; whoever does not know it must not show the picture.
    links = next(box for box in inner_boxes(data, b"meta", b"iprp") if box.kind == b"ipma")
    cropped[links.end - 1] |= 0x80
    if width:
        assert np.array_equal(read_photo(bytes(cropped)).pixels, pixels[3:13, 5:25])
        return
    with pytest.raises(ImageError, match="damaged"):
        read_photo(bytes(cropped))


def inner_boxes(data: bytes, *path: bytes) -> list[Box]:
    start, end = 0, len(data)
    for kind in path:
        box = next(box for box in read_boxes(data, start, end) if box.kind == kind)
        start, end = box.start + 4 * (kind == b"meta"), box.end
    return list(read_boxes(data, start, end))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [b"\xff" * 4, b"\0\0\0\7"])
def test_exif_behind_a_wrong_count_is_found(format: str, count: bytes) -> None:
    data = encode_photo(Photo(smooth(), Metadata(exif_block())), format)
    assert data.count(bytes(4) + exif_block()) == 1
    metadata = read_photo(data.replace(bytes(4) + exif_block(), count + exif_block())).metadata
    assert (metadata.exif, metadata.lost) == (exif_block(), ())


@pytest.mark.parametrize("format", FORMATS)
def test_exif_that_is_none_is_named_and_the_picture_read(format: str) -> None:
    data = encode_photo(Photo(smooth(), Metadata(exif_block())), format)
    photo = read_photo(data.replace(exif_block(), b"x" * len(exif_block())))
    assert (photo.metadata.exif, photo.metadata.lost) == (b"", (DAMAGED,))
    assert np.array_equal(photo.pixels, read_photo(data).pixels)


@pytest.mark.parametrize("format", ["heic", "avif"])
@pytest.mark.parametrize("field", ["exif", "xmp"])
@pytest.mark.parametrize("elsewhere", [1 << 30, 0])
def test_metadata_that_are_elsewhere_are_named_and_the_picture_read(
    format: str, field: str, elsewhere: int
) -> None:
    metadata = Metadata(exif_block(), XMP % 1)
    data = encode_photo(Photo(smooth(), metadata), format)
    place = data.index(bytes(4) + exif_block() if field == "exif" else XMP % 1)
    (table,) = [box for box in inner_boxes(data, b"meta") if box.kind == b"iloc"]
    at = data.index(struct.pack(">I", place), table.start, table.end)
    photo = read_photo(data[:at] + struct.pack(">I", elsewhere) + data[at + 4 :])
    whole = read_photo(data)
    assert photo.metadata == replace(whole.metadata, **{field: b"", "lost": (DAMAGED,)})
    assert np.array_equal(photo.pixels, whole.pixels)


def test_compressed_metadata_of_jpeg_xl_are_read() -> None:
    codestream = encode_photo(Photo(smooth()), "jxl")
    assert codestream.startswith(b"\xff\x0a")
    data = build_box(b"JXL ", b"\r\n\x87\n") + build_box(b"ftyp", b"jxl \0\0\0\0jxl ")
    for kind, content in ((b"Exif", bytes(4) + exif_block()), (b"xml ", XMP % 1)):
        data += build_box(b"brob", kind + bytes(imagecodecs.brotli_encode(content)))
    metadata = read_photo(data + build_box(b"jxlc", codestream)).metadata
    assert (metadata.exif, metadata.xmp) == (exif_block(), XMP % 1)


def test_repeated_metadata_of_jpeg_xl_are_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_photo(Photo(smooth(), Metadata(xmp=XMP % 1)), "jxl")
    bomb = build_box(b"brob", b"xml " + bytes(imagecodecs.brotli_encode(bytes(1000))))
    unpacked = []
    monkeypatch.setattr(imagecodecs, "brotli_decode", lambda *_, **__: unpacked.append(1) or b"")
    assert read_photo(data + 100 * bomb).metadata.xmp == XMP % 1
    assert not unpacked


def test_what_describes_another_image_is_not_told_of_this_one() -> None:
    data = encode_photo(Photo(smooth(4), Metadata(xmp=XMP % 1)), "avif")
    (references,) = [box for box in inner_boxes(data, b"meta") if box.kind == b"iref"]
    at = data.index(b"cdsc", references.start) + 4
    # The item itself and how many it describes come before the number of the image.
    other = data[: at + 4] + b"\0\2" + data[at + 6 :]
    assert read_photo(data).metadata.xmp == XMP % 1
    assert read_photo(other).metadata.xmp == b""


@pytest.mark.parametrize(("kind", "what"), [(b"jhgm", "gain map"), (b"jumb", "credentials")])
def test_boxes_of_jpeg_xl_that_no_result_has_are_named(kind: bytes, what: str) -> None:
    data = encode_photo(Photo(smooth(), Metadata(xmp=XMP % 1)), "jxl")
    (lost,) = read_photo(data + build_box(kind, bytes(9))).metadata.lost
    assert what in lost


def test_further_images_are_named() -> None:
    pillow_image = pillow_heif.from_bytes("RGB", (40, 24), smooth().tobytes())
    pillow_image.add_frombytes("RGB", (40, 24), smooth()[::-1].tobytes())
    buffer = io.BytesIO()
    pillow_image.save(buffer, quality=-1, chroma=444, primary_index=1)
    photo = read_photo(buffer.getvalue())
    assert distance(photo.pixels, smooth()[::-1]) < 1.5
    assert list_losses(photo, "heic") == ("further pictures in the file",)


@pytest.mark.parametrize(
    ("urn", "name"),
    [
        (b"urn:mpeg:hevc:2015:auxid:2", "the depth map"),
        (b"aux:hdrgainmap", "the gain map"),
        (b"aux:something", "further maps"),
    ],
)
def test_maps_that_belong_to_an_image_are_named(urn: bytes, name: str) -> None:
    alpha = b"urn:mpeg:hevc:2015:auxid:1"
    data = encode_photo(Photo(smooth(4)), "heic")
    assert data.count(alpha) == 1
    (lost,) = read_photo(data.replace(alpha, urn.rjust(len(alpha), b":"))).metadata.lost
    assert lost.startswith(name)


@pytest.mark.parametrize("format", ["heic", "avif"])
def test_the_codec_counts_and_not_the_container(format: str) -> None:
    data = encode_photo(Photo(smooth()), format)
    assert read_photo(data.replace(b"ftyp" + data[8:12], b"ftypmif1", 1)).format == format


def test_without_room_for_a_temporary_file_a_photo_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode_photo(Photo(smooth()), "jxl")
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    for use in (lambda: read_photo(data), lambda: encode_photo(Photo(smooth()), "jxl")):
        with pytest.raises(ImageError, match="temporary file for JPEG XL") as caught:
            use()
        assert "TMPDIR" in caught.value.hint


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    buffer = io.BytesIO()
    frames[0].save(buffer, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animation"):
        read_photo(buffer.getvalue())


def test_an_avif_that_libavif_does_not_know_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(_: bytes) -> None:
        raise imagecodecs.AvifError("avifDecoderParse", 25)

    monkeypatch.setattr(imagecodecs, "avif_decode", decode)
    with pytest.raises(ImageError, match="of a kind that cannot be read here"):
        read_photo(encode_photo(Photo(smooth()), "avif"))


@pytest.mark.parametrize("format", FORMATS)
def test_the_claimed_size_is_checked_before_decoding(format: str) -> None:
    data = bytearray(encode_photo(Photo(smooth()), format))
    if format == "jxl":
        # A height of 2^30, in 30 bits after how many they are, then a ratio of 1.
        codestream = b"\xff\x0a" + ((3 << 1) + ((1 << 30) - 1 << 3) + (1 << 33)).to_bytes(
            8, "little"
        )
        data = bytearray(build_box(b"JXL ", b"\r\n\x87\n") + build_box(b"jxlc", codestream))
    else:
        struct.pack_into(">II", data, data.index(b"ispe") + 8, 1 << 30, 1 << 30)
    with pytest.raises(ImageError, match=r"1073741824 x 1073741824 pixels") as caught:
        read_photo(bytes(data))
    assert "--max-pixels" in caught.value.hint


@pytest.mark.parametrize(("name", "extra"), [("heic", "heif"), ("jxl", "formats")])
def test_a_missing_package_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_photo(Photo(smooth()), name)
    monkeypatch.setattr("ssbsn_cli.core.imaging.codec.find_spec", lambda _: None)
    for call in (lambda: read_photo(data), lambda: encode_photo(Photo(smooth()), name)):
        with pytest.raises(ImageError, match="needs another package") as caught:
            call()
        assert f'pip install "ssbsn[{extra}]"' in caught.value.hint
    # All else works without them.
    assert read_photo(encode_photo(Photo(smooth()), "png")).format == "png"


def test_a_signal_leaves_no_copy_of_the_photo_behind(tmp_path):
    code = """
import numpy, OpenImageIO
from ssbsn_cli.core.imaging import Photo, encode_photo
from ssbsn_cli.core.runtime.process import end_at_once
OpenImageIO.ImageOutput.create = lambda path: end_at_once(130)
encode_photo(Photo(numpy.zeros((8, 8, 3), numpy.uint8)), "jxl")
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert result.returncode == 130
    assert list(tmp_path.iterdir()) == []
