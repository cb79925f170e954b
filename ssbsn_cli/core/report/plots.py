"""The plots of reports, as SVG: curves over steps and the like, and quality versus time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from ssbsn_cli.core.report.pages import render
from ssbsn_cli.core.types import spread

Point = tuple[float, float]

# More points than pixels would only make the page large.
_BUCKETS = 300
_TOOLTIPS = 60
# A range that is this narrow, relative to the values, is lost in rounding.
_NARROW = 1e-6
# Below this, underflow spoils logarithms and quotients.
_TINY = 1e-30
_LABEL_HEIGHT, _LETTER_WIDTH = 15, 6.5


@dataclass(frozen=True)
class _Frame:
    """The size of a picture, and the edges of the plot in it."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


CURVES = _Frame(480, 270, left=62, right=450, top=12, bottom=224)
_METHODS = _Frame(720, 320, left=56, right=570, top=16, bottom=276)


@dataclass(frozen=True)
class _Axis:
    """Maps values to places in a picture; `low` and `high` are logarithms if `log` is set."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            value = math.log10(value)
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, least: float = 0) -> list[float]:
        """Return about five round values, no closer than `least`."""
        rough = max((self.high - self.low) / 5, least)
        power = 10.0 ** math.floor(math.log10(rough))
        gap = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(self.low / gap), math.floor(self.high / gap)
        return [i * gap for i in range(first, last + 1)]

    def log_ticks(self, mantissas: Sequence[int] = (1, 2, 5)) -> list[float]:
        """Return the powers of ten, times these mantissas, that lie on a logarithmic axis."""
        first, last = math.floor(self.low), math.ceil(self.high)
        ticks = [m * 10.0**exponent for exponent in range(first, last + 1) for m in mantissas]
        return [tick for tick in ticks if self.low <= math.log10(tick) <= self.high]


@dataclass(frozen=True)
class Curve:
    """A line of a chart, and its label in the legend and the tooltips.

    `style` is a class of the page's style sheet: "raw", "smooth", "check", "noisy", "red", "green"
    or "blue". Each point is a step (or another x, which rises and is not negative) and a value.
    """

    label: str
    style: str
    points: Sequence[Point]


def smooth(points: Sequence[Point]) -> list[Point]:
    """Return the exponential moving average over about a fiftieth of the values."""
    decay = 1 - 1 / max(len(points) / 50, 1)
    total = weight = 0.0
    result = []
    for step, value in points:
        total = decay * total + value
        # Dividing by the actual sum of weights keeps the start from being biased towards zero.
        weight = decay * weight + 1
        result.append((step, total / weight))
    return result


def plot_curves(
    title: str,
    unit: str,
    curves: Sequence[Curve],
    minutes: Sequence[Point] | None = None,
    log: bool = False,
    across: str = "step",
) -> Markup:
    """Draw curves as an HTML figure; without points, return an empty one.

    Parameters
    ----------
    title : str
        Appears above the chart.
    unit : str
        Appears after values in tooltips; may be empty.
    curves : sequence of Curve
        Drawn in this order. Curves without points are left out.
    minutes : sequence of (float, float), optional
        Step and minutes since the start, steps rising: the second scale of the x axis. Without it,
        values start at 0.
    log : bool
        Draw values logarithmically if they differ enough and are all positive.
    across : str
        The label of the x axis.
    """
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return Markup()
    last = max(max(curve.points[-1][0] for curve in curves), 1.0)
    steps = _Axis(0, last, CURVES.left, CURVES.right)
    timed = minutes is not None
    origin = [] if timed else [0.0]
    values = _value_axis([*origin, *(value for curve in curves for _, value in curve.points)], log)
    times = np.array(sorted([(0.0, 0.0), *(minutes or ())])).T

    def place(point: Point) -> Point:
        return steps(min(max(point[0], 0), last)), values(point[1])

    def time(step: float) -> str:
        minute = float(np.interp(step, *times))
        return f"{minute:.1f}" if times[1][-1] < 10 else f"{minute:,.0f}"

    def where(x: float) -> str:
        return f"{across} {x:,.0f}" + (f", {time(x)} min" if timed else "")

    drawn = []
    for curve in curves:
        points = _thin(curve.points)
        dots = [] if curve.style == "raw" else spread(points, _TOOLTIPS)
        tips = [f"{curve.label} {value:.4g} {unit}".strip() for _, value in dots]
        drawn.append(
            {
                "label": curve.label,
                "style": curve.style,
                "line": [place(point) for point in points],
                "visible": len(curve.points) <= _TOOLTIPS,
                "dots": [
                    (*place(point), f"{where(point[0])}: {tip}")
                    for point, tip in zip(dots, tips, strict=True)
                ],
            }
        )
    return render(
        "curves.html",
        title=title,
        frame=CURVES,
        log=values.log,
        value_ticks=[(values(value), label) for value, label in _value_ticks(values)],
        step_ticks=[(steps(step), f"{step:,.0f}", time(step)) for step in steps.ticks(least=1)],
        curves=drawn,
        across=across,
        timed=timed,
    )


def _value_axis(values: Sequence[float], log: bool) -> _Axis:
    low, high = min(values), max(values)
    log = log and low > _TINY and high > 5 * low
    if log:
        low, high = math.log10(low), math.log10(high)
    margin = (high - low) * 0.04
    if high - low <= max(_NARROW * max(abs(low), abs(high)), _TINY):
        margin = max(abs(high) * 0.05, _NARROW)
    return _Axis(low - margin, high + margin, CURVES.bottom, CURVES.top, log)


def _value_ticks(axis: _Axis) -> list[tuple[float, str]]:
    if not axis.log:
        ticks = axis.ticks()
        # Enough digits to tell neighbours apart.
        gap = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1
        digits = max(-math.floor(math.log10(gap) + 1e-9), 0)
        small = digits <= 5 and axis.high < 1e6
        return [(tick, f"{tick:.{digits}f}" if small else f"{tick:.3g}") for tick in ticks]
    many = math.ceil(axis.high) - math.floor(axis.low) >= 4
    inside = axis.log_ticks((1,) if many else (1, 2, 5))
    every = -(-len(inside) // 8) or 1
    return [(tick, f"{tick:g}") for tick in inside[::every]]


def _thin(points: Sequence[Point]) -> list[Point]:
    """Leave out points that make no visible difference; minima and maxima are kept."""
    if len(points) <= 2 * _BUCKETS:
        return list(points)
    kept = {0, len(points) - 1}
    for bucket in range(_BUCKETS):
        start = bucket * len(points) // _BUCKETS
        indices = range(start, (bucket + 1) * len(points) // _BUCKETS)
        kept.add(min(indices, key=lambda i: points[i][1]))
        kept.add(max(indices, key=lambda i: points[i][1]))
    return [points[i] for i in sorted(kept)]


def plot_methods(
    metric: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> Markup:
    """Draw a dot for each method, and a line for the noisy photos.

    `metric` is that of the y axis, `rows` are those of all images, and `titles` are the methods' by
    name. Returns SVG, or nothing if no method has a time.
    """
    points = [
        (row["seconds_per_megapixel"], row["scores"][metric["name"]], titles[row["method"]])
        for row in rows
    ]
    noisy = next((score for seconds, score, _ in points if seconds is None), None)
    timed = [point for point in points if point[0]]
    if not timed:
        return Markup()
    x = _Axis(
        *_wider([math.log10(seconds) for seconds, _, _ in timed]),
        _METHODS.left,
        _METHODS.right,
        log=True,
    )
    scores = [score for _, score, _ in timed] + ([] if noisy is None else [noisy])
    y = _Axis(*_wider(scores), _METHODS.bottom, _METHODS.top)
    # Labels avoid all dots.
    taken = [(x(seconds) - 6, x(seconds) + 6, y(score)) for seconds, score, _ in timed]
    dots = []
    for seconds, score, title in sorted(timed, key=lambda point: -point[1]):
        left = x(seconds) + 8
        height = _free(taken, left, left + _LETTER_WIDTH * len(title), y(score))
        tip = f"{title}: {score:.{metric['digits']}f}, {seconds:.3g} s per megapixel"
        dots.append((x(seconds), y(score), tip, height, title))
    return render(
        "methods.html",
        title=metric["title"],
        frame=_METHODS,
        score_ticks=[(y(value), f"{value:g}") for value in y.ticks()],
        time_ticks=[(x(seconds), f"{seconds:g}") for seconds in x.log_ticks()],
        noisy=None if noisy is None else y(noisy),
        dots=dots,
    )


def _free(taken: list[tuple[float, float, float]], left: float, right: float, up: float) -> float:
    """Return a height near `up` where a label from `left` to `right` overlaps no other."""
    for shift in (0, 1, -1, 2, -2, 3, -3, 4):
        height = up + shift * _LABEL_HEIGHT
        if all(abs(height - y) >= _LABEL_HEIGHT or left > b or right < a for a, b, y in taken):
            break
    taken.append((left, right, height))
    return height


def _wider(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that leaves a margin around all values."""
    width = max(max(values) - min(values), 1e-3 * max(abs(v) for v in values), 1e-6)
    return min(values) - 0.12 * width, max(values) + 0.12 * width
