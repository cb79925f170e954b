"""The parts of photographs that a report shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.quality import reference_of, to_picture
from ssbsn_cli.core.evaluation.report import Pictures
from ssbsn_cli.core.evaluation.rounding import quantise
from ssbsn_cli.core.evaluation.runner import Result

CLEAN = "clean"
# With all methods, a page of about 30 MB.
_MOST = 40
_SIDE = 384


class PictureBook:
    """Collects the middles of some samples in all their versions.

    Parameters
    ----------
    count : int
        How many samples there will be; at most 40 of them, evenly spread, are shown.
    """

    def __init__(self, count: int) -> None:
        shown = min(count, _MOST)
        self._numbers = {round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)}
        self._seen: dict[str, bool] = {}
        self._views: dict[str, dict[str, NDArray[np.uint8]]] = {}

    def wants(self, name: str) -> bool:
        """Tell whether a sample is shown; samples must be asked for in their order."""
        return self._seen.setdefault(name, len(self._seen) in self._numbers)

    def add(self, result: Result) -> None:
        """Take what is to be shown of a result."""
        name = result.sample.name
        if not self.wants(name) or result.pixels is None:
            return
        views = self._views.setdefault(name, {})
        if not views and result.sample.references:
            views[CLEAN] = _middle(quantise(reference_of(result.sample).astype(np.float64)))
        pixels = result.pixels
        views[result.method] = _middle(pixels if pixels.dtype == np.uint8 else to_picture(pixels))

    def pictures(self) -> list[Pictures]:
        """Return all that was taken."""
        return [Pictures(name, views) for name, views in self._views.items()]


def _middle(picture: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(length - _SIDE, 0) // 2 for length in picture.shape[:2])
    # A copy, or the whole picture would stay in memory.
    return picture[top : top + _SIDE, left : left + _SIDE].copy()
