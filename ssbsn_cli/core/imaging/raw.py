"""Camera raw files, developed by LibRaw."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.imaging.codec import Codec, Refusal
from ssbsn_cli.core.imaging.exif import EXIF_IFD, Directory, Entry, build_exif
from ssbsn_cli.core.imaging.photo import Photo, Pixels
from ssbsn_cli.core.imaging.profile import (
    ADOBE_CURVE,
    ADOBE_RGB,
    PRIMARIES,
    SRGB_CURVE,
    encode_light,
    make_profile,
)
from ssbsn_cli.core.imaging.raw_tags import check_whole, read_dng_exposure, read_raw_metadata
from ssbsn_cli.core.types import RawSpace

if TYPE_CHECKING:
    import rawpy

_EXTENSIONS = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef "
    ".raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"
)
# Panasonic and Leica use it, and so do programs that write only the values of a sensor.
HEADERLESS = ".raw"
_MAGIC = (
    b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb",
    b"II\x1a\0\0\0HEAPCCDR",
)  # fmt: skip
_UNKNOWN_COLORS = "true colours because LibRaw has no colour matrix for the camera"
_UNKNOWN_WHITE = "true white because the file has no white balance and it was guessed"
_STEPS = 65536
# Light above this is compressed; a sky that saturated the sensor ends at 95 %.
_KNEE = 0.8


# LibRaw's name of a space; x and y of its white, red, green and blue; its curve as in a profile.
_SPACES: dict[RawSpace, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "srgb": ("sRGB", PRIMARIES[1], SRGB_CURVE),
    "p3": ("P3D65", PRIMARIES[12], SRGB_CURVE),
    "adobe": ("Adobe", ADOBE_RGB, ADOBE_CURVE),
    "prophoto": (
        "ProPhoto", (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), (1.8,)
    ),
}  # fmt: skip


def develop(stream: BinaryIO, space: RawSpace = "srgb") -> Photo:
    """Turn a camera raw file into a 16-bit photo in a colour space, without removing noise.

    The white balance is the camera's. Brightness is that of a linear development, except that
    light beyond white is compressed instead of clipped, as in [1]_. A DNG is cropped and brightened
    as it asks for.

    The result is an upright "tiff" with that colour space's profile and the raw file's EXIF.

    Raises
    ------
    Refusal
        LibRaw does not support the camera, or makes nothing but black of the file.

    References
    ----------
    .. [1] Reinhard, Stark, Shirley & Ferwerda, "Photographic tone reproduction for digital
       images", SIGGRAPH 2002, equation 4.
    """
    import rawpy

    name, corners, curve = _SPACES[space]
    metadata = read_raw_metadata(stream)
    stops = read_dng_exposure(stream)
    with _opened(stream) as raw:
        raw.unpack()
        sizes = raw.sizes
        # Grey has no white balance, and LibRaw would compute a wrong one.
        is_grey = raw.num_colors == 1
        light = raw.postprocess(
            use_camera_wb=not is_grey,
            user_wb=[1, 1, 1, 1] if is_grey else None,
            output_color=rawpy.ColorSpace[name],
            output_bps=16,
            user_flip=0,
            gamma=(1, 1),
            no_auto_bright=True,
            # Otherwise, the brightest value may become white, and shots of a series would differ.
            adjust_maximum_thr=0,
            # Otherwise, LibRaw clips values that the white balance lifts above white.
            highlight_mode=rawpy.HighlightMode.Blend,
            fbdd_noise_reduction=rawpy.FBDDNoiseReductionMode.Off,
            noise_thr=None,
            median_filter_passes=0,
        )
        if not light.any():
            # Even with the lens cap on, noise is brighter than black in some pixels.
            raise Refusal(
                "is a camera raw file that LibRaw develops to nothing but black",
                "Export it as a 16-bit TIFF from a raw converter.",
            )
        metadata = replace(metadata, exif=metadata.exif or _describe(raw))
        if not is_grey:
            lost = list(metadata.lost)
            if not (raw.rgb_xyz_matrix.any() or raw.color_matrix.any()):
                lost.append(_UNKNOWN_COLORS)
            if min(raw.camera_whitebalance[:3]) <= 0:
                lost.append(_UNKNOWN_WHITE)
            metadata = replace(metadata, lost=tuple(lost))
        table = _tone(curve, _gain(raw) * 2 ** (stops or 0))
    if stops is not None:
        light = _crop(light, sizes)
    light = _upright(light, sizes.flip)
    pixels: Pixels = table[light.reshape(*light.shape[:2], -1)]
    icc = make_profile(corners, curve, pixels.shape[2] == 1, f"{name}, developed")
    return Photo(pixels, replace(metadata, icc=icc), "raw")


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[rawpy.RawPy]:
    import rawpy

    check_whole(stream)
    stream.seek(0)
    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(stream)
            yield raw
    except rawpy.LibRawFileUnsupportedError as error:
        raise Refusal(
            "is a camera raw file that LibRaw does not know, or is cut short",
            "Copy it again, or export it as a 16-bit TIFF from the camera's raw converter.",
        ) from error


def _crop(light: Pixels, sizes: rawpy.ImageSizes) -> Pixels:
    """Cut off the margins of a DNG, which often have no good pixels."""
    left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
    known = sizes.crop_width and sizes.crop_height and light.shape[:2] == sizes[2:4]
    if not known or min(left, top) < 0:
        return light
    return light[top : top + sizes.crop_height, left : left + sizes.crop_width]


def _upright(light: Pixels, flip: int) -> Pixels:
    """Turn an image, given LibRaw's code for its orientation."""
    light = light[:: -1 if flip & 2 else 1, :: -1 if flip & 1 else 1]
    return light.swapaxes(0, 1) if flip & 4 else light


def _gain(raw: rawpy.RawPy) -> float:
    """Return how much darker LibRaw makes a photo to keep its highlights."""
    # The white balance that LibRaw used, whether or not it came from the camera.
    used = [factor for factor in (raw.auto_whitebalance or ())[:3] if factor > 0] or [1.0]
    return max(used) / min(used)


def _tone(curve: tuple[float, ...], gain: float) -> NDArray[np.uint16]:
    """Return a table from 16-bit light to 16-bit values of a space: a gain, and a shoulder."""
    light = np.linspace(0, gain, _STEPS)
    above = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    most = (gain - _KNEE) / (1 - _KNEE)
    shoulder = _KNEE + (1 - _KNEE) * above * (1 + above / most**2) / (1 + above)
    return encode_light(np.where(light > _KNEE, shoulder, light), curve)


def _describe(raw: rawpy.RawPy) -> bytes:
    """Make EXIF from what LibRaw found in a file without EXIF."""
    other = raw.other
    inner: Directory = {}
    for tag, value in (
        (33434, other.shutter_speed), (33437, other.aperture), (37386, other.focal_length)
    ):  # fmt: skip
        if value > 0:
            ratio = Fraction(value).limit_denominator(10_000)
            pair = (ratio.numerator, ratio.denominator)
            inner[tag] = Entry(5, 1, b"".join(number.to_bytes(4, "little") for number in pair))
    if 0 < other.iso_speed < _STEPS:
        inner[34855] = Entry(3, 1, int(other.iso_speed).to_bytes(2, "little"))
    if other.timestamp > datetime(1980, 1, 1):
        text = other.timestamp.strftime("%Y:%m:%d %H:%M:%S").encode() + b"\0"
        inner[36867] = Entry(2, len(text), text)
    return build_exif({EXIF_IFD: inner}, "<") if inner else b""


def _matches(head: bytes) -> bool:
    is_cr2 = head.startswith(b"II") and head[8:10] == b"CR"
    is_known = is_cr2 or head.startswith(_MAGIC) or head[4:12] == b"ftypcrx "
    return is_known or read_dng_exposure(io.BytesIO(head)) is not None


def _measure(stream: BinaryIO) -> tuple[int, int]:
    with _opened(stream) as raw:
        return raw.sizes.raw_width, raw.sizes.raw_height


RAW = Codec(
    name="raw",
    label="camera raw file",
    extensions=tuple(_EXTENSIONS.split()),
    dtypes=("uint16",),
    matches=_matches,
    decode=develop,
    encode=None,
    keeps={},
    measure=_measure,
    modules=("rawpy",),
    extra="raw",
)
