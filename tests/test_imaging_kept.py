"""What each format keeps of a photo is what the documentation says, and the rest is named."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import pillow_bytes, png_chunk, tiff_bytes
from PIL import Image, ImageCms, IptcImagePlugin

from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo, list_losses, read_photo
from ssbsn_cli.core.imaging.boxes import build_box
from ssbsn_cli.core.imaging.codec import Codec
from ssbsn_cli.core.imaging.exif_fields import resolution_of
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.imaging.heif import metadata_of
from ssbsn_cli.core.imaging.items import Items
from ssbsn_cli.core.imaging.orientation import upright
from ssbsn_cli.core.imaging.photo import BEYOND, NOT_SQUARE
from ssbsn_cli.core.imaging.profile import (
    ADOBE_CURVE,
    ADOBE_RGB,
    SRGB,
    make_profile,
    profile_of_cicp,
)

PIXELS = np.random.default_rng(0).integers(90, 120, (24, 40, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HEAD = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
)
TAIL = b"</rdf:Description></rdf:RDF></x:xmpmeta>"
XMP = HEAD + b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="A hill">' + TAIL
EXTENSION = HEAD + b'xmlns:d="http://ns.google.com/photos/1.0/depthmap/" d:Data="%s">' + TAIL
EXTENSION %= b"A" * 100_000
DISPLAY_P3, PQ = bytes((12, 13, 0, 1)), bytes((9, 16, 0, 1))


def record(number: int, text: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text


IPTC = record(116, b"(c) Anna") + record(120, b"A caption..") + record(25, b"keyword")


def exif_block() -> bytes:
    exif = Image.Exif()
    exif[271] = "Maker"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def extended(xmp: bytes) -> bytes:
    digest = hashlib.md5(EXTENSION).hexdigest().upper().encode()
    note = b' xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="%s">' % digest
    return xmp.replace(b'dc:title="A hill">', b'dc:title="A hill"' + note)


WRITTEN = {name: codec for name, codec in CODECS.items() if codec.encode}
# By the heading of their column in the documentation.
FIELDS: dict[str, tuple[str, Metadata]] = {
    "EXIF": ("exif", Metadata(exif=exif_block())),
    "XMP": ("xmp", Metadata(xmp=XMP)),
    "extended XMP": (
        "xmp_extension",
        Metadata(xmp=extended(XMP), xmp_extension=EXTENSION),
    ),
    "ICC": ("icc", Metadata(icc=PROFILE)),
    "cICP": ("cicp", Metadata(cicp=DISPLAY_P3)),
    "IPTC": ("iptc", Metadata(iptc=IPTC)),
    "print size": ("resolution", Metadata(resolution=(300.0, 200.0))),
    "comments": ("text", Metadata(text=(("Comment", "Taken at dawn \u2600"),))),
}


def table() -> dict[str, dict[str, str]]:
    """Read from the documentation what each format keeps."""
    page = (Path(__file__).parents[1] / "docs/denoise.md").read_text("utf-8")
    head, *lines = re.findall(
        r"^\| (?:kept in|.*?) \|.*\|$", page.split("### What is kept")[1].split("\n### ")[0], re.M
    )
    names = [name.strip() for name in head.strip("|").split("|")][1:]
    rows = (line.strip("|").split("|") for line in lines if "---" not in line)
    return {row[0].strip(): dict(zip(names, map(str.strip, row[1:]), strict=True)) for row in rows}


def kept(codec: Codec, field: str, metadata: Metadata) -> str:
    """Return how a format keeps a field, by writing and reading a file."""
    photo = Photo(PIXELS, metadata)
    # A lossy JPEG XL may put a profile into numbers.
    again = read_photo(encode_photo(photo, codec.name, quality=100)).metadata
    lost = list_losses(photo, codec.name)
    if field == "resolution" and again.resolution:
        assert again.resolution == pytest.approx((300, 200), rel=0.01)
        answer = "yes"
    elif field == "exif":
        answer = "yes" if b"Maker" in again.exif else ""
    elif field == "iptc":
        # TIFF fills them up to a multiple of four bytes.
        answer = "yes" if again.iptc.rstrip(b"\0") == IPTC else ""
    elif getattr(again, field) == getattr(metadata, field):
        answer = "yes"
    elif field == "resolution":
        answer = "as EXIF" if resolution_of(again.exif) else ""
    else:
        answer = "as ICC" if field == "cicp" and again.icc else ""
    assert bool(answer) == (not lost), lost
    return answer


@pytest.mark.parametrize("codec", WRITTEN.values(), ids=WRITTEN)
def test_the_documentation_says_what_each_format_keeps(codec: Codec) -> None:
    row = {name: kept(codec, *what) for name, what in FIELDS.items()}
    assert table()[codec.label] == row


def test_the_documentation_lists_no_other_format() -> None:
    assert sorted(table()) == sorted(codec.label for codec in WRITTEN.values())


@pytest.mark.parametrize("target", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("source", ["jpeg", "png", "tiff"])
def test_captions_can_be_read_by_others(source: str, target: str) -> None:
    before = encode_photo(Photo(PIXELS, Metadata(iptc=IPTC)), source)
    after = encode_photo(read_photo(before), target)
    if target == "png":
        assert read_photo(after).metadata.iptc[: len(IPTC)] == IPTC
        return
    found = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(after)))
    assert found == {(2, 116): b"(c) Anna", (2, 120): b"A caption..", (2, 25): b"keyword"}


@pytest.mark.parametrize("source", ["JPEG", "PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("target", ["jpeg", "png", "bmp", "tiff", "webp"])
def test_the_print_size_survives_every_change_of_format(source: str, target: str) -> None:
    data = pillow_bytes(Image.fromarray(PIXELS), source, dpi=(300, 300))
    image = Image.open(io.BytesIO(encode_photo(read_photo(data), target)))
    found = image.getexif()[282] if target == "webp" else image.info["dpi"][0]
    assert float(found) == pytest.approx(300, abs=0.01)


@pytest.mark.parametrize("target", [name for name, codec in CODECS.items() if codec.encode])
def test_a_print_size_that_makes_no_sense_stops_nothing(target: str) -> None:
    for value in (0.001, 1e6, 4e9):
        photo = Photo(PIXELS, Metadata(resolution=(value, 300.0)))
        assert read_photo(encode_photo(photo, target)).metadata.resolution is None


def png(*chunks: bytes, pixels: np.ndarray[Any, Any] = PIXELS) -> bytes:
    plain = encode_photo(Photo(pixels), "png")
    return plain[:33] + b"".join(chunks) + plain[33:]


def gamma(value: int) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", value))


def shown(data: bytes) -> tuple[int, ...]:
    """Return the first pixel as a viewer that knows profiles shows it."""
    image = Image.open(io.BytesIO(data))
    profile = image.info.get("icc_profile")
    if profile:
        screen = ImageCms.createProfile("sRGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(image, source, screen, 1, "RGB")
        assert changed is not None
        image = changed
    return tuple(image.convert("RGB").getpixel((0, 0)))


@pytest.mark.parametrize("target", ["png", "tiff", "webp"])
def test_what_numbers_mean_as_light_is_kept(target: str) -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    linear = read_photo(png(gamma(100_000), pixels=grey))
    # Half of the light is sRGB 188.
    assert shown(encode_photo(linear, target)) == pytest.approx((188,) * 3, abs=2)
    one = read_photo(png(gamma(100_000), pixels=grey[..., :1]))
    assert shown(encode_photo(one, target)) == pytest.approx((188,) * 3, abs=2)
    corners = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    wide = png_chunk(b"cHRM", struct.pack(">8I", *corners))
    orange = np.broadcast_to(np.array([255, 128, 0], np.uint8), (8, 8, 3)).copy()
    red = shown(encode_photo(read_photo(png(wide, pixels=orange)), target))
    assert red == pytest.approx((255, 119, 0), abs=4)


def test_the_numbers_of_srgb_stay_srgb() -> None:
    for chunks in (png_chunk(b"sRGB", b"\0"), gamma(45455), png_chunk(b"cICP", SRGB)):
        photo = read_photo(png(chunks))
        assert photo.metadata == Metadata(cicp=SRGB)
        assert b"sRGB\0" in encode_photo(photo, "png")
        # Formats without a word for it are taken for sRGB anyway.
        assert list_losses(photo, "bmp") == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("brightest", "lost"), [(235, ()), (255, (BEYOND,))])
def test_the_narrow_range_of_video_becomes_the_whole_one(
    dtype: type[np.unsignedinteger[Any]], brightest: int, lost: tuple[str, ...]
) -> None:
    white = int(np.iinfo(dtype).max)
    pixels = np.full((3, 8, 4), white, dtype)
    for row, value in enumerate((16, 125, brightest)):
        pixels[row, :, :3] = value * ((white + 1) // 256)
    photo = read_photo(png(png_chunk(b"cICP", SRGB[:3] + b"\0"), pixels=pixels))
    assert photo.metadata == Metadata(cicp=SRGB, lost=lost)
    assert photo.pixels[:, 0, 0].tolist() == [0, round(109 / 219 * white), white]
    assert (photo.pixels[..., 3] == white).all()


def test_hdr_stays_in_png_and_is_named_elsewhere() -> None:
    photo = read_photo(png(png_chunk(b"cICP", PQ)))
    assert b"cICP" + PQ in encode_photo(photo, "png")
    assert list_losses(photo, "png") == ()
    assert list_losses(photo, "jpeg") == ("the HDR colour space",)
    assert profile_of_cicp(PQ, grey=False) == b""


@pytest.mark.parametrize("target", ["heic", "avif", "jxl"])
def test_numbers_override_a_profile_for_old_viewers(target: str) -> None:
    icc = profile_of_cicp(DISPLAY_P3, grey=False)
    profile = png_chunk(b"iCCP", b"old\0\0" + zlib.compress(icc))
    photo = read_photo(png(png_chunk(b"cICP", PQ) + profile))
    kept = read_photo(encode_photo(photo, target)).metadata
    assert (kept.cicp, kept.icc) == (PQ, b"")
    assert b"iCCP" in encode_photo(photo, "png")
    assert read_photo(encode_photo(photo, "jpeg")).metadata.icc == icc
    assert list_losses(photo, "jpeg") == ("the HDR colour space",)


@pytest.mark.parametrize("kind", ["exif", "xmp", "iptc"])
def test_profiles_in_the_text_of_old_pngs_are_read(kind: str) -> None:
    content = {"exif": b"Exif\0\0" + exif_block(), "xmp": XMP, "iptc": IPTC}[kind]
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    body = f"\n{kind} profile\n{len(content):8d}\n{lines}\n".encode()
    name = b"Raw profile type " + kind.encode()
    for chunk in (
        png_chunk(b"zTXt", name + b"\0\0" + zlib.compress(body)),
        png_chunk(b"tEXt", name + b"\0" + body),
    ):
        metadata = read_photo(png(chunk)).metadata
        assert getattr(metadata, kind) == content.removeprefix(b"Exif\0\0")


def test_texts_of_a_png_survive_and_reach_the_comments_of_a_jpeg() -> None:
    texts = (("Title", "Hill"), ("Comment", "at dawn"), ("Author", "\u65e5\u672c"))
    photo = read_photo(encode_photo(Photo(PIXELS, Metadata(text=texts)), "png"))
    assert photo.metadata.text == texts
    data = encode_photo(photo, "jpeg")
    assert [text for _, text in read_photo(data).metadata.text] == [
        "Title: Hill",
        "at dawn",
        "Author: \u65e5\u672c",
    ]


def test_comments_too_long_for_a_jpeg_are_named_and_not_cut() -> None:
    fits = Photo(PIXELS, Metadata(text=(("Title", "\u65e5" * 21_000),)))
    assert list_losses(fits, "jpeg") == ()
    assert read_photo(encode_photo(fits, "jpeg")).metadata.text[0][1].endswith("\u65e5" * 21_000)
    long = Photo(PIXELS, Metadata(text=(("Title", "\u65e5" * 22_000),)))
    assert list_losses(long, "jpeg") == ("comments",)
    assert read_photo(encode_photo(long, "jpeg")).metadata.text == ()


def test_where_on_earth_a_tiff_lies_survives() -> None:
    tags = [
        (33550, 12, 3, (10.0, 10.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
        (34737, 2, None, "UTM zone 11|", True),
        (42113, 2, None, "nan", True),
        (50844, 12, 92, tuple(float(number) for number in range(92)), True),
    ]
    data = tiff_bytes(PIXELS, photometric="rgb", extratags=tags)
    after = Image.open(io.BytesIO(encode_photo(read_photo(data), "tiff")))
    before = Image.open(io.BytesIO(data))
    for tag, *_ in tags:
        assert after.tag_v2[tag] == before.tag_v2[tag]


def test_a_value_for_no_data_that_denoising_changes_is_not_claimed() -> None:
    tags = [(42113, 2, None, "-9999", True)]
    metadata = read_photo(tiff_bytes(PIXELS, photometric="rgb", extratags=tags)).metadata
    assert metadata.lost == ("the mark of pixels without data (GDAL_NODATA)",)
    assert b"-9999" not in metadata.exif


def test_fields_of_exif_among_the_tags_of_a_tiff_stay() -> None:
    tags = [(34855, 3, 1, 400, True), (36867, 2, None, "2020:01:01 00:00:00", True)]
    photo = read_photo(tiff_bytes(PIXELS, photometric="rgb", extratags=tags))
    for format in ("tiff", "jpeg"):
        exif = Image.open(io.BytesIO(encode_photo(photo, format))).getexif()
        assert (exif[34855], exif[36867]) == (400, "2020:01:01 00:00:00")


PRIVATE = "private data of the camera or an editor"


def test_private_data_are_named_unless_they_are_little() -> None:
    jpeg = encode_photo(Photo(PIXELS), "jpeg")
    for length, lost in ((5000, (PRIVATE,)), (50, ())):
        thermal = b"FLIR\0" + bytes(length)
        segment = struct.pack(">BBH", 0xFF, 0xE1, len(thermal) + 2) + thermal
        assert read_photo(jpeg[:2] + segment + jpeg[2:]).metadata.lost == lost
        assert read_photo(png(png_chunk(b"mkBS", bytes(length)))).metadata.lost == lost
        scale = [(34118, 2, length, "AP_IMAGE_PIXEL_SIZE".ljust(length), True)]
        data = tiff_bytes(PIXELS, photometric="rgb", extratags=scale)
        assert read_photo(data).metadata.lost == lost
        exif = Image.Exif()
        exif[51041] = bytes(length)
        photo = Photo(PIXELS, Metadata(exif.tobytes().removeprefix(b"Exif\0\0")))
        assert list_losses(photo, "tiff") == lost
        assert list_losses(photo, "png") == ()


@pytest.mark.parametrize(
    ("resolution", "lost"), [((0.5, 0.5), "the print resolution"), ((0.5, 0.6), NOT_SQUARE)]
)
def test_a_resolution_that_formats_cannot_hold_is_named(
    resolution: tuple[float, float], lost: str
) -> None:
    assert list_losses(Photo(PIXELS, Metadata(resolution=resolution)), "png") == (lost,)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(1, 9, 3), (9, 1, 3), (9, 1, 1), (1, 1, 3)])
def test_photos_of_one_row_are_written_however_they_were_turned(
    shape: tuple[int, ...], orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    row = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    photo = upright(Photo(row, Metadata(block)))
    for format in ("png", "tiff", "webp", "jpeg", "bmp", "pnm"):
        assert read_photo(encode_photo(photo, format)).color.shape[:2] == photo.color.shape[:2]


def test_paths_of_photoshop_are_named_and_captions_beside_them_kept() -> None:
    def resource(number: int, content: bytes) -> bytes:
        padding = bytes(len(content) % 2)
        return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + padding

    jpeg = encode_photo(Photo(PIXELS), "jpeg")
    for captions in (b"", IPTC):
        resources = resource(2000, bytes(26)) + (resource(0x0404, IPTC) if captions else b"")
        body = b"Photoshop 3.0\0" + resources
        digits = f"\n8bim\n{len(resources):8d}\n{resources.hex()}\n".encode()
        for data in (
            jpeg[:2] + struct.pack(">BBH", 0xFF, 0xED, len(body) + 2) + body + jpeg[2:],
            png(png_chunk(b"tEXt", b"Raw profile type 8bim\0" + digits)),
            tiff_bytes(
                PIXELS, photometric="rgb", extratags=[(34377, 7, len(resources), resources, True)]
            ),
        ):
            metadata = read_photo(data).metadata
            assert (metadata.iptc, metadata.lost) == (captions, ("the paths of Photoshop",))


def test_a_mask_of_a_tiff_is_named() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(PIXELS, photometric="rgb", metadata=None)
        tiff.write(PIXELS[..., 0] > 100, photometric="mask", subfiletype=4, metadata=None)
    assert read_photo(buffer.getvalue()).metadata.lost == ("masks",)


def test_what_is_damaged_in_a_png_is_named() -> None:
    for chunk in (png_chunk(b"zTXt", b"Title\0\0not compressed"), gamma(45455)[:-1] + b"?"):
        assert read_photo(png(chunk)).metadata == Metadata(lost=("metadata that are damaged",))


def test_the_profile_of_a_bmp_is_read() -> None:
    plain = pillow_bytes(Image.fromarray(PIXELS), "BMP")
    head = bytearray(plain[14:54].ljust(124, b"\0"))
    head[:4], head[56:60] = struct.pack("<I", 124), b"DEBM"
    body = plain[54:]
    struct.pack_into("<II", head, 112, 124 + len(body), len(PROFILE))
    data = b"BM" + struct.pack("<IHHI", 138 + len(body), 0, 0, 138) + head + body + PROFILE
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, PIXELS)
    assert photo.metadata.icc == PROFILE


CORNERS = ((0.64, 0.33, 0.03), (0.3, 0.6, 0.1), (0.15, 0.06, 0.79))
XYZ = ((0.4124, 0.2126, 0.0193), (0.3576, 0.7152, 0.1192), (0.1805, 0.0722, 0.9505))


@pytest.mark.parametrize(
    ("kind", "corners", "gamma", "lost"),
    [
        (b"BGRs", (), 0, False),
        (bytes(4), (), 0, False),
        (bytes(4), ((0, 0, 0), (0, 0, 0), (0, 0, 1e-9)), 0, False),
        (bytes(4), CORNERS, 0.45455, False),
        (bytes(4), XYZ, 2.2, False),
        (bytes(4), CORNERS, 1, True),
        (bytes(4), ((0.68, 0.32, 0), *CORNERS[1:]), 2.2, True),
        (b"KNIL", (), 0, True),
    ],
)
def test_colours_of_a_bmp_that_are_not_srgb_are_named(
    kind: bytes, corners: Any, gamma: float, lost: bool
) -> None:
    plain = pillow_bytes(Image.fromarray(PIXELS), "BMP")
    numbers = [round(value * (1 << 30)) for point in corners for value in point] or [0] * 9
    head = struct.pack("<I", 108) + plain[18:54] + bytes(16) + kind + struct.pack("<9i", *numbers)
    head += struct.pack("<3I", *[round(gamma * 65536)] * 3)
    metadata = read_photo(b"BM" + struct.pack("<IHHI", 0, 0, 0, 122) + head + plain[54:]).metadata
    assert metadata.lost == ("the colour space, which was taken for sRGB",) * lost


def test_pixels_that_are_not_square_are_carried_or_named() -> None:
    jpeg = bytearray(encode_photo(Photo(PIXELS), "jpeg"))
    jpeg[13:18] = struct.pack(">BHH", 0, 4, 3)
    chunk = png_chunk(b"pHYs", struct.pack(">IIB", 4, 3, 0))
    for data in (bytes(jpeg), png(chunk)):
        assert read_photo(data).metadata.lost == (NOT_SQUARE,)
    for down, lost in ((3, (NOT_SQUARE,)), (4, ())):
        items = Items(((b"pasp", struct.pack(">II", 4, down)),), b"", b"", 0)
        assert metadata_of(items, False).lost == lost
    wide = pillow_bytes(Image.fromarray(PIXELS), "BMP", dpi=(100, 200))
    for format in ("png", "tiff"):
        photo = read_photo(encode_photo(read_photo(wide), format))
        found = photo.metadata.resolution or resolution_of(photo.metadata.exif)
        assert found == pytest.approx((100, 200), abs=0.05)


def jpeg_with(xmp: bytes, tail: bytes = b"") -> bytes:
    return encode_photo(Photo(PIXELS, Metadata(xmp=xmp)), "jpeg") + tail


@pytest.mark.parametrize("source", ["jpeg", "png", "webp"])
def test_xmp_claims_nothing_that_is_gone(source: str) -> None:
    # An attribute without a prefix hides none that follow.
    camera = b'about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    title = b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="A > hill" '
    container = b'xmlns:C="http://ns.google.com/photos/1.0/container/" '
    items = (
        b'<C:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><C:Item C:Mime="video/mp4"/>'
        b"</rdf:li></rdf:Seq></C:Directory>"
    )
    gain = b"xmlns:hdrgm=\"http://ns.adobe.com/hdr-gain-map/1.0/\" hdrgm:Version='1.0' "
    motion = b'GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="4000" GCamera:SpecialType="3" '
    element = b"<GCamera:MicroVideo>1</GCamera:MicroVideo ><C:Directory/>"
    rights = b"<dc:rights>mine</dc:rights>"
    start = HEAD + camera + motion + title + container + gain + b">"
    xmp = start + element + rights + b"<C:Directory />" + items + TAIL
    photo = Photo(PIXELS, Metadata(xmp=xmp))
    found = read_photo(encode_photo(photo, source)).metadata
    for claim in (b"MotionPhoto", b"MicroVideo", b"C:Directory", b"video/mp4", b"hdrgm:Version"):
        assert claim not in found.xmp
    assert b'GCamera:SpecialType="3"' in found.xmp
    assert b'dc:title="A > hill"' in found.xmp
    space = gain[: gain.index(b" hdrgm:V")]
    special = b' GCamera:SpecialType="3" '
    start = HEAD + camera.strip() + special + title + container + space + b" >"
    assert found.xmp == start + rights + TAIL
    assert set(found.lost) == {"the video of a motion photo", "the gain map for HDR displays"}


def test_xmp_that_cannot_be_trusted_is_left_out_where_it_claims_something() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>http://ns.adobe.com/hdr-gain-map/1.0/ &a;</x>'
    odd = b'<?xml version="1.0" encoding="no"?><x>http://ns.adobe.com/hdr-gain-map/1.0/</x>'
    for xmp in (bomb, odd):
        metadata = read_photo(jpeg_with(xmp)).metadata
        assert (metadata.xmp, metadata.lost) == (b"", ("XMP, which is damaged",))
    harmless = b"<not really xml"
    assert read_photo(jpeg_with(harmless)).metadata.xmp == harmless


def test_an_extension_that_stays_behind_is_not_claimed() -> None:
    photo = Photo(PIXELS, Metadata(xmp=extended(XMP), xmp_extension=EXTENSION))
    assert b"HasExtendedXMP" in read_photo(encode_photo(photo, "jpeg")).metadata.xmp
    for target in ("png", "tiff", "webp"):
        metadata = read_photo(encode_photo(photo, target)).metadata
        assert b"HasExtendedXMP" not in metadata.xmp
        assert b"A hill" in metadata.xmp
    alone = read_photo(jpeg_with(extended(XMP))).metadata
    assert b"HasExtendedXMP" not in alone.xmp
    assert alone.lost == ("the extended XMP, which is missing or incomplete",)
    parts = encode_photo(photo, "jpeg")
    second = parts.rindex(b"\xff\xe1")
    end = second + 2 + int.from_bytes(parts[second + 2 : second + 4], "big")
    incomplete = read_photo(parts[:second] + parts[end:]).metadata
    assert (incomplete.xmp_extension, incomplete.lost) == (b"", alone.lost)


def test_what_follows_a_jpeg_is_named() -> None:
    data = encode_photo(Photo(PIXELS), "jpeg")
    video = b"\0\0\0\x18ftypmp42" + bytes(4000)
    assert read_photo(data + video).metadata.lost == ("the video of a motion photo",)
    assert read_photo(data + data).metadata.lost == ("further pictures in the file",)
    assert read_photo(data + bytes(100)).metadata.lost == ()


@pytest.mark.parametrize("format", ["png", "webp"])
def test_what_follows_other_pictures_is_named(format: str) -> None:
    data = encode_photo(Photo(PIXELS), format)
    assert read_photo(data + bytes(5000)).metadata.lost == ("data after the picture's end",)
    assert read_photo(data + bytes(100)).metadata.lost == ()


def test_cicp_wins_over_a_profile_in_every_format() -> None:
    adobe = make_profile(ADOBE_RGB, ADOBE_CURVE, False, "Adobe RGB")
    for cicp in (SRGB, bytes((12, 13, 0, 1))):
        profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(adobe))
        photo = read_photo(png(png_chunk(b"cICP", cicp), profile))
        for format in ("jpeg", "tiff", "webp"):
            assert read_photo(encode_photo(photo, format)).metadata.icc == profile_of_cicp(
                cicp, False
            )


@pytest.mark.parametrize("target", ["bmp", "jpeg", "pnm"])
@pytest.mark.parametrize("channels", [2, 4])
def test_an_opaque_alpha_is_no_obstacle(target: str, channels: int) -> None:
    color = PIXELS[..., : channels - 1]
    pixels = np.dstack([color, np.full(PIXELS.shape[:2], 255, np.uint8)])
    again = read_photo(encode_photo(Photo(pixels), target)).pixels
    assert np.array_equal(again, read_photo(encode_photo(Photo(color.copy()), target)).pixels)


def test_stripping_names_what_the_file_held_beside_its_metadata() -> None:
    metadata = Metadata(exif=exif_block(), text=(("Title", "x"),), lost=("the depth map",))
    photo = Photo(PIXELS, metadata)
    assert list_losses(photo, "png", strip_metadata=True) == ("the depth map",)
    assert read_photo(encode_photo(photo, "png", strip_metadata=True)).metadata == Metadata()
    for colours in (Metadata(icc=PROFILE), Metadata(cicp=DISPLAY_P3)):
        stripped = encode_photo(
            Photo(PIXELS, replace(colours, xmp=XMP)), "png", strip_metadata=True
        )
        assert read_photo(stripped).metadata == colours
    assert list_losses(replace(photo, metadata=Metadata()), "pnm") == ()


def test_what_follows_a_jpeg_xl_is_named() -> None:
    data = encode_photo(Photo(PIXELS, Metadata(xmp=HEAD + b">" + TAIL)), "jxl")
    found = read_photo(data + b"\xff" * 5000)
    assert found.metadata.lost == ("data after the picture's end",)
    assert found.pixels.shape == PIXELS.shape


@pytest.mark.parametrize(
    ("beside", "word"),
    [
        (build_box(b"mpvd", bytes(5000)), "the video of a motion photo"),
        (
            build_box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(50)),
            "content credentials",
        ),
        (build_box(b"sefd", bytes(5000)), "private data of the camera or an editor"),
        (b"\xff" * 5000, "data after the picture's end"),
        (build_box(b"free", bytes(5000)), None),
        (build_box(b"sefd", bytes(50)), None),
    ],
)
def test_what_lies_beside_the_picture_of_an_avif_is_named(beside: bytes, word: str | None) -> None:
    found = read_photo(encode_photo(Photo(PIXELS), "avif") + beside)
    assert found.metadata.lost == ((word,) if word else ())
    assert "avif" in found.format


@pytest.mark.parametrize(
    ("name", "size", "word"),
    [
        (b"C2PA", 50, "content credentials"),
        (b"mine", 5000, "private data of the camera or an editor"),
        (b"mine", 50, None),
    ],
)
def test_what_lies_beside_the_picture_of_a_webp_is_named(
    name: bytes, size: int, word: str | None
) -> None:
    data = encode_photo(Photo(PIXELS), "webp")
    data += name + struct.pack("<I", size) + bytes(size)
    found = read_photo(b"RIFF" + struct.pack("<I", len(data) - 8) + data[8:])
    assert found.metadata.lost == ((word,) if word else ())
    assert found.pixels.shape == PIXELS.shape


def test_exif_in_several_segments_is_joined() -> None:
    exif = Image.Exif()
    exif[270], exif[315] = "x" * 70_000, "Anna"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    parts = [block[:60_000], block[60_000:]]
    segments = [b"\xff\xe1" + struct.pack(">H", len(p) + 8) + b"Exif\0\0" + p for p in parts]
    data = encode_photo(Photo(PIXELS), "jpeg")
    photo = read_photo(data[:2] + b"".join(segments) + data[2:])
    assert photo.metadata.exif == block
    assert "EXIF" in list_losses(photo, "jpeg")
    assert not list_losses(photo, "png")


def test_what_photoshop_says_of_copyright_is_named() -> None:
    flag = b"8BIM\x04\x0a\0\0\0\0\0\x01\x01\0"
    segment = b"Photoshop 3.0\0" + flag
    data = encode_photo(Photo(PIXELS), "jpeg")
    marked = data[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert any("copyright" in word for word in read_photo(marked).metadata.lost)


def test_a_curve_that_a_tiff_states_without_a_profile_is_named() -> None:
    curve = (301, 3, 256, [257 * level for level in range(256)], True)
    photo = read_photo(tiff_bytes(PIXELS, photometric="rgb", extratags=[curve]))
    assert photo.metadata.lost == ("the tone curve of the colours",)


def test_a_grey_photo_comes_back_grey_from_webp() -> None:
    grey = PIXELS[..., :1]
    channels = read_photo(encode_photo(Photo(grey), "webp")).pixels
    assert (channels == channels[..., :1]).all()
    # Lossless ones, and colours, stay as they are.
    tinted = np.dstack([grey, grey, grey + 1])
    exact = pillow_bytes(Image.fromarray(tinted), "WEBP", lossless=True)
    assert np.array_equal(read_photo(exact).pixels, tinted)
