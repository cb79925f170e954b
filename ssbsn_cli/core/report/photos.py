"""The report of photos and the noise in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ssbsn_cli.core.report.pages import QUALITY, encode, encode_picture, render
from ssbsn_cli.core.report.plots import Curve, plot_curves

_STYLES = {"red": "red", "green": "green", "blue": "blue", "grey": "smooth"}

# A photo as `ssbsn_cli.core.inference.inspecting.inspect_photo` returns it: its facts, and a part
# of it before and after denoising, (H, W, 3) uint8 RGB.
_Inspected = tuple[Mapping[str, Any], NDArray[np.uint8], NDArray[np.uint8]]


def make_noise_report(photos: Sequence[_Inspected]) -> bytes:
    """Describe photos and their noise in one HTML page, UTF-8, that needs no network."""
    shown = [
        {
            "facts": facts,
            "noise": draw_noise(facts),
            "pictures": [
                (title, encode_picture(picture))
                for title, picture in (("noisy", noisy), ("denoised", denoised))
            ],
        }
        for facts, noisy, denoised in photos
    ]
    return encode(render("photos.html", title="Noise of photos", photos=shown, quality=QUALITY))


def draw_noise(facts: Mapping[str, Any]) -> Markup:
    """Draw the noise of one photo, for a page: finding, plots, and the correlation of channels.

    `facts` are from `ssbsn_cli.core.noise.facts.noise_facts`.
    """
    noise = facts["noise"]
    charts = _charts(noise) if noise else []
    channels = dict(noise["channels"] or {}) if noise else {}
    return render("noise.html", finding=facts["finding"], charts=charts, channels=channels)


def _charts(noise: Mapping[str, Any]) -> list[Markup]:
    deviations = [
        Curve(name, _STYLES[name], points) for name, points in noise["deviations"].items()
    ]
    charts = [plot_curves("Standard deviation", "", deviations, across="brightness")]
    if noise["found"]:
        correlations = [
            Curve(name, style, [(0, 1.0), *enumerate(noise["neighbours"][name], 1)])
            for name, style in (("horizontal", "smooth"), ("vertical", "check"))
        ]
        charts.append(plot_curves("Correlation", "", correlations, across="pixels apart"))
    return charts
