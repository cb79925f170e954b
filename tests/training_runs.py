"""Tiny trainings for the tests: photos, a configuration, a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ssbsn_cli.core.training.log import StepDone
from ssbsn_cli.core.training.request import TrainingOptions, make_request
from ssbsn_cli.core.training.rounds import rounds
from ssbsn_cli.core.training.run import Prepared, prepare_training

TINY = """
[model]
architecture = "ssbsn"
refine = "none"
[model.parameters]
channels = 16
blocks = ["plain", "ss"]
[training]
steps = 6
batch_size = 2
crop = 20
pd_a = [5]
validation_crops = 2
precision = "fp32"
device = "cpu"
[optimizer]
learning_rate = 1e-2
schedule = "cosine"
"""


def write_photos(folder: Path, count: int = 3, size: tuple[int, int] = (48, 56)) -> Path:
    """Smooth pictures with strong noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        clean = cv2.resize(
            rng.uniform(60, 190, (4, 5, 3)), size[::-1], interpolation=cv2.INTER_CUBIC
        )
        noisy = np.clip(np.rint(clean + rng.normal(0, 25, clean.shape)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"photo{number}.png"), noisy)
    return folder


def write_config(path: Path, *changes: tuple[str, str]) -> str:
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return str(path)


class Tiny:
    """A place with photos and a configuration, to train in."""

    def __init__(self, place: Path, python: Sequence[str] = (sys.executable,)) -> None:
        self.place = place
        self.python = python
        self.photos = write_photos(place / "photos")
        self.config = write_config(place / "tiny.toml")
        self.said: list[str] = []
        self.reports: list[StepDone] = []

    def prepare(self, run: str = "run", **changes: Any) -> Prepared:
        arguments: dict[str, Any] = {
            "data": [str(self.photos)],
            "config": self.config,
            "cache": self.place / "cache",
            **changes,
        }
        request = make_request(TrainingOptions(run=self.place / run, **arguments))
        _, first = next(rounds(request, self.said.append))
        return prepare_training(first, self.said.append, self.said.append)

    def train(self, run: str = "run", **changes: Any) -> Path:
        """Train to the end and return the run's directory."""
        with closing(self.prepare(run, **changes)) as prepared:
            prepared.trainer.train(self.reports.append)
        return self.place / run

    def ssbsn(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.python, "-m", "ssbsn_cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.place,
            env=self.environment(),
        )

    def start(
        self,
        *arguments: object,
        launcher: Sequence[str] = (),
        python: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*(python or self.python), *launcher, "-m", "ssbsn_cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.place,
            env=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SSBSN_CACHE": str(self.place / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }


def losses(run: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {each["step"]: each["loss"] for each in records if each["event"] == "step"}


def state(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "state.pt", weights_only=True)
    del content["seconds"]
    return content


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """Nested dictionaries and tensors are equal, to the last bit without a tolerance."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key], tolerance)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    elif isinstance(a, float) and tolerance:
        assert abs(a - b) <= tolerance
    else:
        assert a == b
