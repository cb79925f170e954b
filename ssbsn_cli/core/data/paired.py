"""Random crops of pairs of photographs: the same place of the noisy one and of the clean one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import Positions, Share, draw, put
from ssbsn_cli.core.data.pairs import Pair
from ssbsn_cli.core.data.sampler import nothing_large_enough
from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError

_Crops = tuple[NDArray[np.float32], NDArray[np.float32]]


class PairSampler:
    """Draws crops of pairs by their number, like `CropSampler`.

    Of photographs that a cache holds only windows of, what both caches hold is drawn from: their
    windows are at the same places, but there may be more of one than of the other.

    Parameters
    ----------
    pairs : sequence of Pair
        The pairs.
    noisy, clean : CropCache
        Opened with the ``noisy`` and the ``clean`` of all `pairs`, in their order, and with the
        same ``side``. Photographs that either could not read are left out with their partners.
    crop : int
        Height and width of the crops.
    batch_size : int
        Pairs of crops per step of this process.
    seed : int
        0 to 2**64 - 1; another seed, other crops.
    rank, world : int
        Which process this is, from 0, of how many.

    Attributes
    ----------
    left_out : list of (Pair, str)
        Pairs that are never drawn, and why.

    Raises
    ------
    OptionError
        A number makes no sense, the two photographs of a pair differ in size, or there is no pair
        to draw from: none was read, none is as large as the crop, or the caches were too small to
        hold the same of any.
    ValueError
        A cache is not of these pairs.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        noisy: CropCache,
        clean: CropCache,
        crop: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._share = Share(crop, batch_size, seed, rank, world)
        sides = [_by_number(cache, len(pairs)) for cache in (noisy, clean)]
        unread = dict(noisy.skipped) | dict(clean.skipped)
        self.left_out: list[tuple[Pair, str]] = []
        self._views: list[tuple[NDArray[Any], NDArray[Any]]] = []
        sizes: list[tuple[int, int, int]] = []
        apart = False
        too_small: list[Window] = []
        for number, pair in enumerate(pairs):
            both = [side.get(number, []) for side in sides]
            if not all(both):
                photo = pair.clean if both[0] else pair.noisy
                self.left_out.append((pair, unread.get(photo, f"{photo} was skipped.")))
                continue
            _check_sizes(pair, both[0][0], both[1][0])
            common = list(_common(*both))
            large = [(a, b) for a, b in common if min(a.height, a.width, b.height, b.width) >= crop]
            if not common:
                apart = True
                self.left_out.append((pair, "The crop caches hold different parts of the two."))
            elif not large:
                too_small.extend(window for window, _ in common)
                self.left_out.append((pair, f"It is smaller than {crop}x{crop}."))
            views = [(_within(noisy, a, b), _within(clean, b, a)) for a, b in large]
            self._views.extend(views)
            sizes.extend((number, *view.shape[:2]) for view, _ in views)
        if not self._views:
            raise _nothing_to_draw(self.left_out, apart, too_small, crop)
        self._positions = Positions(sizes, crop)

    def numbers(self, step: int) -> range:
        """Tell which crops `batch` draws at a step, as `CropSampler.numbers` does.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        range
            Their numbers.
        """
        return self._share.numbers(step)

    def batch(self, step: int) -> _Crops:
        """Draw the crops of one step of training, both of a pair flipped and turned alike.

        Parameters
        ----------
        step : int
            From 0.

        Returns
        -------
        noisy, clean : numpy.ndarray
            (batch_size, 3, crop, crop) float32 in [0, 1], RGB, C-contiguous.
        """
        crop = self._share.crop
        noisy, clean = np.empty((2, self._share.batch_size, 3, crop, crop), np.float32)
        for targets, number in zip(zip(noisy, clean, strict=True), self.numbers(step), strict=True):
            # The first number chooses a data set, and there is one.
            _, where, how = draw(self._share.seed, number)
            which, top, left = self._positions.at(where)
            for view, target in zip(self._views[which], targets, strict=True):
                pixels = view[top : top + crop, left : left + crop]
                put(pixels, how, target)
        return noisy, clean


def _by_number(cache: CropCache, photos: int) -> dict[int, list[Window]]:
    windows: dict[int, list[Window]] = {}
    for window in cache.windows:
        windows.setdefault(window.number, []).append(window)
    # Each photograph is either in a cache or skipped.
    if len(windows) + len(cache.skipped) != photos or max(windows) >= photos:
        raise ValueError(f"The crop cache {cache.path} was not opened with these {photos} pairs.")
    return windows


def _check_sizes(pair: Pair, noisy: Window, clean: Window) -> None:
    if (noisy.photo_height, noisy.photo_width) != (clean.photo_height, clean.photo_width):
        raise OptionError(
            f"{pair.noisy} has {noisy.photo_width}x{noisy.photo_height} pixels, but {pair.clean} "
            f"has {clean.photo_width}x{clean.photo_height}.",
            "Give pairs of the same size that show the same, pixel by pixel, or remove this one.",
        )


def _common(noisy: Iterable[Window], clean: Sequence[Window]) -> Iterator[tuple[Window, Window]]:
    """Yield the windows of the two that are at the same place, or of which one holds the other."""
    for a in noisy:
        for b in clean:
            # Others may overlap, too, but by chance: what they share would be drawn too often.
            if _place(a) == _place(b) or _is_whole(a) or _is_whole(b):
                yield a, b


def _place(window: Window) -> tuple[int, int, int, int]:
    return window.top, window.left, window.height, window.width


def _is_whole(window: Window) -> bool:
    return (window.height, window.width) == (window.photo_height, window.photo_width)


def _within(cache: CropCache, window: Window, other: Window) -> NDArray[Any]:
    """Return a view of what a window has of another."""
    top, left = max(other.top - window.top, 0), max(other.left - window.left, 0)
    return cache.view(window)[top : top + other.height, left : left + other.width]


def _nothing_to_draw(
    left_out: Sequence[tuple[Pair, str]], apart: bool, too_small: Sequence[Window], crop: int
) -> OptionError:
    if apart:
        return OptionError(
            "The crop caches of the noisy and the clean photos hold the same part of no photo.",
            "Allow the crop caches more room.",
        )
    if too_small:
        return nothing_large_enough(too_small, crop)
    pair, reason = left_out[0]
    return OptionError(
        f"None of the {len(left_out)} pairs of photos can be used; the first is {pair.noisy} and "
        f"{pair.clean}: {reason}",
        "Name a folder of pairs of readable photos.",
    )
