"""Random crops of pairs of photographs that show the same, once noisy and once clean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import Batching, Shares
from ssbsn_cli.core.data.pairs import Pair
from ssbsn_cli.core.data.sampler import Pictures, Sampler, Views
from ssbsn_cli.core.data.store import CropCache, Window
from ssbsn_cli.core.errors import OptionError

_Floats = NDArray[np.float32]


class PairSampler(Sampler):
    """Draws crops of pairs; see `Sampler`.

    Where a cache holds only windows of a photograph, crops come from what both caches hold: their
    windows are at the same places, but there may be more of one than of the other.

    Parameters
    ----------
    pairs : sequence of Pair
        The pairs.
    noisy, clean : CropCache
        Opened with the ``noisy`` and the ``clean`` of all `pairs`, in their order, and with the
        same ``side``. Photographs that either could not read are left out with their partners.
    crop, batching
        See `Sampler`.

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
                f"None of the {len(pairs)} pairs of photos can be used; the first is "
                f"{pair.noisy} and {pair.clean}: {reason}",
                "Name a folder of pairs of readable photos, or allow the crop caches more room.",
            )
        pictures = Pictures(views, crop)
        self.left_out += [
            (pair, f"It is smaller than {crop}x{crop}.")
            for pair in pairs
            if str(pair.noisy) in pictures.too_small
        ]
        super().__init__([pictures], Shares([1.0]), crop, batching)

    def batch(self, step: int) -> tuple[_Floats, _Floats]:
        """Draw the crops of one step, from 0, both of a pair flipped and turned alike.

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
    """Tell whether two windows are at the same place, or one of them is the whole photograph."""
    # Others may overlap, too, but by chance: what they share would be drawn too often.
    return _place(a) == _place(b) or _is_whole(a) or _is_whole(b)


def _place(window: Window) -> tuple[int, int, int, int]:
    return window.top, window.left, window.height, window.width


def _is_whole(window: Window) -> bool:
    return (window.height, window.width) == (window.photo_height, window.photo_width)


def _part(cache: CropCache, window: Window, other: Window) -> NDArray[Any]:
    """Return a view of the part of a window that the other one shows, too."""
    top, left = max(other.top - window.top, 0), max(other.left - window.left, 0)
    return cache.view(window)[top : top + other.height, left : left + other.width]
