"""Quality against time, as SVG inside a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 16, 44
_LABEL_HEIGHT = 15
_LETTER = 6.5


def draw_plot(
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
    x = _Axis([math.log10(row["seconds_per_megapixel"]) for row in dots], _LEFT, _WIDTH - _RIGHT)
    scores = [row["scores"][name] for row in dots] + ([] if noisy is None else [noisy])
    y = _Axis(scores, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(metric["title"])} against seconds per megapixel">'
    ]
    for value, label in y.ticks():
        at = y(value)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {at}H{_WIDTH - _RIGHT}"/>'
            f'<text class="value dim" x="{_LEFT - 8}" y="{at + 4}">{label}</text>'
        )
    for power in range(math.floor(x.low), math.ceil(x.high) + 1):
        for step in (1, 2, 5):
            value = power + math.log10(step)
            if x.low <= value <= x.high:
                parts.append(
                    f'<path class="grid" d="M{x(value)} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
                    f'<text class="tick dim" x="{x(value)}" y="{_HEIGHT - _BOTTOM + 18}">'
                    f"{step * 10.0**power:g}</text>"
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
    places = [(x(math.log10(row["seconds_per_megapixel"])), y(row["scores"][name])) for row in dots]
    taken = [(across - 6, across + 6, up) for across, up in places]
    for row in sorted(dots, key=lambda row: -row["scores"][name]):
        score, seconds = row["scores"][name], row["seconds_per_megapixel"]
        across, up = x(math.log10(seconds)), y(score)
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


class _Axis:
    """From values to places."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        spread = max(max(values) - min(values), 1e-3 * max(abs(v) for v in values), 1e-6)
        self.low, self.high = min(values) - 0.12 * spread, max(values) + 0.12 * spread
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return round(self._start + part * (self._end - self._start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return about five round values and how to write them."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [(i * step, f"{i * step:g}") for i in range(first, last + 1)]
