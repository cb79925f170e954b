"""Curves over training steps, as SVG inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

import numpy as np

from ssbsn_cli.core.report.axes import Axis

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


def plot_curves(
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
    scale = " (logarithmic)" if axes.y.log else ""
    legend = "".join(
        f'<span class="key {escape(curve.style)}">{escape(curve.label)}</span>' for curve in curves
    )
    drawn = "".join(_curve_svg(curve, axes, unit) for curve in curves)
    return (
        f"<figure><figcaption><b>{escape(title + scale)}</b>{legend}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{axes.svg()}{drawn}</svg></figure>\n"
    )


class _Axes:
    """Where steps and values are in the picture."""

    def __init__(self, curves: Sequence[Curve], minutes: Sequence[Point], log: bool) -> None:
        values = [value for curve in curves for _, value in curve.points]
        low, high = min(values), max(values)
        log = log and low > TINY and high > 5 * low
        if log:
            low, high = math.log10(low), math.log10(high)
        margin = (high - low) * 0.04
        if high - low <= max(NARROW * max(abs(low), abs(high)), TINY):
            margin = max(abs(high) * 0.05, NARROW)
        last = max(max(curve.points[-1][0] for curve in curves), 1.0)
        self.y = Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP, log)
        self._steps = Axis(0, last, LEFT, WIDTH - RIGHT)
        self._minutes = np.array(sorted([(0.0, 0.0), *minutes]))

    def x(self, step: float) -> float:
        return self._steps(min(max(step, 0), self._steps.high))

    def minutes(self, step: float) -> str:
        steps, times = self._minutes.T
        time = float(np.interp(step, steps, times))
        return f"{time:.1f}" if times[-1] < 10 else f"{time:,.0f}"

    def svg(self) -> str:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for value, label in self._value_ticks():
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{LEFT} {y}H{right}"/>')
            parts.append(f'<text class="value" x="{LEFT - 7}" y="{y + 4:.1f}">{label}</text>')
        for step in self._steps.ticks(5, least=1):
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
        if not self.y.log:
            ticks = self.y.ticks(5)
            # As many digits as tell neighbours apart.
            gap = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1
            digits = max(-math.floor(math.log10(gap) + 1e-9), 0)
            small = digits <= 5 and self.y.high < 1e6
            return [(tick, f"{tick:.{digits}f}" if small else f"{tick:.3g}") for tick in ticks]
        many = math.ceil(self.y.high) - math.floor(self.y.low) >= 4
        inside = self.y.log_ticks((1,) if many else (1, 2, 5))
        every = -(-len(inside) // 8) or 1
        return [(tick, f"{tick:g}") for tick in inside[::every]]


def _curve_svg(curve: Curve, axes: _Axes, unit: str) -> str:
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
