"""Random crops of photos, independent of how a training is split or resumed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import CROP, Batching, Shares, philox
from ssbsn_cli.core.data.matching import Pair
from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import to_unit


class TooSmallError(OptionError):
    """No photo is as large as the crops."""


# Views of the same place: one noisy photo, or a noisy and a clean one.
Views = tuple[NDArray[Any], ...]


class CropSource:
    """A data set, and all positions of crops in its pictures, `crop` pixels high and wide.

    `pictures` are paths of photos, each with views (H, W, 3) of one part; all views of a part
    have the same size. Photos without a part as large as a crop are `too_small`.

    Raises
    ------
    OptionError
        No part is as large as a crop, or crops have no size.
    """

    def __init__(self, pictures: Iterable[tuple[str, Views]], crop: int) -> None:
        self._crop = crop
        self.too_small: set[str] = set()
        photos: dict[str, list[Views]] = {}
        largest = (0, 0, "")
        for photo, views in pictures:
            height, width, _ = views[0].shape
            if min(height, width) >= crop:
                photos.setdefault(photo, []).append(views)
            else:
                self.too_small.add(photo)
                largest = max(largest, (height, width, photo), key=lambda each: min(each[:2]))
        self.too_small -= photos.keys()
        if not photos:
            height, width, photo = largest
            raise TooSmallError(
                f"No photo is as large as the crops, {crop}x{crop}: the largest, {photo}, has "
                f"{width}x{height} pixels.",
                "Ask for smaller crops, or add larger photos.",
            )
        self._photos = [
            (parts, list(accumulate(self._rows(part) * self._columns(part) for part in parts)))
            for parts in photos.values()
        ]

    def at(self, bits: int) -> Views:
        """Return the crops that 64 random `bits` select.

        Each photo is equally likely; otherwise, large ones would dominate. Within a
        photo, each position is equally likely.
        """
        photo, rest = divmod(bits * len(self._photos), 1 << 64)
        parts, ends = self._photos[photo]
        position = rest * ends[-1] >> 64
        part = bisect_right(ends, position)
        views = parts[part]
        top, left = divmod(position - (ends[part - 1] if part else 0), self._columns(views))
        return tuple(view[top : top + self._crop, left : left + self._crop] for view in views)

    def _rows(self, views: Views) -> int:
        return len(views[0]) - self._crop + 1

    def _columns(self, views: Views) -> int:
        return len(views[0][0]) - self._crop + 1


class Sampler:
    """Draws crops by their number, which alone decides the crop.

    `sources` are data sets, and `shares` give how often each is drawn. Crops are `crop` pixels high
    and wide; `batching` decides which of them are drawn.
    """

    def __init__(
        self, sources: Sequence[CropSource], shares: Shares, crop: int, batching: Batching
    ) -> None:
        self.batching = batching
        self._sources, self._shares, self._crop = sources, shares, crop

    def _draw(self, step: int, views: int) -> NDArray[np.float32]:
        """Draw the crops of a step, (views, batch_size, 3, crop, crop), randomly turned."""
        shape = (views, self.batching.batch_size, 3, self._crop, self._crop)
        crops = np.empty(shape, np.float32)
        for place, number in enumerate(self.batching.numbers(step)):
            drawn = philox(self.batching.seed, number, CROP).random_raw(3)
            which, where, how = (int(bits) for bits in drawn)
            source = self._sources[self._shares.pick(which)]
            for pixels, target in zip(source.at(where), crops[:, place], strict=True):
                _put(pixels, how, target)
        return crops


class CropSampler(Sampler):
    """Draws crops of noisy photos; see `Sampler`.

    Parameters
    ----------
    caches : sequence of CropCache
        Data sets. Within one, each photo is equally likely, and so is each position in it.
    shares : sequence of float
        How often each data set is drawn, relative to the others; 0 is never.
    crop, batching
        See `Sampler`.

    Attributes
    ----------
    not_used : int
        The number of photos smaller than the crop, which are never drawn.

    Raises
    ------
    OptionError
        The shares make no sense, or a data set has no photo as large as the crop.
    """

    def __init__(
        self,
        caches: Sequence[CropCache],
        shares: Sequence[float],
        crop: int,
        batching: Batching,
    ) -> None:
        sources = [
            CropSource(((w.photo, (cache.view(w),)) for w in cache.windows), crop)
            for cache in caches
        ]
        super().__init__(sources, Shares(shares), crop, batching)
        self.not_used = sum(len(source.too_small) for source in sources)

    def batch(self, step: int) -> NDArray[np.float32]:
        """Draw the crops of one step, from 0, randomly flipped and turned.

        Returns
        -------
        numpy.ndarray
            (batch_size, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous.
        """
        crops: NDArray[np.float32] = self._draw(step, 1)[0]
        return crops


def _put(pixels: NDArray[Any], how: int, target: NDArray[np.float32]) -> None:
    """Flip and turn a crop as the last three bits of `how` say, and scale it to [0, 1]."""
    if how & 4:
        pixels = pixels[:, ::-1]
    target[...] = to_unit(np.rot90(pixels, how & 3)).transpose(2, 0, 1)


class PairSampler(Sampler):
    """Draws crops of pairs; see `Sampler`.

    If a cache holds only windows of a photo, crops come from the parts that both caches hold.
    Their windows are at the same positions, but one cache may hold more of them.

    Parameters
    ----------
    pairs : sequence of Pair
        The pairs.
    noisy, clean : CropCache
        Opened with the ``noisy`` and the ``clean`` of all `pairs`, in their order, and with the
        same ``side``. Photos that either could not read are left out with their partners.
    crop, batching
        See `Sampler`.

    Attributes
    ----------
    left_out : list of (Pair, str)
        Pairs that are never drawn, and why.

    Raises
    ------
    OptionError
        The two photos of a pair differ in size, or there is no pair to draw from: none was
        read, none is as large as the crop, or the caches are too small to hold a common part.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        noisy: CropCache,
        clean: CropCache,
        crop: int,
        batching: Batching,
    ) -> None:
        noisy_windows, clean_windows = noisy.by_number(), clean.by_number()
        unread = dict(noisy.skipped) | dict(clean.skipped)
        self.left_out: list[tuple[Pair, str]] = []
        views: list[tuple[str, Views]] = []
        for number, pair in enumerate(pairs):
            ours, theirs = noisy_windows.get(number), clean_windows.get(number)
            if not ours or not theirs:
                photo = pair.clean if ours else pair.noisy
                self.left_out.append((pair, unread.get(photo, f"{photo} was skipped.")))
                continue
            _check_sizes(pair, ours[0], theirs[0])
            common = [(a, b) for a in ours for b in theirs if _match(a, b)]
            if not common:
                self.left_out.append((pair, "The crop caches hold no part of both."))
            views += [
                (str(pair.noisy), (_part(noisy, a, b), _part(clean, b, a))) for a, b in common
            ]
        if not views:
            pair, reason = self.left_out[0]
            raise OptionError(
                f"0 of {len(pairs)} pairs of photos can be used; the first is "
                f"{pair.noisy} and {pair.clean}: {reason}",
                "Name a folder of pairs of readable photos, or allow the crop caches more room.",
            )
        source = CropSource(views, crop)
        self.left_out += [
            (pair, f"It is smaller than {crop}x{crop}.")
            for pair in pairs
            if str(pair.noisy) in source.too_small
        ]
        super().__init__([source], Shares([1.0]), crop, batching)

    def batch(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw the crops of one step, from 0; both of a pair are flipped and turned the same way.

        Returns
        -------
        noisy, clean : numpy.ndarray
            (batch_size, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous.
        """
        noisy, clean = self._draw(step, 2)
        return noisy, clean


def _check_sizes(pair: Pair, noisy: Window, clean: Window) -> None:
    if (noisy.photo_height, noisy.photo_width) != (clean.photo_height, clean.photo_width):
        raise OptionError(
            f"{pair.noisy} has {noisy.photo_width}x{noisy.photo_height} pixels, but {pair.clean} "
            f"has {clean.photo_width}x{clean.photo_height}.",
            "Give pairs of the same size that show the same, pixel by pixel, or remove this one.",
        )


def _match(a: Window, b: Window) -> bool:
    """Return whether two windows are at the same place, or one of them is the whole photo."""
    # Other windows may overlap by chance, but their common part would be drawn too often.
    return _place(a) == _place(b) or _is_whole(a) or _is_whole(b)


def _place(window: Window) -> tuple[int, int, int, int]:
    return window.top, window.left, window.height, window.width


def _is_whole(window: Window) -> bool:
    return (window.height, window.width) == (window.photo_height, window.photo_width)


def _part(cache: CropCache, window: Window, other: Window) -> NDArray[Any]:
    """Return a view of the part of a window that is also in the other one."""
    top, left = max(other.top - window.top, 0), max(other.left - window.left, 0)
    return cache.view(window)[top : top + other.height, left : left + other.width]
