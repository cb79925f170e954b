"""Types and functions that every part of the package shares; imports nothing heavy.

The values of options and descriptors, callbacks that inform the user, and the values of pixels:
white, and the curve of sRGB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AttentionKind = Literal["linear", "exact"]
AutoKind = Literal["auto", "off"]
BlockKind = Literal["light", "plain", "ss"]
CompileKind = Literal["auto", "on", "off"]
PrecisionKind = Literal["auto", "fp32", "bf16", "fp16"]
RefineKind = Literal["r3", "stratified", "once", "none"]
FormatKind = Literal["jpeg", "png", "webp", "bmp", "tiff", "pnm", "heic", "avif", "jxl"]
RawSpace = Literal["srgb", "p3", "adobe", "prophoto"]

# Below this light, the curve of sRGB is a straight line.
SRGB_BEND = 0.0031308

_T = TypeVar("_T")
# Takes a sentence that a user should read.
Notify = Callable[[str], None]
# Takes how much is done, and the total.
Progress = Callable[[int, int], None]


def count_of(number: float, thing: str) -> str:
    """Return a number with a noun: "1 photo", "2,000 photos", "0.5 minutes"."""
    return f"{number:,.10g} {thing}{'' if number == 1 else 's'}"


def spread(things: Sequence[_T], most: int) -> list[_T]:
    """Return at most `most` of the things: the first, the last, and evenly spaced ones between."""
    import numpy as np

    places = np.linspace(0, len(things) - 1, min(most, len(things)))
    return [things[round(place)] for place in places.tolist()]


def white_of(dtype: np.dtype[Any]) -> int:
    """Return the value of white for a type of pixels: the largest integer, or 1 for floats."""
    import numpy as np

    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1


def to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Convert pixels to float32 with white at 1; integers are divided by their type's range."""
    import numpy as np

    if np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.float32) / np.float32(white_of(pixels.dtype))
    return pixels.astype(np.float32)


def from_unit(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert back from float32: integers are rounded and clipped, floats are not."""
    import numpy as np

    if np.issubdtype(dtype, np.integer):
        values = np.rint(np.clip(values, 0, 1) * np.float32(white_of(dtype)))
    out: NDArray[Any] = values.astype(dtype)
    return out


def from_srgb(values: NDArray[Any]) -> NDArray[Any]:
    """Return the light that sRGB values in [0, 1] stand for, in [0, 1] and of the same type."""
    import numpy as np

    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: NDArray[Any]) -> NDArray[Any]:
    """Undo `from_srgb`, and clip to [0, 1]."""
    import numpy as np

    light = np.clip(light, 0, 1)
    return np.where(light <= SRGB_BEND, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
