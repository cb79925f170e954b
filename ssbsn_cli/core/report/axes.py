"""Axes of all pictures in reports, and quality against time, as SVG inside a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 16, 44
_LABEL_HEIGHT = 15
_LETTER = 6.5


class Axis:
    """From values to places in a picture.

    Parameters
    ----------
    low, high : float
        The ends of the axis; their logarithms if it is logarithmic.
    start, end : float
        Where they are in the picture.
    log : bool
        Whether it is logarithmic.
    """

    def __init__(
        self, low: float, high: float, start: float, end: float, log: bool = False
    ) -> None:
        self.low, self.high, self.log = low, high, log
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        if self.log:
            value = math.log10(value)
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self, most: int, least: float = 0) -> list[float]:
        """Return round values, about `most` of them and no closer than `least`."""
        rough = max((self.high - self.low) / most, least)
        power = 10.0 ** math.floor(math.log10(rough))
        gap = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(self.low / gap), math.floor(self.high / gap)
        return [i * gap for i in range(first, last + 1)]

    def log_ticks(self, mantissas: Sequence[int] = (1, 2, 5)) -> list[float]:
        """Return the values of a logarithmic axis that have one of these digits alone."""
        first, last = math.floor(self.low), math.ceil(self.high)
        ticks = [m * 10.0**exponent for exponent in range(first, last + 1) for m in mantissas]
        return [tick for tick in ticks if self.low <= math.log10(tick) <= self.high]


def plot_methods(
    metric: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> str:
    """Draw a dot for each method, and a line for the noisy photographs.

    Parameters
    ----------
    metric : mapping
        What goes up: its ``name``, ``title`` and ``digits``.
    rows : sequence of mapping
        Of all images.
    titles : mapping
        Of methods, by name.

    Returns
    -------
    str
        SVG; nothing if no method has both a score and a time.
    """
    name = metric["name"]
    dots = [row for row in rows if row["seconds_per_megapixel"] and name in row["scores"]]
    if not dots:
        return ""
    noisy = next(
        (row["scores"][name] for row in rows if row["seconds_per_megapixel"] is None), None
    )
    times = [math.log10(row["seconds_per_megapixel"]) for row in dots]
    x = Axis(*_wider(times), _LEFT, _WIDTH - _RIGHT, log=True)
    scores = [row["scores"][name] for row in dots] + ([] if noisy is None else [noisy])
    y = Axis(*_wider(scores), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(metric["title"])} against seconds per megapixel">'
    ]
    for value in y.ticks(5):
        at = y(value)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {at}H{_WIDTH - _RIGHT}"/>'
            f'<text class="value dim" x="{_LEFT - 8}" y="{at + 4}">{value:g}</text>'
        )
    for seconds in x.log_ticks():
        parts.append(
            f'<path class="grid" d="M{x(seconds)} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
            f'<text class="tick dim" x="{x(seconds)}" y="{_HEIGHT - _BOTTOM + 18}">'
            f"{seconds:g}</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text class="tick dim" x="{middle}" y="{_HEIGHT - 6}">seconds per megapixel</text>'
        f'<text class="dim" x="4" y="11">{escape(metric["title"])}</text>'
    )
    if noisy is not None:
        parts.append(
            f'<path class="noisy" fill="none" d="M{_LEFT} {y(noisy)}H{_WIDTH - _RIGHT}"/>'
            f'<text class="dim" x="{_WIDTH - _RIGHT + 6}" y="{y(noisy) + 4}">noisy input</text>'
        )
    # Labels keep clear of all dots.
    places = [(x(row["seconds_per_megapixel"]), y(row["scores"][name])) for row in dots]
    taken = [(across - 6, across + 6, up) for across, up in places]
    for row in sorted(dots, key=lambda row: -row["scores"][name]):
        score, seconds = row["scores"][name], row["seconds_per_megapixel"]
        across, up = x(seconds), y(score)
        title = titles[row["method"]]
        height = _free(taken, across + 8, across + 8 + _LETTER * len(title), up)
        parts.append(
            f'<circle class="dot check" cx="{across}" cy="{up}" r="5"><title>{escape(title)}: '
            f"{score:.{metric['digits']}f}, {seconds:.3g} s per megapixel</title></circle>"
            f'<text x="{across + 9}" y="{height + 4}">{escape(title)}</text>'
        )
    return "".join(parts) + "</svg>"


def _free(taken: list[tuple[float, float, float]], left: float, right: float, up: float) -> float:
    """Return a height near `up` where a label from `left` to `right` meets no other."""
    for shift in (0, 1, -1, 2, -2, 3, -3, 4):
        height = up + shift * _LABEL_HEIGHT
        if all(abs(height - y) >= _LABEL_HEIGHT or left > b or right < a for a, b, y in taken):
            break
    taken.append((left, right, height))
    return height


def _wider(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that has all values well inside."""
    width = max(max(values) - min(values), 1e-3 * max(abs(v) for v in values), 1e-6)
    return min(values) - 0.12 * width, max(values) + 0.12 * width
