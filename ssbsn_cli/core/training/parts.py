"""Parts of one's own photos: denoised, and their noise measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.sampler import TooSmallError
from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.noise.darkening import measure_darkening
from ssbsn_cli.core.noise.facts import noise_facts, shows_noise
from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.measured import Measured, measure_noise, summarise
from ssbsn_cli.core.noise.texture import measure_texture
from ssbsn_cli.core.training.config import PartsConfig
from ssbsn_cli.core.types import Notify, count_of, from_unit, spread, to_unit

# More photos would make a report too long.
_DESCRIBED = 12
# Noise of at most and at least this deviation, in grey levels, is not trusted at all, and fully.
_DOUBTFUL, _SURE = 2, 6
# More patches of a photo would change little, and take much memory.
_MOST_PATCHES = 3000

# The numbers of the cache and of the photo in it, the cache, and the photo's parts in that.
_Photo = tuple[tuple[int, int], CropCache, list[Window]]


class NoNoiseError(OptionError):
    """None of the photos shows noise."""


@dataclass(frozen=True)
class Part:
    """A part of a photo.

    Parameters
    ----------
    noisy, denoised : array
        (H, W, 3) integers, before and after the network.
    photo : tuple of int
        Identifies its photo: the number of the cache, and of the photo in it.
    """

    noisy: NDArray[Any]
    denoised: NDArray[np.uint16]
    photo: tuple[int, int]


def denoise_splits(
    splits: tuple[Sequence[CropCache], Sequence[CropCache]],
    config: PartsConfig,
    crop: int,
    denoiser: Denoiser,
    say: Notify,
) -> tuple[list[Part], list[Part]]:
    """Denoise parts of photos, about the same number from each photo.

    Parameters
    ----------
    splits : (sequence of CropCache, sequence of CropCache)
        Noisy photos to train on, and to validate on.
    config : PartsConfig
        The number and size of the parts to train on. A quarter as many are made to validate on, of
        the same photos. Each photo has at least one, unless there are more photos than parts.
    crop : int
        The least height and width of a part. Photos without such parts are left out.
    denoiser : Denoiser
        Denoises the parts.
    say : callable
        Is told how many parts there are.

    Raises
    ------
    OptionError
        No photo is as large as a crop.
    """
    photos, held = (_find_photos(caches, crop) for caches in splits)
    if not photos:
        raise TooSmallError(
            f"No photo is as large as the crops, {crop}x{crop}.",
            "Add larger photos, or use a smaller --crop of ssbsn train.",
        )
    photos = spread(photos, config.count)
    # Noise is measured where it is learned from, and only photos with known noise validate.
    learned = {number for number, _, _ in photos}
    held = [photo for photo in held if photo[0] in learned] or photos
    side = max(config.side, crop)
    training = _choose(photos, config.count, side)
    validation = _choose(held, max(config.count // 4, 1), side)
    parts = count_of(len(training) + len(validation), "part")
    say(f"Denoising {parts} of the photos to learn from.")
    denoise = partial(_denoise, denoiser)
    return list(map(denoise, training)), list(map(denoise, validation))


def _find_photos(caches: Sequence[CropCache], crop: int) -> list[_Photo]:
    """Return the photos of which some window is as large as a crop."""
    return [
        ((number, photo), cache, windows)
        for number, cache in enumerate(caches)
        for photo, all_windows in cache.by_number().items()
        if (windows := [w for w in all_windows if min(w.height, w.width) >= crop])
    ]


def _choose(
    photos: Sequence[_Photo], count: int, side: int
) -> list[tuple[tuple[int, int], NDArray[Any]]]:
    """Choose parts, evenly spread over the photos and within each photo."""
    photos = spread(photos, count)
    return [
        (photo, cache.view(window)[place])
        for photo, cache, windows in photos
        for window, place in spread(
            [(window, place) for window in windows for place in _places(window, side)],
            max(count // len(photos), 1),
        )
    ]


def _denoise(denoiser: Denoiser, chosen: tuple[tuple[int, int], NDArray[Any]]) -> Part:
    photo, noisy = chosen
    return Part(noisy, from_unit(denoiser.denoise_batch([noisy])[0], np.dtype(np.uint16)), photo)


def measure_parts(parts: Sequence[Part], denoiser: Denoiser) -> dict[tuple[int, int], Measured]:
    """Measure the noise of each photo that shows enough of it, with a denoiser of the same weights.

    Raises
    ------
    NoNoiseError
        No photo does, or what most show may be texture.
    """
    cuts = ((photo, _cut(parts, photo)) for photo in dict.fromkeys(part.photo for part in parts))
    found = {
        photo: noise
        for photo, patches in cuts
        if shows_noise(*patches) and (noise := measure_noise(*patches))
    }
    if not found:
        raise NoNoiseError(
            "None of the photos shows noise to learn from.",
            "Give noisy photos, or more of them.",
        )
    each = ((noise.cautious, _units(parts, photo)) for photo, noise in found.items())
    darkening = measure_darkening(each, denoiser)
    for (photo, noise), darkens in zip(found.items(), darkening, strict=True):
        cautious = replace(noise.cautious, darkens=darkens)
        texture = measure_texture(cautious, _units(parts, photo), denoiser)
        found[photo] = Measured(*(replace(n, darkens=darkens, texture=texture) for n in noise))
    if not trust_in(found.values()):
        raise NoNoiseError(
            "The noise of the photos is too mild to be told from texture.", "Give noisier photos."
        )
    return found


def held_parts(
    splits: tuple[Sequence[Part], Sequence[Part]], noises: Mapping[tuple[int, int], Measured]
) -> list[Part]:
    """Return the held-out parts of photos with known noise, or, without such, those trained on."""
    training, held = ([part for part in each if part.photo in noises] for each in splits)
    return held or training


def describe_parts(
    parts: Sequence[Part],
    noises: Mapping[tuple[int, int], Measured],
    caches: Sequence[CropCache],
) -> dict[str, Any]:
    """Describe the noise of photos, of which `caches` know the names, in plain values.

    ``photos`` has up to a dozen of them, as from `noise_facts`, and ``summary`` is a sentence on
    all. ``trust`` is that of `trust_in`.
    """
    names = {(n, w.number): w.photo for n, each in enumerate(caches) for w in each.windows}
    described = [
        {
            "input": names[photo],
            **noise_facts(*_cut(parts, photo), texture=noise.cautious.texture[1].max()),
        }
        for photo, noise in spread(list(noises.items()), _DESCRIBED)
    ]
    found = noises.values()
    return {"photos": described, "summary": summarise(found), "trust": trust_in(found)}


def _cut(
    parts: Sequence[Part], photo: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut all parts of one photo, noisy and denoised, into the same patches."""
    ours = [part for part in parts if part.photo == photo]
    most = max(_MOST_PATCHES // len(ours), 1)
    noisy, denoised = (
        np.concatenate([cut(side, most) for side in sides])
        for sides in ([part.noisy for part in ours], [part.denoised for part in ours])
    )
    return noisy, denoised


def _units(
    parts: Sequence[Part], photo: tuple[int, int]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield all parts of one photo, noisy and denoised, with white at 1."""
    return ((to_unit(p.noisy), to_unit(p.denoised)) for p in parts if p.photo == photo)


def trust_in(noises: Iterable[Measured]) -> float:
    """Return how far weights should follow what they learned from noise: a share, 0 to 1.

    The milder the noise, the more texture is mistaken for it, and the less there is to gain: clean
    photos seem to have noise of 1 to 4 grey levels.
    """
    deviation = np.median([np.median(each.cautious.strengths) for each in noises])
    return float(np.interp(deviation * 255, (_DOUBTFUL, _SURE), (0, 1)))


def _places(window: Window, side: int) -> list[tuple[slice, slice]]:
    """Return slices at most `side` high and wide that cover a window."""
    rows, columns = (_starts(length, side) for length in (window.height, window.width))
    return [(slice(top, top + side), slice(left, left + side)) for top in rows for left in columns]


def _starts(length: int, side: int) -> list[int]:
    return spread(range(max(length - side, 0) + 1), math.ceil(length / side))
