"""Run and score every method on every sample, and cache results so that nothing is done twice."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Result, Sample
from ssbsn_cli.core.evaluation.methods import Method
from ssbsn_cli.core.evaluation.metrics import Metric, to_picture
from ssbsn_cli.core.runtime.device import PeakMemory
from ssbsn_cli.core.runtime.machine import describe_machine
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.types import Notify

# Raise this when the meaning of the same settings changes.
_VERSION = 7
# No score or time is this large, and sums of this do not overflow.
_ABSURD = 1e12
_MOST_TOLD = 1 << 16


class _Kept(BaseModel):
    """The part of a cached result that is not pixels."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    scores: dict[str, Annotated[float, Field(ge=-_ABSURD, le=_ABSURD)]]
    seconds: Annotated[float, Field(ge=0, le=_ABSURD)] | None
    peak: Annotated[int, Field(ge=0, lt=1 << 63)] | None


@dataclass(frozen=True, eq=False)
class _Todo:
    sample: Sample
    digest: str
    wants_pixels: bool


class ResultCache:
    """A folder of results by the sample's content, the weights and the options.

    It is created when it is first needed. Without a folder, nothing is kept. `warn` is called once
    if results cannot be kept; the evaluation continues.
    """

    def __init__(self, folder: Path | None, warn: Notify) -> None:
        self.folder = folder
        self._warn = warn

    def get(self, key: str, method: str, todo: _Todo, metrics: Iterable[str]) -> Result | None:
        """Return the result under a key with these metrics, in their order, or None."""
        if self.folder is None:
            return None
        kept, pixels = self._read(key, todo.sample)
        if kept is None or not kept.scores.keys() >= set(metrics) or not _fit(pixels, todo):
            return None
        scores = {name: kept.scores[name] for name in metrics}
        return Result(method, todo.sample, scores, kept.seconds, kept.peak, pixels)

    def _read(self, key: str, sample: Sample) -> tuple[_Kept | None, NDArray[Any] | None]:
        """Return what is kept under a key, with the pixels, if any."""
        try:
            # NumPy does not close files that it cannot read.
            with self._path(key).open("rb") as stream, np.load(stream) as file:
                size = sum(entry.file_size for entry in file.zip.infolist())
                if size > sample.noisy.size * 4 + _MOST_TOLD:
                    return None, None
                return _Kept.model_validate_json(file["told"].tobytes()), file.get("pixels")
        # A damaged or hostile file can raise almost anything, and only costs time.
        except Exception:
            return None, None

    def put(self, key: str, result: Result) -> None:
        """Keep a result, and other scores of it that are kept already."""
        if self.folder is None:
            return
        kept, pixels = self._read(key, result.sample)
        scores = {**(kept.scores if kept else {}), **result.scores}
        told = {"scores": scores, "seconds": result.seconds, "peak": result.peak}
        arrays: dict[str, Any] = {"told": np.frombuffer(json.dumps(told).encode(), np.uint8)}
        pixels = pixels if result.pixels is None else result.pixels
        if pixels is not None:
            arrays["pixels"] = pixels
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.getvalue())
        except OSError as error:
            self._warn(f"Results cannot be kept in {self.folder}: {error.strerror}.")
            self.folder = None

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.npz"


def _fit(pixels: NDArray[Any] | None, todo: _Todo) -> bool:
    """Return whether pixels are plausible for the result, or not needed."""
    if pixels is None:
        return not todo.wants_pixels
    if pixels.shape != todo.sample.noisy.shape:
        return False
    if todo.sample.noisy.dtype.kind != "f":
        return pixels.dtype == np.uint8
    return pixels.dtype == np.float32 and bool(pixels.min() >= 0 and pixels.max() <= 1)


def evaluate(
    dataset: Dataset,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    cache: ResultCache,
    wants_pixels: Callable[[str], bool],
) -> Iterator[Result]:
    """Denoise each sample by each method, whose names differ, and score the results.

    Methods that are faster that way denoise consecutive samples of one size together. At most one
    batch is held in memory. For each method, results come in the order of the samples.

    `wants_pixels` takes a sample's name and returns whether the pixels of its results are needed.

    Raises
    ------
    SsbsnError
        A sample cannot be read or scored, or a method fails.
    """
    machine = describe_machine()
    for samples in _batches(dataset, methods):
        height, width = samples[0].noisy.shape[:2]
        todo = [_Todo(each, _digest(each), wants_pixels(each.name)) for each in samples]
        for method in methods:
            size = method.batch_size(height, width)
            for start in range(0, len(todo), size):
                yield from _run(method, todo[start : start + size], metrics, cache, machine)


def _batches(dataset: Dataset, methods: Sequence[Method]) -> Iterator[list[Sample]]:
    """Yield groups of samples of one size and type, as large as the largest batch of a method."""
    for (shape, _), alike in groupby(dataset, lambda each: (each.noisy.shape, each.noisy.dtype)):
        size = max(method.batch_size(*shape[:2]) for method in methods)
        while batch := list(islice(alike, size)):
            yield batch


def _digest(sample: Sample) -> str:
    """Return a digest of a sample's pixels, which does not depend on its name."""
    digest = hashlib.sha256()
    for picture in (sample.noisy, *sample.references):
        digest.update(f"{picture.dtype.str}{picture.shape}".encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def _run(
    method: Method,
    batch: Sequence[_Todo],
    metrics: Sequence[Metric],
    cache: ResultCache,
    machine: Mapping[str, Any],
) -> Iterator[Result]:
    """Look up a batch in the cache, and denoise the missing samples."""
    names = sorted(metric.name for metric in metrics)
    height, width = batch[0].sample.noisy.shape[:2]

    def key(todo: _Todo) -> str:
        # Times are those of the machine, and results those of the versions.
        told = [_VERSION, machine, todo.digest, type(method).__name__]
        told.append(method.settings_for(height, width))
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    kept = [cache.get(key(todo), method.name, todo, names) for todo in batch]
    missing = [todo for todo, result in zip(batch, kept, strict=True) if result is None]
    fresh = _denoise(method, missing, metrics)
    for todo, result in zip(batch, kept, strict=True):
        if result is None:
            result = next(fresh)
            # The key may have changed: if a precision was too low, another one is in use now.
            cache.put(key(todo), result)
        yield result


def _denoise(method: Method, batch: Sequence[_Todo], metrics: Sequence[Metric]) -> Iterator[Result]:
    if not batch:
        return
    images = [todo.sample.noisy for todo in batch]
    method.warm_up(images[0])
    with PeakMemory(str(method.settings.get("device", "cpu"))) as memory:
        start = time.perf_counter()
        denoised = method(images)
        seconds = (time.perf_counter() - start) / len(images)
    took, peak = (seconds, memory.bytes) if method.timed else (None, None)
    for todo, image in zip(batch, denoised, strict=True):
        picture = to_picture(image)
        reference = todo.sample.reference()
        try:
            scores = {
                metric.name: metric.compute(reference, picture)
                for metric in sorted(metrics, key=lambda metric: metric.name)
            }
        except OptionError as error:
            raise OptionError(f"{todo.sample.name}: {error}", error.hint) from error
        pixels: NDArray[Any] | None = None
        if todo.wants_pixels:
            pixels = np.clip(image, 0, 1) if todo.sample.noisy.dtype.kind == "f" else picture
        yield Result(method.name, todo.sample, scores, took, peak, pixels)
