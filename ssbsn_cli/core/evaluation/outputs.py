"""The outputs of an evaluation: figures as plain values and as a table, and pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Result
from ssbsn_cli.core.evaluation.methods import Method
from ssbsn_cli.core.evaluation.metrics import ROUNDING, Metric, quantise, to_picture
from ssbsn_cli.core.imaging import Photo, encode_photo
from ssbsn_cli.core.imaging.photo import middle_of
from ssbsn_cli.core.report.evaluation import CLEAN, NOISY
from ssbsn_cli.core.runtime.machine import describe_machine
from ssbsn_cli.core.runtime.storage import make_folder_of, refuse_links, write_output
from ssbsn_cli.core.types import spread

# Nobody would read a table with more sections.
_MOST_GROUPS = 12
# With all methods, this makes a page of about 30 MB.
_MOST_PICTURES = 40
_SIDE = 384


@dataclass
class Findings:
    """The figures of an evaluation: a row for each method, a column for each metric.

    `protocol` says how images are run.
    """

    dataset: Dataset
    protocol: str
    methods: Sequence[Method]
    metrics: Sequence[Metric]

    def __post_init__(self) -> None:
        self._images: dict[str, dict[str, Any]] = {}

    def add(self, result: Result) -> None:
        """Take the figures of a result, without its pixels."""
        sample = result.sample
        height, width = sample.noisy.shape[:2]
        image = {"name": sample.name, "group": sample.group, "width": width, "height": height}
        image = self._images.setdefault(sample.name, image | {"results": {}})
        image["results"][result.method] = {
            "scores": result.scores,
            "seconds": None if result.seconds is None else float(f"{result.seconds:.4g}"),
            "peak_mib": None if result.peak is None else round(result.peak / 2**20, 1),
        }

    def summary(self) -> dict[str, Any]:
        """Return everything as plain values; ``docs/reference.md`` describes them."""
        images = list(self._images.values())
        groups = list(dict.fromkeys(image["group"] for image in images))
        # Images without a group count only among all.
        groups = [group for group in groups if group] if 1 < len(groups) <= _MOST_GROUPS else []
        return {
            "dataset": {
                "name": self.dataset.name,
                "title": self.dataset.title,
                "comparison": self.dataset.comparison,
                "samples": len(images),
            },
            "protocol": self.protocol,
            "rounding": ROUNDING,
            "metrics": [
                {key: value for key, value in vars(metric).items() if key != "compute"}
                for metric in self.metrics
            ],
            "methods": [
                {
                    "name": method.name,
                    "title": method.title,
                    "description": method.description,
                    "settings": dict(method.settings),
                }
                for method in self.methods
            ],
            "rows": [
                self._row(method.name, group) for group in (*groups, "") for method in self.methods
            ],
            "images": images,
            "machine": describe_machine(),
        }

    def _row(self, method: str, group: str) -> dict[str, Any]:
        """Return the means of a method over a group, or over all images."""
        images = [each for each in self._images.values() if group in ("", each["group"])]
        results = [image["results"][method] for image in images]
        seconds = [result["seconds"] for result in results if result["seconds"] is not None]
        peaks = [result["peak_mib"] for result in results if result["peak_mib"] is not None]
        megapixels = sum(image["width"] * image["height"] for image in images) / 1e6
        gains: list[float] = []
        if self.dataset.referenced and method != NOISY:
            name, sign = self.metrics[0].name, 1 if self.metrics[0].higher_is_better else -1
            gains = [
                sign * (image["results"][method]["scores"][name] - noisy["scores"][name])
                for image in images
                if (noisy := image["results"].get(NOISY))
            ]
        return {
            "method": method,
            "group": group,
            "images": len(images),
            "scores": {
                metric.name: fmean(result["scores"][metric.name] for result in results)
                for metric in self.metrics
            },
            "worse": sum(gain < 0 for gain in gains) if gains else None,
            "least_gain": min(gains, default=None),
            "seconds_per_megapixel": float(f"{sum(seconds) / megapixels:.4g}") if seconds else None,
            "peak_mib": max(peaks, default=None),
        }


def to_csv(summary: Mapping[str, Any]) -> bytes:
    """Return a CSV table with a row for each image and method of `Findings.summary`, UTF-8."""
    rows = [
        {
            "dataset": summary["dataset"]["name"],
            "group": image["group"],
            "image": image["name"],
            "width": image["width"],
            "height": image["height"],
            "method": method,
            **result["scores"],
            "seconds": result["seconds"],
            "peak_mib": result["peak_mib"],
        }
        for image in summary["images"]
        for method, result in image["results"].items()
    ]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8", "backslashreplace")


def save_picture(folder: Path, result: Result, overwrite: bool) -> None:
    """Write a result, with pixels, as an 8-bit PNG: ``METHOD/SAMPLE.png``.

    `overwrite` allows replacing a file with other contents. Raises an ImageError if there is such a
    file, it is a link, or it cannot be written.
    """
    content = encode_photo(Photo(_eight_bits(result)), "png")
    path = folder / result.method / f"{result.sample.name}.png"
    refuse_links(path, 2)
    make_folder_of(path)
    # An identical file is no error, so that an interrupted evaluation can be continued.
    if not path.is_file() or path.read_bytes() != content:
        write_output(path, content, overwrite)


class PictureBook:
    """Collects the centres of some samples, noisy, clean and denoised, for a report.

    At most 40 of `count` samples are shown, evenly spread.
    """

    def __init__(self, count: int) -> None:
        self._numbers = set(spread(range(count), _MOST_PICTURES))
        self._seen: dict[str, bool] = {}
        #: The collected pictures, by sample and method; "clean" is the reference.
        self.pictures: dict[str, dict[str, NDArray[np.uint8]]] = {}

    def wants(self, name: str) -> bool:
        """Return whether a sample is shown; call this for samples in their order."""
        return self._seen.setdefault(name, len(self._seen) in self._numbers)

    def add(self, result: Result) -> None:
        """Take the pictures of a result if it is shown."""
        name = result.sample.name
        if not self.wants(name) or result.pixels is None:
            return
        views = self.pictures.setdefault(name, {})
        if not views and result.sample.references:
            views[CLEAN] = _middle(quantise(result.sample.reference().astype(np.float64)))
        views[result.method] = _middle(_eight_bits(result))


def _eight_bits(result: Result) -> NDArray[np.uint8]:
    assert result.pixels is not None
    return result.pixels if result.pixels.dtype == np.uint8 else to_picture(result.pixels)


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Without copying, the whole picture would stay in memory.
    return middle_of(picture, _SIDE).copy()
