"""Small files of every format that the tool reads, from which the fuzzer makes damaged ones."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pictures import noise, pillow_bytes, tiff_bytes
from PIL import Image, ImageCms

from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.imaging.photo import Metadata, Photo

HEIGHT, WIDTH = 30, 44


def photo_seeds() -> Iterator[tuple[str, bytes]]:
    """Yield the format and the content of photos of 44 x 30 pixels."""
    metadata = Metadata(_exif(), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", _profile())
    for name, codec in CODECS.items():
        if not codec.encode:
            continue
        for dtype in codec.dtypes:
            for channels in (1, 3, 4) if codec.alphas else (1, 3):
                pixels = noise(HEIGHT, WIDTH, channels, dtype)
                about = Metadata(metadata.exif, metadata.xmp) if channels == 1 else metadata
                file = io.BytesIO()
                codec.encode(Photo(pixels, about, name), file, 90)
                yield name, file.getvalue()
    yield from _by_others()


def weight_seeds() -> Iterator[tuple[str, bytes]]:
    """Yield the format and the content of files of weights."""
    from weights_files import author_network, tiny_checkpoint

    from ssbsn_cli.core.model.descriptor import Descriptor
    from ssbsn_cli.core.weights.checkpoints import encode_checkpoint

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a"
        yield "pth", tiny_checkpoint(path).read_bytes()
        yield "pth", tiny_checkpoint(path, _use_new_zipfile_serialization=False).read_bytes()
        descriptor = Descriptor("ssbsn", {"channels": 4, "blocks": ["plain", "ss"]}, refine="once")
        path.write_bytes(
            encode_checkpoint(author_network().state_dict(), descriptor, {"licence": "none"})
        )
        yield "safetensors", path.read_bytes()


def _by_others() -> Iterator[tuple[str, bytes]]:
    """Kinds of files that this package does not write but reads."""
    from test_imaging_raw import dng

    yield "raw", dng(noise(HEIGHT, WIDTH, 3) / 255)
    rgb = Image.fromarray(noise(HEIGHT, WIDTH, 3))
    grey, palette = rgb.convert("L"), rgb.quantize(16)
    exif = {"exif": b"Exif\0\0" + _exif()}
    yield "jpeg", pillow_bytes(rgb, "JPEG", progressive=True, **exif)
    yield "jpeg", pillow_bytes(rgb, "JPEG", subsampling=2, restart_marker_blocks=2)
    yield "jpeg", pillow_bytes(rgb.convert("CMYK"), "JPEG")
    for image in (palette, rgb.convert("1"), rgb.convert("LA"), Image.new("I;16", (44, 30), 999)):
        yield "png", pillow_bytes(image, "PNG")
    yield "png", pillow_bytes(palette, "PNG", transparency=3, dpi=(300, 300))
    yield "webp", pillow_bytes(rgb, "WEBP", lossless=True, **exif)
    yield "webp", pillow_bytes(rgb.convert("RGBA"), "WEBP", **exif)
    for image in (palette, rgb.convert("1"), grey, rgb.convert("RGBA")):
        yield "bmp", pillow_bytes(image, "BMP")
    for image in (rgb.convert("1"), grey, rgb):
        yield "pnm", pillow_bytes(image, "PPM")
    yield "pnm", b"P3\n# text\n2 2\n255\n" + b"1 2 3 " * 4
    yield "pnm", b"P2 3 2 65535 1 2 3 4 5 60000\n"
    pixels = noise(HEIGHT, WIDTH, 3, "uint16")
    options: list[dict[str, Any]] = [
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True},
        {"rowsperstrip": 7, "software": "none", "description": "a photo"},
        {"planarconfig": "separate", "photometric": "rgb"},
    ]
    for option in options:
        planar = "planarconfig" in option
        yield "tiff", tiff_bytes(np.moveaxis(pixels, 2, 0) if planar else pixels, **option)
    for compression in ("tiff_lzw", "packbits", "jpeg"):
        yield "tiff", pillow_bytes(rgb, "TIFF", compression=compression)
    yield "tiff", pillow_bytes(palette, "TIFF")


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769)[0x829A] = (1, 60)
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
