"""What cannot be read is refused in one clear sentence, and never read by halves."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from pictures import Array, first_page, pillow_bytes, png_chunk, tiff_bytes
from PIL import Image

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import Photo, encode_photo, read_photo

FORMATS = ["jpeg", "png", "webp", "bmp", "pnm", "tiff", "heic", "avif", "jxl"]


def smooth(height: int = 64, width: int = 48) -> Array:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2))


def refusal(source: Path | bytes, name: str | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_photo(source, name)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
def test_half_a_file_is_an_error(
    format: str, share: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encode_photo(Photo(smooth()), format)
    path = tmp_path / "photo.bin"
    # A JPEG without the last byte of its end marker still has all of its rows.
    for part in (data[: int(len(data) * share)], data[: -3 if format == "jpeg" else -1]):
        path.write_bytes(part)
        assert "photo.bin" in str(refusal(path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("box", "kind", "coding"),
    [
        (b"avcC", b"avc1", "AVC"),
        (b"j2kH", b"j2k1", "JPEG 2000"),
        (b"uncC", b"unci", "uncompressed"),
    ],
)
def test_a_heic_in_another_coding_is_not_called_damaged(
    box: bytes, kind: bytes, coding: str
) -> None:
    data = encode_photo(Photo(smooth()), "heic")
    message = str(refusal(data.replace(b"hvc1", kind).replace(b"hvcC", box)))
    assert coding in message
    assert "damaged" not in message


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "jpeg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_a_tiff_is_an_error(compression: str | None, share: float) -> None:
    data = tiff_bytes(smooth(), photometric="rgb", compression=compression, rowsperstrip=8)
    refusal(data[: int(len(data) * share)])


def test_half_a_progressive_jpeg_is_an_error() -> None:
    data = pillow_bytes(Image.fromarray(smooth()), "JPEG", progressive=True)
    # Also where a scan ends and the next ones, which make the picture sharp, are missing.
    ends = [data.index(b"\xff\xc4", at) for at in range(len(data) // 2, len(data) - 400, 100)]
    # Without the end marker alone, it is whole.
    for size in (*range(len(data) // 4, len(data) - 2, len(data) // 8), *ends):
        for tail in (b"", bytes(len(data) - size), b"\xff\xd9"):
            assert "is cut short" in str(refusal(data[:size] + tail))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_read_if_all_rows_are_there(progressive: bool) -> None:
    data = pillow_bytes(Image.fromarray(smooth()), "JPEG", progressive=progressive)
    expected = read_photo(data).pixels
    trailer = b"\0\0\1\n\x0e\0\0\0Image_UTC_Data1500000000000" + bytes(range(256)) * 8 + b"SEFT"
    for tail in (b"", b"\xff", bytes(500), trailer):
        assert np.array_equal(read_photo(data[:-2] + tail).pixels, expected), tail[:10]
    for missing in (3, 10, 40):
        for tail in (b"", bytes(500), b"\xff" * 500, b"\xff\xd9"):
            refusal(data[:-missing] + tail)


def test_bytes_between_the_segments_of_a_jpeg_do_not_matter() -> None:
    data = encode_photo(Photo(smooth()), "jpeg")
    captions = b"\xff\xed\0\x08Photos"
    # The segment is longer than it says, as Photoshop once wrote it.
    broken = data[:2] + captions + b"hop 3.0\0" + data[2:]
    assert np.array_equal(read_photo(broken).pixels, read_photo(data).pixels)


def test_bmps_of_other_kinds_are_not_called_damaged() -> None:
    masks = struct.pack("<3I", 0xFF00, 0xFF, 0xFF0000)
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 32, 3, 16, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 82, 0, 0, 66) + head + masks + bytes(16)
    assert "cannot be read here" in str(refusal(data))


def test_jpegs_of_other_kinds_are_named() -> None:
    head = b"\xff\xd8\xff%c\0\x0b\x08\0\x28\0\x32\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\0\0"
    tail = b"\x12" * 90 + b"\xff\xd9"
    assert "is a JPEG-LS" in str(refusal(head % 0xF7 + tail))
    assert "is a lossless JPEG" in str(refusal(head % 0xC3 + tail))


@pytest.mark.parametrize("format", FORMATS)
def test_damage_never_prints_or_escapes(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode_photo(Photo(smooth()), format)
    random = np.random.default_rng(1)
    for _ in range(40):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 5):
            broken[at] = random.integers(256)
        with contextlib.suppress(ImageError):
            read_photo(bytes(broken))
    assert capfd.readouterr().err == ""


def test_what_phones_append_to_a_jpeg_does_not_matter() -> None:
    data = encode_photo(Photo(smooth()), "jpeg")
    expected = read_photo(data).pixels
    for tail in (b"MotionPhoto_Data" + bytes(500), data, b"\xff\xd8\xff"):
        assert np.array_equal(read_photo(data + tail).pixels, expected)


def test_text_and_nothing_are_no_photos(tmp_path: Path) -> None:
    path = tmp_path / "letter.png"
    path.write_text("Dear photographer")
    assert "letter.png is not a photo" in str(refusal(path))
    path.write_bytes(b"")
    assert "letter.png is empty" in str(refusal(path))


def test_missing_folder_and_forbidden(tmp_path: Path) -> None:
    assert "does not exist" in str(refusal(tmp_path / "no.png"))
    assert "is a folder" in str(refusal(tmp_path))
    path = tmp_path / "secret.png"
    path.write_bytes(encode_photo(Photo(smooth()), "png"))
    path.chmod(0)
    if not os.access(path, os.R_OK):
        assert "may not read" in str(refusal(path))


@pytest.mark.parametrize("when", [0, 1])
def test_a_failing_disk_is_not_taken_for_a_damaged_photo(
    when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encode_photo(Photo(smooth()), "png"))

    class Failing(io.FileIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            if self.reads > when:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(-1 if size is None else size) or b""

    monkeypatch.setattr(Path, "open", lambda path, _: Failing(path))
    assert str(refusal(path)) == f"{path} cannot be read: Input/output error."


def test_a_png_of_apples_is_not_taken_for_a_huge_one() -> None:
    plain = encode_photo(Photo(np.zeros((4, 4, 3), np.uint8)), "png")
    own = plain[:8] + png_chunk(b"CgBI", b"P\0 \2") + plain[8:]
    assert "is a PNG for Apple's devices alone" in str(refusal(own))
    assert "damaged" in str(refusal(plain[:12] + b"IxDR" + plain[16:]))


def test_bytes_are_called_by_their_name() -> None:
    assert str(refusal(b"", "standard input")) == "standard input is empty."
    assert str(refusal(b"")) == "The input is empty."


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x18ftypcrx ", "camera raw"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw"),
        (b"II*\0\x10\0\0\0CR\x02\0", "camera raw"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?><svg xmlns="">', "SVG"),
    ],
)
def test_foreign_formats_are_named(head: bytes, what: str) -> None:
    assert what in str(refusal(head + bytes(64)))


def test_raw_files_are_told_from_the_tiffs_they_look_like() -> None:
    thumbnail, sensor = smooth(16, 16), smooth(32, 32)[..., 0].astype(np.uint16)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(thumbnail, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        tiff.write(sensor, photometric="cfa", metadata=None)
    error = refusal(buffer.getvalue())
    assert "camera raw file, but not named as one" in str(error)
    assert ".dng" in error.hint
    plain = tiff_bytes(thumbnail, photometric="rgb")
    assert "camera raw" in str(refusal(plain, "photo.NEF"))


def test_cmyk_is_refused() -> None:
    image = Image.fromarray(smooth()).convert("CMYK")
    for format in ("JPEG", "TIFF"):
        error = refusal(pillow_bytes(image, format))
        assert f"CMYK {format}" in str(error)
        assert "sRGB" in error.hint


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    for format in ("WEBP", "PNG"):
        data = pillow_bytes(frames[0], format, save_all=True, append_images=frames[1:])
        assert "animation" in str(refusal(data))


def test_an_animation_of_one_frame_is_a_photograph() -> None:
    png = encode_photo(Photo(smooth()), "png")
    control = png_chunk(b"acTL", struct.pack(">II", 1, 0))
    control += png_chunk(
        b"fcTL", struct.pack(">5I2H2B", 0, *smooth().shape[1::-1], 0, 0, 1, 9, 0, 0)
    )
    assert np.array_equal(read_photo(png[:33] + control + png[33:]).pixels, smooth())


@pytest.mark.parametrize("dtype", ["int16", "uint32", "int8", "complex64"])
def test_tiffs_of_other_numbers_are_refused(dtype: str) -> None:
    data = tiff_bytes(np.ones((8, 8), dtype), photometric="minisblack")
    assert "bit" in str(refusal(data))


def test_floats_must_have_white_at_one() -> None:
    for sign, word in ((1, "white"), (-1, "black")):
        error = refusal(tiff_bytes(sign * smooth().astype(np.float32), photometric="rgb"))
        assert word in str(error)
        assert f"{word} level" in error.hint
    bright = np.full((4, 4, 1), 15.5, np.float32)
    assert read_photo(tiff_bytes(bright, photometric="minisblack")).pixels.max() == 15.5


def test_pages_are_counted_but_not_thumbnails() -> None:
    pages = np.stack([smooth()] * 3)
    assert "3 pages" in str(refusal(tiff_bytes(pages, photometric="rgb")))
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(smooth()[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        tiff.write(smooth(), photometric="rgb", subifds=1, metadata=None)
        tiff.write(smooth()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    assert np.array_equal(read_photo(buffer.getvalue()).pixels, smooth())


def test_the_photo_is_found_behind_its_thumbnail() -> None:
    for thumbnail in ({"subfiletype": 1}, {}):
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as tiff:
            described = [(315, 2, None, "Someone", True)]
            options = {"photometric": "rgb", "metadata": None}
            tiff.write(smooth()[::4, ::4], subifds=1, extratags=described, **thumbnail, **options)
            tiff.write(smooth(), **options)
        photo = read_photo(buffer.getvalue())
        assert np.array_equal(photo.pixels, smooth())
        assert b"Someone" in photo.metadata.exif


def test_several_pictures_below_one_page_are_refused() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for number in (1, None):
            tiff.write(smooth(), subifds=number, photometric="rgb", metadata=None)
    assert "2 pages" in str(refusal(buffer.getvalue()))


@pytest.mark.parametrize("options", [{"imagej": True}, {}])
def test_a_stack_behind_one_directory_is_refused(options: dict[str, bool]) -> None:
    stack = np.stack([smooth()[..., 0]] * 5)
    data = tiff_bytes(stack, photometric="minisblack", truncate=True, **options)
    assert "a stack of 5 pictures" in str(refusal(data))
    one = tiff_bytes(stack[0], photometric="minisblack", truncate=True, **options)
    assert np.array_equal(read_photo(one).pixels[..., 0], stack[0])


@pytest.mark.parametrize("photometric", ["cielab", "icclab", "ycbcr"])
def test_tiffs_of_other_colours_are_refused(photometric: str) -> None:
    data = bytearray(tiff_bytes(smooth(), photometric="rgb", byteorder="<"))
    at = first_page(data).tags[262].valueoffset
    struct.pack_into("<H", data, at, tifffile.PHOTOMETRIC[photometric.upper()])
    error = refusal(bytes(data))
    assert photometric.upper() in str(error)


def test_extra_channels_are_refused() -> None:
    data = tiff_bytes(np.dstack([smooth(), smooth()]), photometric="rgb", planarconfig="contig")
    assert "6 channels" in str(refusal(data))


def test_a_png_that_claims_to_be_enormous_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encode_photo(Photo(smooth()), "png"))
    struct.pack_into(">II", data, 16, 2**31 - 1, 2**31 - 1)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    assert "claims to be 2147483647 x 2147483647 pixels" in str(refusal(bytes(data)))
    assert capfd.readouterr().err == ""


def test_what_decoders_ignore_in_a_baseline_jpeg_does_not_make_it_incomplete() -> None:
    data = bytearray(pillow_bytes(Image.fromarray(smooth()), "JPEG"))
    at = data.index(b"\xff\xda") + 5
    at += 2 * data[at - 1]
    assert data[at : at + 3] == bytes((0, 63, 0))
    expected = read_photo(bytes(data)).pixels
    data[at : at + 3] = bytes(3)
    assert np.array_equal(read_photo(bytes(data)).pixels, expected)


def test_channels_of_different_depths_are_refused() -> None:
    data = bytearray(tiff_bytes(smooth()[..., :3], photometric="rgb", byteorder="<"))
    at = data.index(struct.pack("<3H", 8, 8, 8))
    data[at : at + 6] = struct.pack("<3H", 5, 6, 5)
    assert "different numbers of bits" in str(refusal(bytes(data)))


def test_a_jpeg_cut_short_before_another_is_an_error() -> None:
    data = encode_photo(Photo(smooth()), "jpeg")
    assert "cut short" in str(refusal(data[: len(data) // 2] + data))


def test_a_tiff_whose_writer_never_finished_is_an_error() -> None:
    data = bytearray(tiff_bytes(smooth(), photometric="rgb", compression="zlib", rowsperstrip=16))
    tag = first_page(data).tags[273]
    struct.pack_into("<I", data, tag.valueoffset + 4, 0)
    assert "damaged" in str(refusal(bytes(data)))
    struct.pack_into("<I", data, tag.valueoffset + 4, len(data))
    assert "cut short" in str(refusal(bytes(data)))


def test_several_netpbm_pictures_in_a_row_are_refused() -> None:
    data = encode_photo(Photo(smooth()), "pnm")
    assert "several pictures" in str(refusal(data + data))
