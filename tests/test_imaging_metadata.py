"""What a file says about its photo survives, and is still true afterwards."""

from __future__ import annotations

import hashlib
import io
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from ssbsn_cli.core.imaging import (
    Metadata,
    Photo,
    encode_photo,
    list_losses,
    read_photo,
    tiff_stream,
    write_photo,
)

Array = np.ndarray[Any, np.dtype[Any]]

FORMATS = ["jpeg", "png", "webp", "tiff"]
SRGB = bytes((1, 13, 0, 1))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="%d"/></x:xmpmeta>'
RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = RGB_PROFILE[:16] + b"GRAY" + RGB_PROFILE[20:]
# Apple's refer to nothing outside themselves, so they may be moved.
MAKER_NOTE = b"Apple iOS\0\0\1MM" + bytes(range(256)) * 3
EXIF_IFD, GPS_IFD = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo


def picture(channels: int = 3) -> Array:
    """Draw a smooth picture, different at every corner, wider than high."""
    down, across = np.mgrid[0:24, 0:40]
    planes = [across * 6, down * 10, 250 - across * 3, 200 - down]
    return np.stack(planes[:channels], axis=-1).astype(np.uint8)


def exif_block(orientation: int = 1, order: str = "<", thumbnail: bool = False) -> bytes:
    exif = Image.Exif()
    exif.endian = order
    exif[271], exif[272], exif[306] = "Maker", "Camera 1", "2024:01:02 03:04:05"
    exif[33432], exif[282], exif[283], exif[296] = "Someone", 300.0, 300.0, 2
    exif[274] = orientation
    exif.get_ifd(EXIF_IFD).update(
        {33434: 0.25, 34855: 6400, 37500: MAKER_NOTE, 40962: 40, 40963: 24, 37386: 50.0}
    )
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 30.0, 15.5)})
    blob = exif.tobytes().removeprefix(b"Exif\0\0")
    if not thumbnail:
        return blob
    position = struct.unpack_from(order + "I", blob, 4)[0]
    number = struct.unpack_from(order + "H", blob, position)[0]
    pointer = position + 2 + 12 * number
    entry = struct.pack(order + "HHHII", 1, 259, 3, 1, 6) + bytes(4)
    return blob[:pointer] + struct.pack(order + "I", len(blob)) + blob[pointer + 4 :] + entry


def stored(format: str, pixels: Array, metadata: Metadata) -> bytes:
    """Store a picture with Pillow or tifffile, so that nothing of ours takes part."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"icc_profile": metadata.icc} if metadata.icc else {}
    if format == "tiff":
        exif = Image.Exif()
        exif.load(metadata.exif)
        if metadata.xmp:
            exif[700] = metadata.xmp
        options["exif"] = exif
    else:
        options["exif"] = b"Exif\0\0" + metadata.exif
        if metadata.xmp and format != "png":
            options["xmp"] = metadata.xmp
    if format == "webp":
        options["lossless"] = True
    if format == "jpeg":
        options |= {"quality": 95, "subsampling": 0}
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def facts(exif: Image.Exif) -> dict[str, Any]:
    inner, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
    return {
        "names": [str(exif[tag]).rstrip("\0") for tag in (271, 272, 306, 33432)],
        "resolution": [float(exif[282]), float(exif[283]), exif[296]],
        "exposure": [float(inner[33434]), inner[34855], float(inner[37386])],
        "note": bytes(inner[37500]),
        "place": [gps[1], [float(value) for value in gps[2]]],
        "orientation": exif.get(274, 1),
    }


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_metadata_survive_every_change_of_format(source: str, target: str, order: str) -> None:
    metadata = Metadata(exif_block(order=order), XMP % 1, RGB_PROFILE)
    before = stored(source, picture(), metadata)
    after = opened(encode_photo(read_photo(before), target))
    assert facts(after.getexif()) == facts(opened(before).getexif())
    assert after.info["icc_profile"] == RGB_PROFILE
    if source != "png":
        assert XMP % 1 in (after.info.get("xmp"), after.getexif().get(700))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_of_every_kind_holds_metadata(dtype: str, channels: int) -> None:
    icc = RGB_PROFILE if channels > 2 else GREY_PROFILE
    metadata = Metadata(exif_block(), XMP % 1, icc)
    data = encode_photo(Photo(picture(channels).astype(dtype), metadata), "png")
    read = read_photo(data).metadata
    # The resolution of the EXIF is also written where viewers of PNG look.
    assert read.resolution == pytest.approx((300, 300), abs=0.01)
    assert replace(read, resolution=None) == metadata
    image = opened(data)
    assert image.info["icc_profile"] == icc
    assert image.info["xmp"] == XMP % 1
    assert facts(image.getexif())["names"][0] == "Maker"


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_can_be_left_out(format: str) -> None:
    photo = Photo(picture(), Metadata(exif_block(), XMP % 1, RGB_PROFILE))
    data = encode_photo(photo, format, strip_metadata=True)
    without = encode_photo(replace(photo, metadata=Metadata(icc=RGB_PROFILE)), format)
    assert read_photo(data).metadata == read_photo(without).metadata
    assert b"Maker" not in data


def test_the_exif_of_an_upright_jpeg_stays_byte_for_byte() -> None:
    exif = exif_block(thumbnail=True)
    data = stored("jpeg", picture(), Metadata(exif))
    assert opened(encode_photo(read_photo(data), "jpeg")).info["exif"] == b"Exif\0\0" + exif


@pytest.mark.parametrize("order", ["<", ">"])
def test_turning_changes_nothing_else_in_the_exif(order: str) -> None:
    before = exif_block(6, order, thumbnail=True)
    data = stored("jpeg", picture(), Metadata(before))
    after = read_photo(data).metadata.exif
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 8
    exif = Image.Exif()
    exif.load(after)
    assert exif[274] == 1
    assert exif.get_ifd(ExifTags.IFD.IFD1) == {}
    inner = exif.get_ifd(EXIF_IFD)
    assert (inner[40962], inner[40963]) == (24, 40)
    assert inner[37500] == MAKER_NOTE


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", ["attributes", "elements"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_marked_areas_turn_with_the_photo(orientation: int, form: str, order: str) -> None:
    # One bright pixel, 4 wide and 2 high as the marks say, in a photo that is stored on its side.
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[5, 10] = 255
    exif = Image.Exif()
    exif.endian = order
    exif[274] = orientation
    marks = {40962: 40, 40963: 24, 37396: (10, 5, 4, 2), 41492: (10, 5)}
    exif.get_ifd(EXIF_IFD).update(marks)
    area = {"x": 10.5 / 40, "y": 5.5 / 24, "w": 4 / 40, "h": 2 / 24}
    if form == "attributes":
        face = "<Area " + " ".join(f'stArea:{name}="{at}"' for name, at in area.items()) + "/>"
        size = '<Size stDim:h="24" stDim:unit="pixel" stDim:w="40"/>'
        other = f'<a MPReg:Rectangle="{8.5 / 40}, {4.5 / 24}, {4 / 40}, {2 / 24}"/>'
    else:
        face = "".join(f"<stArea:{name}>{at}</stArea:{name}>" for name, at in area.items())
        size = "<stDim:w>40</stDim:w><stDim:h>24</stDim:h>"
        values = f"{8.5 / 40},{4.5 / 24},{4 / 40},{2 / 24}"
        other = f"<MPReg:Rectangle>{values}</MPReg:Rectangle>"
    kept = Metadata(exif.tobytes().removeprefix(b"Exif\0\0"), (face + size + other).encode())
    photo = read_photo(encode_photo(Photo(pixels, kept), "png"))
    height, width, _ = photo.pixels.shape
    y, x = (int(at) for at in np.argwhere(photo.pixels[..., 0])[0])
    wide, high = (2, 4) if orientation > 4 else (4, 2)
    turned = Image.Exif()
    turned.load(photo.metadata.exif)
    inner = turned.get_ifd(EXIF_IFD)
    assert inner[37396] == (x, y, wide, high)
    assert inner[41492] == (x, y)
    xmp = photo.metadata.xmp.decode()
    found = dict(re.findall(r"stArea:([a-z])(?:=\"|>)([0-9.]+)", xmp))
    expected = [(x + 0.5) / width, (y + 0.5) / height, wide / width, high / height]
    assert [float(found[name]) for name in "xywh"] == pytest.approx(expected, abs=1e-6)
    found = dict(re.findall(r"stDim:([wh])(?:=\"|>)([0-9.]+)", xmp))
    assert found == {"w": str(width), "h": str(height)}
    _, _, rest = xmp.partition("MPReg:Rectangle")
    corner = [float(value) for value in re.findall(r"[0-9.]+", rest)[:4]]
    left, top = (x + 0.5 - wide / 2) / width, (y + 0.5 - high / 2) / height
    assert corner == pytest.approx([left, top, *expected[2:]], abs=1e-6)


def test_areas_that_make_no_sense_stop_nothing() -> None:
    exif = Image.Exif()
    exif[274] = 3
    exif.get_ifd(EXIF_IFD).update({40962: 10**9, 40963: 1, 37396: (10, 5)})
    xmp = b'<a stArea:x="500" stArea:y="1.2.3" MPReg:Rectangle="1.2.3, 0, 0, 0"/>'
    kept = Metadata(exif.tobytes().removeprefix(b"Exif\0\0"), xmp)
    photo = read_photo(encode_photo(Photo(picture(), kept), "png"))
    assert photo.metadata.xmp == xmp
    turned = Image.Exif()
    turned.load(photo.metadata.exif)
    assert turned.get_ifd(EXIF_IFD)[37396] == (10, 5)


@pytest.mark.parametrize("kind", [6, 8, 9])
def test_an_orientation_of_any_type_turns_the_photo_once(kind: int) -> None:
    value = (6).to_bytes(4, "little")
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, 274, kind, 1, value, 0)
    photo = read_photo(stored("jpeg", picture(), Metadata(exif)))
    assert photo.pixels.shape[:2] == (40, 24)
    assert photo.metadata.exif == exif.replace(value, (1).to_bytes(4, "little"), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", FORMATS)
def test_pictures_are_turned_upright_once(format: str, orientation: int, tmp_path: Path) -> None:
    data = stored(format, picture(), Metadata(exif_block(orientation)))
    expected = np.asarray(ImageOps.exif_transpose(opened(data)))
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, expected)
    assert photo.pixels.flags.c_contiguous
    for target in ("png", "tiff", "jpeg", "webp"):
        path = tmp_path / target
        write_photo(photo, path, format=target)
        seen = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        assert seen.shape == expected.shape
        assert np.abs(seen.astype(int) - expected).mean() < 6, target
        assert np.array_equal(read_photo(path).pixels, seen)


def test_xmp_is_made_to_agree() -> None:
    data = stored("jpeg", picture(), Metadata(exif_block(6), XMP % 6))
    assert read_photo(data).metadata.xmp == XMP % 1
    element = b"<tiff:Orientation>8</tiff:Orientation>"
    photo = read_photo(encode_photo(Photo(picture(), Metadata(xmp=element)), "png"))
    assert photo.pixels.shape == (40, 24, 3)
    assert photo.metadata.xmp == element.replace(b"8", b"1")


def test_a_large_profile_survives_in_jpeg() -> None:
    icc = RGB_PROFILE + np.random.default_rng(0).bytes(200_000)
    data = encode_photo(Photo(picture(), Metadata(icc=icc)), "jpeg")
    assert opened(data).info["icc_profile"] == icc
    assert read_photo(data).metadata.icc == icc


def test_what_jpeg_cannot_hold_is_left_out() -> None:
    metadata = Metadata(exif_block() + bytes(70_000), XMP % 1, RGB_PROFILE)
    photo = Photo(picture(), metadata)
    image = opened(encode_photo(photo, "jpeg"))
    assert "exif" not in image.info
    assert image.info["icc_profile"] == RGB_PROFILE
    kept = read_photo(encode_photo(photo, "png")).metadata
    assert (kept.exif, kept.xmp, kept.icc) == (metadata.exif, metadata.xmp, metadata.icc)
    assert list_losses(photo, "jpeg") == ("EXIF",)
    assert list_losses(photo, "png") == ()


def test_a_long_xmp_is_extended_in_a_jpeg_and_whole_again_elsewhere() -> None:
    long = (XMP % 1).replace(b"<r ", b'<r title="%s" ' % (b"x" * 150_000))
    wrapped = b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>' + long + b'<?xpacket end="w"?>'
    photo = Photo(picture(), Metadata(xmp=wrapped))
    data = encode_photo(photo, "jpeg")
    assert list_losses(photo, "jpeg") == ()
    # The specification: a digest of the extension, its length, and a part of at most 64 kB.
    digest = hashlib.md5(long).hexdigest().upper().encode()
    assert b'HasExtendedXMP="' + digest in opened(data).info["xmp"]
    head = b"http://ns.adobe.com/xmp/extension/\0" + digest + struct.pack(">I", len(long))
    assert data.count(head) == 3
    again = read_photo(data)
    assert again.metadata == Metadata(xmp=long)
    assert read_photo(encode_photo(again, "png")).metadata.xmp == long


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("channels", "icc"),
    [
        (3, GREY_PROFILE),
        (1, RGB_PROFILE),
        (3, b"no profile"),
        (3, bytes(300)),
        (3, RGB_PROFILE[:-9]),
    ],
)
def test_a_profile_for_other_pixels_is_not_written(format: str, channels: int, icc: bytes) -> None:
    data = encode_photo(Photo(picture(channels), Metadata(icc=icc)), format)
    assert not opened(data).info.get("icc_profile")


def test_webp_which_knows_no_grey_gets_no_grey_profile() -> None:
    data = encode_photo(Photo(picture(1), Metadata(icc=GREY_PROFILE)), "webp")
    assert "icc_profile" not in opened(data).info


def test_the_profile_of_a_palette_stays_with_its_colours() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).quantize(8).save(buffer, "PNG", icc_profile=RGB_PROFILE)
    assert read_photo(buffer.getvalue()).metadata.icc == RGB_PROFILE


def test_descriptive_tags_of_a_tiff_reach_tiff_and_jpeg() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        picture().astype(np.uint16) * 257,
        photometric="rgb",
        byteorder=">",
        description="A hill in Malm\u00f6".encode(),
        datetime="2024:01:02 03:04:05",
        software="Scanner 2",
        resolution=(600, 600),
        resolutionunit="INCH",
        metadata=None,
        extratags=[(271, 2, None, "Maker", True), (315, 2, None, "Someone", True)],
    )
    photo = read_photo(buffer.getvalue())
    for format in ("tiff", "jpeg"):
        data = encode_photo(photo, format)
        exif = Image.Exif()
        exif.load(read_photo(data).metadata.exif)
        assert [exif[tag] for tag in (271, 305, 315)] == ["Maker", "Scanner 2", "Someone"]
        assert exif[282] == 600
        assert exif[296] == 2
        assert "A hill in Malm\u00f6".encode() in data
        assert 258 not in exif


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    places=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8),
    length=st.integers(0, 5000),
    order=st.sampled_from("<>"),
)
def test_broken_exif_never_stops_a_photo(
    places: list[tuple[int, int]], length: int, order: str
) -> None:
    exif = bytearray(exif_block(6, order, thumbnail=True)[:length])
    for place, value in places:
        if place < len(exif):
            exif[place] = value
    pixels = picture()[:2, :2]
    photo = read_photo(encode_photo(Photo(pixels, Metadata(bytes(exif))), "png"))
    for format in FORMATS:
        assert read_photo(encode_photo(photo, format)).pixels.shape[2] == 3


def test_nonsense_for_exif_is_carried_along() -> None:
    exif = b"not even close"
    photo = read_photo(encode_photo(Photo(picture(), Metadata(exif)), "png"))
    assert photo.metadata.exif == exif
    assert np.array_equal(photo.pixels, picture())
    assert read_photo(encode_photo(photo, "tiff")).metadata.exif != exif
    assert list_losses(photo, "tiff") == ("EXIF, which is damaged",)
    assert list_losses(photo, "jpeg") == ()


def test_a_resolution_without_a_unit_stays_one_in_inches() -> None:
    exif = Image.Exif()
    exif[282] = exif[283] = 240.0
    exif[271] = "Odd"
    photo = Photo(picture(), Metadata(exif.tobytes().removeprefix(b"Exif\0\0")))
    data = encode_photo(photo, "tiff")
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        assert page.tags.valueof(282) == (240, 1)
        assert page.tags.valueof(296, default=2) == 2
        assert all(tag.valueoffset % 2 == 0 for tag in page.tags)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_that_leads_nowhere_does_not_turn_a_photo_twice(order: str) -> None:
    exif = bytearray(exif_block(6, order))
    position = struct.unpack_from(order + "I", exif, 4)[0]
    for at in range(position + 2, len(exif) - 12, 12):
        if struct.unpack_from(order + "H", exif, at)[0] == EXIF_IFD:
            struct.pack_into(order + "I", exif, at + 8, 0xFFFFFF)
            break
    photo = read_photo(stored("jpeg", picture(), Metadata(bytes(exif))))
    assert photo.pixels.shape == (40, 24, 3)
    again = read_photo(encode_photo(photo, "jpeg"))
    assert again.pixels.shape == (40, 24, 3)
    assert opened(encode_photo(photo, "jpeg")).getexif()[274] == 1


@pytest.mark.parametrize("source", ["jpeg", "tiff"])
def test_maker_notes_are_never_garbage(source: str) -> None:
    exif = Image.Exif()
    # An entry whose value lies at a position in the block, as Canon and Sony write it.
    exif.get_ifd(EXIF_IFD)[37500] = b"\1\0" + struct.pack("<HHII", 1, 2, 40, 200) + bytes(60)
    exif[271] = "Canon"
    metadata = Metadata(exif.tobytes().removeprefix(b"Exif\0\0"))
    photo = read_photo(stored(source, picture(), metadata))
    for target in FORMATS:
        moved = "tiff" in (source, target)
        written = opened(encode_photo(photo, target)).getexif()
        assert written[271] == "Canon"
        assert (37500 not in written.get_ifd(EXIF_IFD)) == moved
        assert ("maker notes" in list_losses(photo, target)) == moved


def test_turning_exchanges_the_resolutions() -> None:
    exif = Image.Exif()
    exif[274], exif[282], exif[283], exif[296] = 6, 300.0, 150.0, 2
    metadata = Metadata(exif.tobytes().removeprefix(b"Exif\0\0"), resolution=(300.0, 150.0))
    photo = read_photo(encode_photo(Photo(picture(), metadata), "png"))
    assert photo.metadata.resolution == pytest.approx((150, 300), abs=0.02)
    turned = opened(encode_photo(photo, "jpeg"))
    assert turned.info["dpi"] == (150, 300)
    assert (turned.getexif()[282], turned.getexif()[283]) == (150, 300)


def adobe_rgb() -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD).update({40961: 65535, 40965: {1: "R03"}})
    return exif


@pytest.mark.parametrize("format", ["png", "heic", "avif", "jxl"])
def test_a_stated_colour_space_wins_over_that_of_exif(format: str) -> None:
    exif = adobe_rgb().tobytes().removeprefix(b"Exif\0\0")
    stated = encode_photo(Photo(picture(), Metadata(exif, cicp=SRGB)), format)
    metadata = read_photo(stated).metadata
    assert (metadata.cicp, metadata.icc) == (SRGB, b"")


def test_a_streamed_photo_has_the_metadata_of_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = adobe_rgb().tobytes().removeprefix(b"Exif\0\0")
    path = tmp_path / "a.tif"
    path.write_bytes(encode_photo(Photo(picture(), Metadata(exif)), "tiff"))
    monkeypatch.setattr(tiff_stream, "STREAM_BYTES", 0)
    image = tiff_stream.open_large_tiff(path)
    assert image
    with image:
        assert image.metadata == read_photo(path).metadata
        assert image.metadata.icc


def test_colours_that_only_exif_states_get_a_profile() -> None:
    exif = adobe_rgb()
    data = io.BytesIO()
    Image.fromarray(picture()).save(data, "JPEG", exif=exif)
    result = encode_photo(read_photo(data.getvalue()), "png", strip_metadata=True)
    profile = ImageCms.ImageCmsProfile(
        io.BytesIO(Image.open(io.BytesIO(result)).info["icc_profile"])
    )
    assert profile.profile.green_primary[1][:2] == pytest.approx((0.23, 0.70), abs=0.02)


def test_text_of_exif_3_survives() -> None:
    exif = bytearray(exif_block())
    at = exif.index(struct.pack("<HH", 33432, 2))
    struct.pack_into("<H", exif, at + 2, 129)
    for format in FORMATS:
        assert b"Someone" in encode_photo(Photo(picture(), Metadata(bytes(exif))), format)
    data = encode_photo(Photo(picture(), Metadata(bytes(exif))), "tiff")
    # The types of TIFF do not include that of UTF-8.
    assert Image.open(io.BytesIO(data)).getexif()[33432] == "Someone"


def test_unicode_comments_keep_their_byte_order_legible() -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif.get_ifd(EXIF_IFD)[37510] = b"UNICODE\0" + "Grüße".encode("utf-16-be")
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    data = encode_photo(Photo(picture(), Metadata(block)), "tiff")
    comment = Image.open(io.BytesIO(data)).getexif().get_ifd(EXIF_IFD)[37510]
    assert comment == b"UNICODE\0" + "Grüße".encode("utf-16-le")


def test_comments_that_fit_are_written_however_many() -> None:
    texts = tuple(("Comment", letter * 40_000) for letter in "ab")
    assert list_losses(Photo(picture(), Metadata(text=texts)), "jpeg") == ()
