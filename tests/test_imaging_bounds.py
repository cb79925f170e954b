"""No file takes more time or memory than what it honestly holds."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import memory
import numpy as np
import pytest
import tifffile
from pictures import pillow_bytes, png_chunk, tiff_bytes
from PIL import Image

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo, read_photo
from ssbsn_cli.core.imaging.codec import Codec
from ssbsn_cli.core.imaging.exif import parse_exif
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.imaging.tiff import TIFF

WRITTEN = {name: codec for name, codec in CODECS.items() if codec.encode}
SMALL = Image.fromarray(np.full((40, 30, 3), (90, 120, 60), np.uint8))


def refusal(data: bytes) -> str:
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        read_photo(data)
    assert time.process_time() - start < 5
    return str(caught.value)


def tiff_of(
    entries: list[tuple[int, int, int, int]], following: int = 0, tail: bytes = b""
) -> bytes:
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    return head + table + struct.pack("<I", following) + tail


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "jpegxl", "png", "webp"])
def test_a_larger_picture_than_a_tile_claims_is_not_decoded(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.full((64, 96, 3), (90, 120, 60), np.uint8)
    data = tiff_bytes(pixels, photometric="rgb", compression=compression, tile=(64, 96))
    assert read_photo(data).pixels.shape == pixels.shape
    decoded: list[object] = []
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_, **__: decoded.append(None))
    for tag in ("TileWidth", "TileLength"):
        with tifffile.TiffFile(file := io.BytesIO(data), mode="r+") as tiff:
            for name in (tag, tag.replace("Tile", "Image")):
                tiff.pages[0].tags[name].overwrite(32)
        assert "damaged TIFF" in refusal(file.getvalue())
    assert not decoded


@pytest.mark.parametrize("codec", WRITTEN.values(), ids=WRITTEN)
def test_the_limit_of_pixels_is_decided_before_decoding(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    # HEVC stores no sides that are shorter.
    data = encode_photo(Photo(np.zeros((72, 64, 3), np.uint8)), codec.name)
    assert read_photo(data, max_pixels=4608).pixels.shape == (72, 64, 3)
    decoded = []
    spy = Codec(**{**vars(codec), "decode": lambda stream: decoded.append(stream)})
    monkeypatch.setattr("ssbsn_cli.core.imaging.reading.sniff", lambda *_: spy)
    with pytest.raises(ImageError, match="64 x 72 pixels, more than the limit of 4607") as caught:
        read_photo(data, max_pixels=4607)
    assert "--max-pixels" in caught.value.hint
    assert not decoded


def test_tiny_files_that_claim_to_be_huge_are_cut_short() -> None:
    jpeg = bytearray(pillow_bytes(SMALL, "JPEG"))
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, 20000, 20000)
    assert "cut short" in refusal(bytes(jpeg))
    runs = struct.pack("<IiiHHIIiiII", 40, 20000, 20000, 1, 8, 1, 100, 0, 0, 256, 0)
    bmp = b"BM" + struct.pack("<IHHI", 1178, 0, 0, 1078) + runs + bytes(1024) + b"\0\2\xff\xff" * 25
    assert "cut short" in refusal(bmp)
    assert "cut short" in refusal(b"P6 20000 20000 255 " + bytes(100))
    assert "cut short" in refusal(b"P3 20000 20000 255 1 2 3")


@pytest.mark.parametrize("following", [8, 10, 20, 21, 34])
def test_directories_that_lead_in_a_circle_end(following: int) -> None:
    entries = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 10), (279, 4, 1, 100)]
    data = tiff_of(entries, following).ljust(300, b"\0")
    start = time.process_time()
    with contextlib.suppress(ImageError):
        assert read_photo(data).pixels.shape == (10, 10, 1)
    assert time.process_time() - start < 5


def test_very_many_directories_are_refused() -> None:
    data = b"II*\0\x08\0\0\0"
    for _ in range(100_000):
        data += struct.pack("<HHHIII", 1, 256, 4, 1, 10, len(data) + 18)
        if len(data) > 1_800_000:
            break
    assert "more than 64 pages" in refusal(data)


def test_long_descriptions_are_refused() -> None:
    text = b"<OME>" * (2 << 20)
    entries = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(270, 2, len(text), 134), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 10)]
    entries += [(279, 4, 1, 100)]
    assert "more text than a photo has" in refusal(tiff_of(entries, tail=text))


INFLATE = """
import sys
from pathlib import Path
from memory import peak
from ssbsn_cli.core.imaging import read_photo
before = peak()
try:
    print(read_photo(Path(sys.argv[1])).pixels.shape)
except Exception as error:
    print(error)
print((peak() - before) >> 20)
"""


@pytest.mark.skipif(not memory.STATUS.exists(), reason="needs /proc")
def test_inflating_stops_at_the_size_that_is_claimed(tmp_path: Path) -> None:
    deflate = zlib.compressobj(9)
    packed = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(300)) + deflate.flush()
    entries = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 122), (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, len(packed))]
    path = tmp_path / "bomb.tif"
    path.write_bytes(tiff_of(entries, tail=packed))
    command = [sys.executable, "-c", INFLATE, str(path)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
    )
    answer, grown = done.stdout.splitlines()
    assert "damaged TIFF" in answer
    assert int(grown) < 100


def test_very_many_scans_are_refused() -> None:
    data = pillow_bytes(SMALL, "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    assert "more than 100 scans" in refusal(data[:at] + data[at:-2] * 200 + data[-2:])


def test_profiles_and_texts_of_a_png_inflate_to_little() -> None:
    plain = encode_photo(Photo(np.asarray(SMALL)), "png")
    bomb = zlib.compress(bytes(100 << 20), 9)
    chunks = (
        png_chunk(b"iCCP", b"p\0\0" + bomb) * 100 + png_chunk(b"zTXt", b"Title\0\0" + bomb) * 100
    )
    start = time.process_time()
    photo = read_photo(plain[:33] + chunks + plain[33:])
    assert time.process_time() - start < 5
    assert photo.metadata == Metadata(lost=("metadata that are damaged",))


def test_a_netpbm_header_is_read_in_one_way_only() -> None:
    start = time.process_time()
    for text in (
        b"P2" + b" " * 500_000 + b"x",
        b"P2" + b"#\n" * 200_000,
        b"P2\n#" + b" #" * 100_000,
    ):
        with pytest.raises(ImageError):
            read_photo(text)
    assert time.process_time() - start < 5


def test_exif_whose_directories_multiply_is_read_quickly() -> None:
    pointers = [(34665, 4, 1, 8)] * 60_000
    exif = tiff_of(pointers)
    start = time.process_time()
    read_photo(encode_photo(Photo(np.asarray(SMALL), Metadata(exif)), "png"))
    assert time.process_time() - start < 5


def test_values_that_overlap_take_no_more_room_than_the_block_has() -> None:
    block = tiff_of([(40092 + i % 3, 7, 50_000, 0) for i in range(3)]) + bytes(50_000)
    found = parse_exif(block)[1]
    assert sum(len(item.data) for item in found.values()) <= len(block)


@pytest.mark.parametrize(
    "xmp",
    [
        b"<?xpacket " * 200_000,
        b'<x xmlns:G="http://ns.google.com/photos/1.0/camera/">'
        + b"<G:MotionPhoto>1</G:MotionPhoto>" * 60_000
        + b"</x>",
    ],
)
def test_hostile_xmp_is_read_and_written_quickly(xmp: bytes) -> None:
    start = time.process_time()
    photo = Photo(np.asarray(SMALL), Metadata(xmp=xmp))
    encode_photo(photo, "jpeg")
    read_photo(encode_photo(photo, "png"))
    assert time.process_time() - start < 5


def test_a_palette_of_the_wrong_length_is_damaged() -> None:
    data = bytearray(pillow_bytes(SMALL.quantize(8), "TIFF"))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        tag = tiff.pages.first.tags[320]
    struct.pack_into("<I", data, tag.offset + 4, 300)
    assert "damaged TIFF" in refusal(bytes(data))


def test_a_large_tiff_is_still_read_without_a_limit() -> None:
    # It is never in memory as a whole.
    assert TIFF.measure is not None
    data = tiff_bytes(np.asarray(SMALL), photometric="rgb")
    assert TIFF.measure(io.BytesIO(data)) == (30, 40)


def test_items_whose_places_take_no_bytes_are_not_counted_for_ever() -> None:
    data = encode_photo(Photo(np.zeros((16, 16, 3), np.uint8)), "avif")
    table = data.index(b"iloc") + 8
    # Places of 0 bytes, and for each of 65,535 items as many of them.
    damaged = data[:table] + b"\0\0\xff\xff" + data[table + 4 :] + b"\xff" * 400_000
    assert "damaged AVIF" in refusal(damaged)
