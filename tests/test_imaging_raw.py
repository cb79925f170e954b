"""Camera raw files are developed: white balance, colours, highlights, EXIF, the right way up."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import Array
from PIL import ExifTags, Image, ImageCms

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    encode_photo,
    is_photo_name,
    read_photo,
    result_extension,
    write_photo,
)
from ssbsn_cli.core.imaging.boxes import build_box
from ssbsn_cli.core.imaging.codec import Refusal
from ssbsn_cli.core.imaging.exif import Entry, Layout, pack
from ssbsn_cli.core.imaging.orientation import upright
from ssbsn_cli.core.imaging.raw_tags import check_whole, read_raw_metadata
from ssbsn_cli.core.types import RawSpace

# XYZ to linear sRGB, so that the made camera sees sRGB.
TO_SRGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
# What the sensor answers to white light, in red, green and blue.
WHITE = np.array([0.5, 1.0, 0.625])
BLACK, SATURATED = 256, 16383
EXIF_IFD, GPS_IFD = 34665, 34853


def rationals(*values: float) -> tuple[int, ...]:
    return tuple(part for value in values for part in (round(value * 10_000), 10_000))


def packed(*values: float) -> bytes:
    numbers = rationals(*values)
    return struct.pack(f"<{len(numbers)}I", *numbers)


def dng(
    light: Array,
    orientation: int = 1,
    thumbnail: bool = True,
    tags: Sequence[Any] = (),
    corrections: Sequence[Any] = (),
) -> bytes:
    """Make a DNG: a Bayer mosaic (RGGB) of linear sRGB light, (H, W, 3), white at 1.

    Its first picture is a thumbnail that looks like nothing in it, as in files of cameras.
    """
    sensor = np.rint(BLACK + np.clip(light * WHITE, 0, 1) * (SATURATED - BLACK)).astype(np.uint16)
    mosaic = sensor[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = sensor[::2, ::2, 0], sensor[1::2, 1::2, 2]
    # tifffile writes no EXIF and GPS: they get the places of two tags that mean nothing.
    first: list[Any] = [
        (271, 2, 0, "Maker", True), (272, 2, 0, "Camera 7", True), (274, 3, 1, orientation, True),
        (EXIF_IFD - 1, 4, 1, 0, True), (GPS_IFD - 1, 4, 1, 0, True),
        (50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, 0, "Camera 7", True),
        (50721, 10, 9, rationals(*TO_SRGB.ravel()), True), (50728, 5, 3, rationals(*WHITE), True),
        (50778, 3, 1, 21, True), *tags,
    ]  # fmt: skip
    own: list[Any] = [
        (33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True),
        (50714, 3, 1, BLACK, True), (50717, 3, 1, SATURATED, True), *corrections,
    ]  # fmt: skip
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder="<") as tiff:
        if thumbnail:
            small = np.full((8, 12, 3), (255, 0, 255), np.uint8)
            tiff.write(
                small, photometric="rgb", subfiletype=1, subifds=1, extratags=first, metadata=None
            )
            tiff.write(mosaic, photometric="cfa", extratags=own, metadata=None)
        else:
            tiff.write(mosaic, photometric="cfa", extratags=first + own, metadata=None)
    data = bytearray(buffer.getvalue())
    exif = {33434: (5, packed(0.005)), 34855: (3, b"\x40\x06"), 42036: (2, b"Lens 50mm\0")}
    exif[37500] = (7, b"notes of the maker")
    gps = {1: (2, b"N\0"), 2: (5, packed(48, 30, 15.5))}
    sizes = {2: 1, 3: 2, 5: 8, 7: 1}
    for tag, tags in ((EXIF_IFD, exif), (GPS_IFD, gps)):
        data += bytes(len(data) % 2)
        place = data.index(struct.pack("<HHII", tag - 1, 4, 1, 0))
        struct.pack_into("<HHII", data, place, tag, 4, 1, len(data))
        entries = {one: Entry(kind, len(v) // sizes[kind], v) for one, (kind, v) in tags.items()}
        data += pack({**entries}, Layout("<"), len(data))
    return bytes(data)


def scene(*colors: tuple[float, float, float]) -> Array:
    """Draw flat patches of light side by side, 64 pixels each."""
    return np.concatenate([np.full((64, 64, 3), color) for color in colors], axis=1)


def patches(pixels: Array) -> Array:
    """Return the mean colour of each patch of a scene."""
    return np.stack(
        [
            pixels[16:48, left + 16 : left + 48].reshape(-1, 3).mean(axis=0)
            for left in range(0, pixels.shape[1], 64)
        ]
    )


def encoded(light: Any) -> Array:
    """Encode light as sRGB in 16 bits."""
    light = np.asarray(light)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(65535 * values)


def developed(data: bytes, **options: Any) -> Photo:
    return read_photo(data, "photo.dng", **options)


def test_a_camera_without_colours_has_every_shade() -> None:
    light = np.tile(np.linspace(0, 1, 400), (64, 1))
    sensor = np.rint(BLACK + light * (SATURATED - BLACK)).astype(np.uint16)
    tags: list[Any] = [
        (271, 2, 0, "Maker", True), (272, 2, 0, "Monochrome", True),
        (50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, 0, "Monochrome", True),
        (50714, 3, 1, BLACK, True), (50717, 3, 1, SATURATED, True),
    ]  # fmt: skip
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, sensor, photometric="minisblack", extratags=tags, metadata=None)
    grey, raw = (struct.pack("<HHII", 262, 3, 1, kind) for kind in (1, 34892))
    photo = developed(buffer.getvalue().replace(grey, raw))
    assert photo.metadata.lost == ()
    assert np.abs(photo.pixels[32, :, 0] - encoded(light[32])).max() < 400


@pytest.mark.parametrize("thumbnail", [True, False])
def test_colours_are_those_of_the_light(thumbnail: bool) -> None:
    colors = (
        (0.02, 0.02, 0.02),
        (0.4, 0.4, 0.4),
        (0.4, 0.1, 0.05),
        (0.05, 0.3, 0.1),
        (1.0, 1.0, 1.0),
    )
    photo = developed(dng(scene(*colors), thumbnail=thumbnail))
    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.shape == (64, 5 * 64, 3)
    assert np.abs(patches(photo.pixels)[:4] - encoded(colors[:4])).max() < 400
    assert (patches(photo.pixels)[4] > 62000).all()
    assert photo.format == "raw"


def test_what_white_balance_lifts_above_white_is_not_clipped() -> None:
    reds = (0.8, 0.1, 0.1), (1.2, 0.1, 0.1), (1.9, 0.1, 0.1), (1.0, 1.0, 1.0)
    bright = patches(developed(dng(scene(*reds))).pixels)[:3, 0]
    assert bright[0] + 1000 < bright[1]
    assert bright[1] + 1000 < bright[2] < 65535


def test_brightness_does_not_depend_on_the_brightest_value() -> None:
    for brightest in (0.7, 0.8, 1.0):
        light = scene((brightest,) * 3, (0.4, 0.4, 0.4))
        assert np.abs(patches(developed(dng(light)).pixels)[1] - encoded(0.4)).max() < 100


def test_a_sensor_that_saturates_below_white_stays_white_there() -> None:
    data = bytearray(dng(scene((3, 3, 3))))
    struct.pack_into("<H", data, data.index(struct.pack("<HHI", 50717, 3, 1)) + 8, 17600)
    (sky,) = patches(developed(bytes(data)).pixels)
    assert sky.min() > 64000
    assert np.ptp(sky) < 400


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_dng_is_cropped_and_brightened_as_it_asks_for(orientation: int) -> None:
    random = np.random.default_rng(1)
    light = random.uniform(0.1, 0.5, (8, 16, 1)).repeat(8, axis=0).repeat(8, axis=1) * np.ones(3)
    crop = [(50719, 3, 2, (4, 6), True), (50720, 3, 2, (100, 50), True)]
    whole = developed(dng(light)).pixels[6:56, 4:104]
    turned = upright(Photo(whole, Metadata(exif=exif_of(first={274: orientation})))).pixels
    assert np.array_equal(developed(dng(light, orientation, corrections=crop)).pixels, turned)
    for stops, factor in ((1, 2), (-1, 1)):
        tags = [(50730, 10, 1, (stops, 1), True)]
        seen = developed(dng(scene((0.2, 0.2, 0.2)), tags=tags)).pixels
        assert np.abs(patches(seen) - encoded(0.2 * factor)).max() < 400


def test_noise_is_left_for_the_network() -> None:
    random = np.random.default_rng(0)
    light = 0.3 + random.normal(0, 0.02, (64, 64, 3))
    clean, noisy = (developed(dng(each)).pixels for each in (scene((0.3, 0.3, 0.3)), light))
    # Interpolation alone averages some of it.
    slope = np.diff(encoded([0.29, 0.31]))[0] / 0.02
    assert (noisy - clean.astype(float))[8:-8, 8:-8].std() > 0.5 * 0.02 * slope


@pytest.mark.parametrize(("space", "white"), [("p3", 0.8225), ("adobe", 0.7152), ("prophoto", 0.3)])
def test_wide_spaces_come_with_their_profile(space: RawSpace, white: float) -> None:
    red = dng(scene((0.4, 0.05, 0.05), (0.4, 0.4, 0.4), (0.05, 0.1, 0.4)))
    wide, plain = developed(red, raw_space=space), developed(red)
    assert wide.metadata.icc != plain.metadata.icc
    # Colours are the same once both are shown in sRGB, and less saturated as numbers before.
    assert np.ptp(patches(wide.pixels)[0]) < np.ptp(patches(plain.pixels)[0])
    profiles = [ImageCms.ImageCmsProfile(io.BytesIO(photo.metadata.icc)) for photo in (wide, plain)]
    shown = [
        np.asarray(
            ImageCms.profileToProfile(
                Image.fromarray(np.rint(patches(photo.pixels)[None] / 257).astype(np.uint8)),
                profile,
                ImageCms.createProfile("sRGB"),
            )
        ).astype(int)
        for photo, profile in zip((wide, plain), profiles, strict=True)
    ]
    assert np.abs(shown[0] - shown[1]).max() <= 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_result_is_upright_with_the_exif_of_the_raw_file(
    orientation: int, tmp_path: Path
) -> None:
    light = scene((0.3, 0.3, 0.3), (0.05, 0.05, 0.05), (0.45, 0.45, 0.45))
    photo = developed(dng(light, orientation))
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    expected = np.rot90(encoded(light), turns)
    assert photo.pixels.shape == expected.shape
    middle = photo.pixels.shape[0] // 2, photo.pixels.shape[1] // 2
    for place in ((20, 20), middle, (photo.pixels.shape[0] - 20, photo.pixels.shape[1] - 20)):
        assert abs(float(photo.pixels[place][1]) - expected[place][1]) < 400
    path = tmp_path / "result.tif"
    write_photo(photo, path)
    with Image.open(path) as seen:
        exif = seen.getexif()
        inner, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert (exif[271], exif[272], exif.get(274, 1)) == ("Maker", "Camera 7", 1)
    assert (float(inner[33434]), inner[34855], inner[42036]) == (0.005, 1600, "Lens 50mm")
    assert [float(part) for part in gps[2]] == [48, 30, 15.5]
    assert 37500 not in inner


def exif_of(**parts: dict[int, Any]) -> bytes:
    exif = Image.Exif()
    exif.update(parts.get("first", {}))
    for name, group in (("inner", ExifTags.IFD.Exif), ("gps", ExifTags.IFD.GPSInfo)):
        if name in parts:
            exif.get_ifd(group).update(parts[name])
    return exif.tobytes().removeprefix(b"Exif\0\0")


def facts(blob: bytes) -> tuple[Any, ...]:
    exif = Image.Exif()
    exif.load(blob)
    inner, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    return exif[271], exif.get(274), inner[34855], 37500 in inner, float(gps[2][0])


FIRST, INNER, GPS = {271: "Maker", 274: 6}, {34855: 800, 37500: b"notes"}, {2: (48.0, 30.0, 15.0)}


def test_fujis_exif_is_that_of_its_preview() -> None:
    preview = io.BytesIO()
    exif = b"Exif\0\0" + exif_of(first=FIRST, inner=INNER, gps=GPS)
    Image.new("RGB", (16, 16)).save(preview, "JPEG", exif=exif, xmp=b"<rating/>")
    place = struct.pack(">II", 128, len(preview.getvalue()))
    raf = (b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + place).ljust(128, b"\0") + preview.getvalue()
    metadata = read_raw_metadata(io.BytesIO(raf))
    assert facts(metadata.exif) == ("Maker", None, 800, False, 48.0)
    assert metadata.xmp == b"<rating/>"
    assert metadata.lost == ("maker notes",)


def laid_out(tags: dict[int, Any], size: int = 0, head: bytes = b"II*\0") -> io.BytesIO:
    """Make a file that begins with tags, given as bytes or as numbers."""
    directory = {
        tag: Entry(7, len(value), value)
        if isinstance(value, bytes)
        else Entry(4, len(value), struct.pack(f"<{len(value)}I", *value))
        for tag, value in tags.items()
    }
    data = head + struct.pack("<I", 8) + pack({**directory}, Layout("<"), 8)
    return io.BytesIO(data.ljust(size, b"\0"))


def test_panasonics_exif_is_that_of_its_preview() -> None:
    preview = io.BytesIO()
    exif = b"Exif\0\0" + exif_of(first=FIRST, inner=INNER, gps=GPS)
    Image.new("RGB", (16, 16)).save(preview, "JPEG", exif=exif)
    raw = laid_out({46: preview.getvalue(), 271: b"Short\0"}, head=b"IIU\0")
    assert facts(read_raw_metadata(raw).exif) == ("Maker", None, 800, False, 48.0)


PANASONIC = {2: (140,), 3: (100,), 45: (4,), 273: (2**32 - 1,), 279: (10**8,), 280: (1000,)}
OLYMPUS = {273: range(1000, 11_000, 100), 279: (100,) * 100}


@pytest.mark.parametrize(
    ("tags", "whole", "cut"),
    [
        ({273: (1000,), 279: (5000,)}, 6000, 5999),
        ({324: (1000, 3000), 325: (2000, 3000)}, 6000, 5999),
        ({254: (1,), 273: (1000,), 279: (5000,)}, 1000, None),
        # The last strip of old cameras is shorter than they say.
        (OLYMPUS, 10_800, 10_600),
        # 14 pixels in 16 bytes, whatever the strips are.
        (PANASONIC, 17_000, 16_999),
    ],
)
def test_a_picture_that_ends_beyond_the_file(
    tags: dict[int, Any], whole: int, cut: int | None
) -> None:
    check_whole(laid_out(tags, whole))
    if cut:
        with pytest.raises(Refusal, match="is cut short"):
            check_whole(laid_out(tags, cut))


def test_canons_exif_is_in_boxes_of_its_own() -> None:
    tables = {
        b"CMT1": exif_of(first=FIRST),
        b"CMT2": exif_of(first={34855: 800}),
        b"CMT3": b"notes",
        b"CMT4": exif_of(first=GPS),
    }
    uuid = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    inside = b"".join(build_box(kind, block) for kind, block in tables.items())
    cr3 = build_box(b"ftyp", b"crx \0\0\0\1crx isom")
    cr3 += build_box(b"moov", build_box(b"uuid", uuid + inside))
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<rating/>"
    cr3 += build_box(b"uuid", xmp) + build_box(b"mdat", bytes(9))
    metadata = read_raw_metadata(io.BytesIO(cr3))
    assert facts(metadata.exif) == ("Maker", None, 800, False, 48.0)
    assert metadata.xmp == b"<rating/>"


@pytest.mark.parametrize(
    "data", [b"FUJIFILM" + b"\xff" * 100, b"\0\0\0\x18ftypcrx ", b"II*\0", b""]
)
def test_broken_exif_of_raw_files_is_left_out_and_named(data: bytes) -> None:
    assert read_raw_metadata(io.BytesIO(data)) == Metadata(
        lost=("EXIF except for exposure and date",)
    )


def test_maker_notes_that_a_converter_moved_are_named() -> None:
    metadata = read_raw_metadata(laid_out({271: b"Short\0", 50740: b"Adobe\0MakN"}))
    assert metadata.lost == ("maker notes",)
    assert b"Adobe" not in metadata.exif


def test_what_describes_a_raw_photo_is_kept_and_how_to_develop_it_is_not() -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r xmlns:tiff="t" tiff:Orientation="6" xmlns:xmp="u" '
        b'xmp:Rating="5"%s/></x:xmpmeta>'
    )
    settings = b' xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"'
    exposure = b' crs:Exposure2012="+2.00"'
    caption = b"\x1c\x02\x78\0\x06A hill"
    stored = xmp % (settings + exposure)
    tags = [(700, 1, len(stored), stored, True), (33723, 7, len(caption), caption, True)]
    warp = [(51022, 7, 2000, bytes(2000), True)]
    for thumbnail in (True, False):
        light = scene((0.3, 0.3, 0.3))
        metadata = developed(dng(light, 6, thumbnail, tags, warp)).metadata
        assert metadata.xmp == (xmp % settings).replace(b'"6"', b'"1"')
        assert metadata.iptc == caption
        assert metadata.lost == (
            "corrections of the lens that the DNG asks for",
            "maker notes",
            "settings of the raw converter",
        )


def test_colours_that_nobody_knows_are_named() -> None:
    known = dng(scene((0.3, 0.3, 0.3)))
    assert not any("colours" in what for what in developed(known).metadata.lost)
    # The tag of the colour matrix gets the number of one that means nothing.
    unknown = known.replace(struct.pack("<HH", 50721, 10), struct.pack("<HH", 50720, 10))
    (lost,) = (what for what in developed(unknown).metadata.lost if "colours" in what)
    assert lost == "true colours because LibRaw has no colour matrix for the camera"


def test_a_white_that_no_file_tells_is_named_and_as_bright() -> None:
    known = dng(scene((0.1, 0.1, 0.1), (0.4, 0.4, 0.4)))
    unknown = known.replace(struct.pack("<HH", 50728, 5), struct.pack("<HH", 50727, 5))
    one, other = developed(known), developed(unknown)
    assert not any("white" in what for what in one.metadata.lost)
    assert [what for what in other.metadata.lost if "white" in what] == [
        "true white because the file has no white balance and it was guessed"
    ]
    # All is grey, so the guess is right.
    assert np.abs(patches(one.pixels) - patches(other.pixels)).max() < 400


def test_the_sensor_values_of_a_raw_without_a_header_are_no_photo() -> None:
    # LibRaw takes any file of this size for that of a camera.
    values = np.random.default_rng(0).integers(0, 256, 640 * 480 * 2, np.uint8).tobytes()
    with pytest.raises(ImageError, match=r"scan\.raw does not begin as a camera's file does"):
        read_photo(values, "scan.raw")
    photo = read_photo(dng(scene((0.3, 0.3, 0.3))), "photo.RAW")
    assert (photo.format, photo.pixels.dtype) == ("raw", np.uint16)
    assert is_photo_name("photo.RAW")


def test_a_raw_file_that_develops_to_black_is_refused() -> None:
    # LibRaw reads some files, such as certain DNGs of floats, without finding their values.
    with pytest.raises(ImageError, match="nothing but black"):
        read_photo(dng(scene((0, 0, 0))), "photo.dng")


def test_results_are_named_as_tiffs() -> None:
    assert result_extension("a/IMG_1.CR2", None) == ".tif"
    assert is_photo_name("scan.PBM")
    assert result_extension("scan.PBM", None) == ".pgm"
    assert result_extension("IMG_1.dng", "jpeg") == ".jpg"
    assert result_extension("IMG_1.HEIC", None) == ".HEIC"
    assert result_extension("IMG_1.HEIC", "avif") == ".avif"
    assert result_extension("IMG_1.JPG", "jpeg") == ".JPG"


def test_raw_files_are_read_only() -> None:
    with pytest.raises(ImageError, match=r"\.nef"):
        write_photo(Photo(np.zeros((4, 4, 3), np.uint8)), Path("out.nef"))


def test_the_claimed_size_is_checked_before_decoding() -> None:
    with pytest.raises(ImageError, match="64 x 64 pixels, more than the limit") as caught:
        developed(dng(scene((0.3, 0.3, 0.3))), max_pixels=1000)
    assert "--max-pixels" in caught.value.hint


def test_a_file_that_only_claims_to_be_raw() -> None:
    png = encode_photo(Photo(np.zeros((4, 4, 3), np.uint8)), "png")
    assert read_photo(png, "photo.nef").format == "png"
    with pytest.raises(ImageError, match="camera raw file"):
        read_photo(b"FUJIFILMCCD-RAW 0201" + bytes(400), "photo.raf")
    whole = dng(scene((0.3, 0.3, 0.3)))
    with pytest.raises(ImageError, match=r"photo\.dng is cut short"):
        read_photo(whole[: len(whole) // 2], "photo.dng")
    # Sound, but in a compression that LibRaw does not know, as those of GoPro are.
    strange = whole.replace(struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, 9))
    with pytest.raises(ImageError, match="that LibRaw does not know"):
        read_photo(strange, "photo.dng")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssbsn_cli.core.imaging.codec.find_spec", lambda _: None)
    with pytest.raises(ImageError, match="is a camera raw file, which needs") as caught:
        developed(dng(scene((0.3, 0.3, 0.3))))
    assert 'pip install "ssbsn[raw]"' in caught.value.hint
