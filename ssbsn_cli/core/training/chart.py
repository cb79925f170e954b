"""Curves over training steps, as SVG inside a page. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

import numpy as np

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 30, 12, 46
# More points than pixels would only make the page large.
BUCKETS = 300
TOOLTIPS = 60
# A range of values this narrow, relative to them, would drown in rounding.
NARROW = 1e-6

# Below, underflow spoils logarithms and quotients.
TINY = 1e-30

Point = tuple[float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Parameters
    ----------
    label : str
        For the legend and the tooltips.
    style : str
        A class of the page's style sheet: "raw", "smooth", "check" or "noisy".
    points : sequence of (float, float)
        Step and value, steps rising, all finite.
    """

    label: str
    style: str
    points: Sequence[Point]


def smooth(points: Sequence[Point]) -> list[Point]:
    """Return the running mean of values over the last fiftieth or so, weighted exponentially."""
    decay = 1 - 1 / max(len(points) / 50, 1)
    total = weight = 0.0
    result = []
    for step, value in points:
        total = decay * total + value
        # Divided by what it really adds up to, the mean is none of a zero before the start.
        weight = decay * weight + 1
        result.append((step, total / weight))
    return result


def draw_chart(
    title: str, unit: str, curves: Sequence[Curve], minutes: Sequence[Point], log: bool = False
) -> str:
    """Draw curves as an HTML figure; an empty string if there is nothing to draw.

    Parameters
    ----------
    title : str
        Stands above the chart.
    unit : str
        Stands behind values in tooltips; may be empty.
    curves : sequence of Curve
        Drawn in this order. Those without points are left out.
    minutes : sequence of (float, float)
        Step and minutes since the start, steps rising: the second scale of the x axis.
    log : bool
        Draw values logarithmically if they differ enough for that and are all positive.

    Returns
    -------
    str
        HTML, with everything escaped.
    """
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    axes = _Axes(curves, minutes, log)
    scale = " (logarithmic)" if axes.log else ""
    legend = "".join(
        f'<span class="key {escape(curve.style)}">{escape(curve.label)}</span>' for curve in curves
    )
    drawn = "".join(_draw_curve(curve, axes, unit) for curve in curves)
    return (
        f"<figure><figcaption><b>{escape(title + scale)}</b>{legend}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{axes.draw()}{drawn}</svg></figure>\n"
    )


class _Axes:
    """Where steps and values are in the picture."""

    def __init__(self, curves: Sequence[Curve], minutes: Sequence[Point], log: bool) -> None:
        values = [value for curve in curves for _, value in curve.points]
        low, high = min(values), max(values)
        self.log = log and low > TINY and high > 5 * low
        if self.log:
            low, high = math.log10(low), math.log10(high)
        margin = (high - low) * 0.04
        if high - low <= max(NARROW * max(abs(low), abs(high)), TINY):
            margin = max(abs(high) * 0.05, NARROW)
        self._low, self._high = low - margin, high + margin
        self._last = max(max(curve.points[-1][0] for curve in curves), 1.0)
        self._minutes = np.array(sorted([(0.0, 0.0), *minutes]))

    def x(self, step: float) -> float:
        share = min(max(step / self._last, 0), 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        if self.log:
            value = math.log10(value)
        share = (value - self._low) / (self._high - self._low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def minutes(self, step: float) -> str:
        steps, times = self._minutes.T
        time = float(np.interp(step, steps, times))
        return f"{time:.1f}" if times[-1] < 10 else f"{time:,.0f}"

    def draw(self) -> str:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for value, label in self._value_ticks():
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{LEFT} {y}H{right}"/>')
            parts.append(f'<text class="value" x="{LEFT - 7}" y="{y + 4:.1f}">{label}</text>')
        for step in _ticks(0, self._last, 5, least=1):
            x = self.x(step)
            parts.append(f'<path class="grid" d="M{x} {bottom}v4"/>')
            parts.append(f'<text class="tick" x="{x}" y="{bottom + 18}">{step:,.0f}</text>')
            parts.append(
                f'<text class="tick dim" x="{x}" y="{bottom + 34}">{self.minutes(step)}</text>'
            )
        parts.append(f'<text class="name" x="4" y="{bottom + 18}">step</text>')
        parts.append(f'<text class="name dim" x="4" y="{bottom + 34}">min</text>')
        parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
        return "".join(parts)

    def _value_ticks(self) -> list[tuple[float, str]]:
        if not self.log:
            ticks = _ticks(self._low, self._high, 5)
            # As many digits as tell neighbours apart.
            gap = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1
            digits = max(-math.floor(math.log10(gap) + 1e-9), 0)
            small = digits <= 5 and self._high < 1e6
            return [(tick, f"{tick:.{digits}f}" if small else f"{tick:.3g}") for tick in ticks]
        first, last = math.floor(self._low), math.ceil(self._high)
        ticks = [
            mantissa * 10.0**exponent
            for exponent in range(first, last + 1)
            for mantissa in ((1, 2, 5) if last - first < 4 else (1,))
        ]
        inside = [tick for tick in ticks if self._low <= math.log10(tick) <= self._high]
        every = -(-len(inside) // 8) or 1
        return [(tick, f"{tick:g}") for tick in inside[::every]]


def _draw_curve(curve: Curve, axes: _Axes, unit: str) -> str:
    points = _thin(curve.points)
    line = " ".join(f"{axes.x(step)},{axes.y(value)}" for step, value in points)
    style = escape(curve.style)
    parts = [f'<polyline class="{style}" points="{line}"/>']
    dots = "dot" if len(curve.points) <= TOOLTIPS else "spot"
    if curve.style == "raw":
        return parts[0]
    for step, value in spread(points, TOOLTIPS):
        tip = f"{curve.label} {value:.4g} {unit}".strip()
        tip = f"step {step:,.0f}, {axes.minutes(step)} min: {tip}"
        parts.append(
            f'<circle class="{dots} {style}" cx="{axes.x(step)}" cy="{axes.y(value)}" '
            f'r="{3 if dots == "dot" else 6}"><title>{escape(tip)}</title></circle>'
        )
    return "".join(parts)


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items: the first, the last, and evenly spaced ones between."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _thin(points: Sequence[Point]) -> list[Point]:
    """Leave out points that make no visible difference: peaks both ways stay."""
    if len(points) <= 2 * BUCKETS:
        return list(points)
    kept = {0, len(points) - 1}
    for bucket in range(BUCKETS):
        start = bucket * len(points) // BUCKETS
        indices = range(start, (bucket + 1) * len(points) // BUCKETS)
        kept.add(min(indices, key=lambda i: points[i][1]))
        kept.add(max(indices, key=lambda i: points[i][1]))
    return [points[i] for i in sorted(kept)]


def _ticks(low: float, high: float, most: int, least: float = 0) -> list[float]:
    """Return round numbers in [low, high], about `most` of them."""
    rough = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(rough))
    gap = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [i * gap for i in range(math.ceil(low / gap), math.floor(high / gap) + 1)]
