"""Keeping a part of each photograph out of training."""

from __future__ import annotations

from dataclasses import replace

from ssbsn_cli.core.data.store import CropCache, Window


def hold_out(cache: CropCache, fraction: float, crop: int) -> tuple[CropCache, CropCache]:
    """Split each photograph into a part to train on and one to validate on.

    A crop from the one never overlaps one from the other.

    Parameters
    ----------
    cache : CropCache
        All photographs.
    fraction : float
        Part of the rows to validate on, 0 to 1; never fewer than a crop needs. They are taken
        from the bottom and the top of the photographs in turn.
    crop : int
        Height and width of the crops.

    Returns
    -------
    training, held : CropCache
        The same pixels, other windows. Photographs with no room for a crop of each kind are only
        trained on.
    """
    training: list[Window] = []
    held: list[Window] = []
    for number, window in enumerate(cache.windows):
        rows = max(round(window.height * fraction), crop)
        if window.height - rows < crop or window.width < crop:
            training.append(window)
            continue
        split = window.height - rows if number % 2 == 0 else rows
        upper, lower = _rows(window, 0, split), _rows(window, split, window.height)
        training.append(upper if number % 2 == 0 else lower)
        held.append(lower if number % 2 == 0 else upper)
    return replace(cache, windows=training), replace(cache, windows=held)


def _rows(window: Window, start: int, stop: int) -> Window:
    row_bytes = window.size_bytes // window.height
    return replace(window, offset=window.offset + start * row_bytes, height=stop - start)
