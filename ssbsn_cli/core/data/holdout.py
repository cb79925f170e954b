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
    for window in cache.windows:
        rows = max(round(window.photo_height * fraction), crop)
        if window.photo_height - rows < crop:
            training.append(window)
            continue
        above = window.number % 2 == 1
        # Of a photograph that only parts are kept of, all of them are split at the same row.
        split = (rows if above else window.photo_height - rows) - window.top
        split = min(max(split, 0), window.height)
        upper, lower = _rows(window, 0, split), _rows(window, split, window.height)
        training.extend(_large(lower if above else upper, crop))
        held.extend(_large(upper if above else lower, crop))
    return replace(cache, windows=training), replace(cache, windows=held)


def _rows(window: Window, start: int, stop: int) -> Window:
    row_bytes = window.size_bytes // window.height
    return replace(
        window,
        offset=window.offset + start * row_bytes,
        top=window.top + start,
        height=stop - start,
    )


def _large(window: Window, crop: int) -> list[Window]:
    return [window] if min(window.height, window.width) >= crop else []
