"""The findings of an evaluation as plain values, for ``--json``, tables and reports."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ssbsn_cli import __version__
from ssbsn_cli.core.evaluation.datasets.samples import Dataset
from ssbsn_cli.core.evaluation.methods import NOISY, Method
from ssbsn_cli.core.evaluation.metrics import Metric
from ssbsn_cli.core.evaluation.rounding import ROUNDING
from ssbsn_cli.core.evaluation.scoring import Result
from ssbsn_cli.core.runtime.device import available_cores

# Nobody would read a table with more sections.
_MOST_GROUPS = 12


class Tally:
    """Collects results, without pixels."""

    def __init__(self) -> None:
        #: What the summary says of each sample, by its name, in order.
        self.images: dict[str, dict[str, Any]] = {}

    def add(self, result: Result) -> None:
        """Collect a result."""
        sample = result.sample
        height, width = sample.noisy.shape[:2]
        image = {"name": sample.name, "group": sample.group, "width": width, "height": height}
        image = self.images.setdefault(sample.name, image | {"results": {}})
        image["results"][result.method] = {
            "scores": result.scores,
            "seconds": None if result.seconds is None else float(f"{result.seconds:.4g}"),
            "peak_mib": None if result.peak is None else round(result.peak / 2**20, 1),
        }


def summarise(
    tally: Tally,
    dataset: Dataset,
    protocol: str,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    """Sum an evaluation up.

    Parameters
    ----------
    tally : Tally
        The results of all methods on each of its images.
    dataset : Dataset
        Where the images are from.
    protocol : str
        How images were run.
    methods, metrics : sequence
        In the order of rows and columns.

    Returns
    -------
    dict
        Plain values, as ``docs/eval.md`` describes them.
    """
    images = list(tally.images.values())
    groups = list(dict.fromkeys(image["group"] for image in images))
    if not 1 < len(groups) <= _MOST_GROUPS:
        groups = []
    rows = [
        _row(method, [i for i in images if group in ("", i["group"])], group, metrics, dataset)
        for group in (*groups, "")
        for method in methods
    ]
    return {
        "dataset": {
            "name": dataset.name,
            "title": dataset.title,
            "protocol": dataset.protocol,
            "samples": len(images),
        },
        "protocol": protocol,
        "rounding": ROUNDING,
        "metrics": [
            {key: value for key, value in vars(metric).items() if key != "compute"}
            for metric in metrics
        ],
        "methods": [
            {
                "name": method.name,
                "title": method.title,
                "description": method.description,
                "settings": dict(method.settings),
            }
            for method in methods
        ],
        "rows": rows,
        "images": images,
        "machine": describe_machine(),
    }


def _row(
    method: Method,
    images: Sequence[Mapping[str, Any]],
    group: str,
    metrics: Sequence[Metric],
    dataset: Dataset,
) -> dict[str, Any]:
    results = [image["results"][method.name] for image in images]
    seconds = [result["seconds"] for result in results if result["seconds"] is not None]
    peaks = [result["peak_mib"] for result in results if result["peak_mib"] is not None]
    megapixels = sum(image["width"] * image["height"] for image in images) / 1e6
    gains: list[float] = []
    if dataset.referenced and method.name != NOISY:
        name, sign = metrics[0].name, 1 if metrics[0].higher_is_better else -1
        gains = [
            sign * (image["results"][method.name]["scores"][name] - noisy["scores"][name])
            for image in images
            if (noisy := image["results"].get(NOISY))
        ]
    return {
        "method": method.name,
        "group": group,
        "images": len(images),
        "scores": {
            metric.name: fmean(result["scores"][metric.name] for result in results)
            for metric in metrics
        },
        "worse": sum(gain < 0 for gain in gains) if gains else None,
        "least_gain": min(gains, default=None),
        "seconds_per_megapixel": float(f"{sum(seconds) / megapixels:.4g}") if seconds else None,
        "peak_mib": max(peaks, default=None),
    }


def describe_machine() -> dict[str, Any]:
    """Return the machine that times were measured on, and the versions of the software."""
    machine: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ssbsn": __version__,
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def table_rows(evaluation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row of plain values for each image and method, for a CSV file."""
    for image in evaluation["images"]:
        for method, result in image["results"].items():
            yield {
                "dataset": evaluation["dataset"]["name"],
                "group": image["group"],
                "image": image["name"],
                "width": image["width"],
                "height": image["height"],
                "method": method,
                **result["scores"],
                "seconds": result["seconds"],
                "peak_mib": result["peak_mib"],
            }
