"""Every method on every sample: run, scored, and cached, so that nothing is done twice."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Sample
from ssbsn_cli.core.evaluation.methods import Method
from ssbsn_cli.core.evaluation.metrics import Metric
from ssbsn_cli.core.evaluation.rounding import reference_of, to_picture
from ssbsn_cli.core.runtime.device import PeakMemory
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.runtime.texts import parse_json
from ssbsn_cli.core.types import Notify

# Raise it when the same settings come to mean something else.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Result:
    """One sample denoised by one method.

    Parameters
    ----------
    method : str
        Its name.
    sample : Sample
        What was denoised.
    scores : dict of str to float
        By metric.
    seconds : float, optional
        How long it took; None for the noisy photograph.
    peak : int, optional
        Bytes of memory that the method needed beyond what was held before, if that can be told.
    pixels : numpy.ndarray, optional
        If they were asked for: (H, W, 3) uint8, or for samples of floats float32 in [0, 1].
    """

    method: str
    sample: Sample
    scores: dict[str, float]
    seconds: float | None
    peak: int | None
    pixels: NDArray[Any] | None


class ResultCache:
    """A folder of results by the sample's content, the weights and the options.

    Parameters
    ----------
    folder : Path, optional
        Made when it is first needed. Nothing is kept without one.
    warn : callable
        Told once if results cannot be kept; the evaluation goes on.
    """

    def __init__(self, folder: Path | None, warn: Notify) -> None:
        self.folder = folder
        self._warn = warn

    def get(self, key: str, method: Method, sample: Sample) -> Result | None:
        """Return the result that is kept under a key; None if there is none that can be read."""
        if self.folder is None:
            return None
        try:
            # NumPy leaves files open that it cannot read.
            with self._path(key).open("rb") as stream, np.load(stream) as file:
                told = parse_json(file["told"].tobytes())
                pixels = file.get("pixels")
            scores = {name: float(score) for name, score in told["scores"].items()}
            seconds, peak = told["seconds"], told["peak"]
            if not all(each is None or isinstance(each, int | float) for each in (seconds, peak)):
                return None
            return Result(method.name, sample, scores, seconds, peak, pixels)
        # What others wrote may be anything.
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        except (EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, result: Result) -> None:
        """Keep a result."""
        if self.folder is None:
            return
        told = {"scores": result.scores, "seconds": result.seconds, "peak": result.peak}
        arrays: dict[str, Any] = {"told": np.frombuffer(json.dumps(told).encode(), np.uint8)}
        if result.pixels is not None:
            arrays["pixels"] = result.pixels
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


def evaluate(
    dataset: Dataset,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    cache: ResultCache,
    wants_pixels: Callable[[str], bool],
) -> Iterator[Result]:
    """Denoise each sample by each method.

    Consecutive samples of one size are denoised together by methods that gain by it. No more than
    one batch is held in memory.

    Parameters
    ----------
    dataset : Dataset
        The samples.
    methods : sequence of Method
        With names that differ.
    metrics : sequence of Metric
        What to compute of each result.
    cache : ResultCache
        Where results are looked up, and kept for the next time.
    wants_pixels : callable
        Tells by a sample's name whether the pixels of its results are needed.

    Yields
    ------
    Result
        In the order of the samples for each method.

    Raises
    ------
    SsbsnError
        A sample cannot be read or scored, or a method fails.
    """
    for samples in _batches(dataset, methods):
        height, width = samples[0].noisy.shape[:2]
        todo = [_Todo(each, _digest(each), wants_pixels(each.name)) for each in samples]
        for method in methods:
            size = method.batch_size(height, width)
            for start in range(0, len(todo), size):
                yield from _run(method, todo[start : start + size], metrics, cache)


@dataclass(frozen=True, eq=False)
class _Todo:
    sample: Sample
    digest: str
    wants_pixels: bool


def _batches(dataset: Dataset, methods: Sequence[Method]) -> Iterator[list[Sample]]:
    """Yield runs of samples of one size and type, as long as the largest batch of a method."""
    batch: list[Sample] = []
    for sample in dataset:
        if batch:
            first = batch[0].noisy
            alike = (sample.noisy.shape, sample.noisy.dtype) == (first.shape, first.dtype)
            full = max(method.batch_size(*first.shape[:2]) for method in methods)
            if not alike or len(batch) >= full:
                yield batch
                batch = []
        batch.append(sample)
    if batch:
        yield batch


def _digest(sample: Sample) -> str:
    """Return a digest of a sample's pixels, which leaves out its name."""
    digest = hashlib.sha256()
    for picture in (sample.noisy, *sample.references):
        digest.update(f"{picture.dtype.str}{picture.shape}".encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def _run(
    method: Method, batch: Sequence[_Todo], metrics: Sequence[Metric], cache: ResultCache
) -> Iterator[Result]:
    """Look a batch up in the cache, and denoise what is missing there."""
    names = {metric.name for metric in metrics}
    height, width = batch[0].sample.noisy.shape[:2]

    def key(todo: _Todo) -> str:
        told = [_VERSION, todo.digest, method.kind, method.settings_for(height, width)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    kept = []
    for todo in batch:
        result = cache.get(key(todo), method, todo.sample)
        complete = (
            result is not None
            and names <= result.scores.keys()
            and not (todo.wants_pixels and result.pixels is None)
        )
        kept.append(result if complete else None)
    missing = [todo for todo, result in zip(batch, kept, strict=True) if result is None]
    fresh = _denoise(method, missing, metrics)
    for todo, result in zip(batch, kept, strict=True):
        if result is None:
            result = next(fresh)
            # Not the key from before: a precision that failed is another setting by now.
            cache.put(key(todo), result)
        yield replace(result, scores={name: result.scores[name] for name in sorted(names)})


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
        reference = reference_of(todo.sample)
        scores = {metric.name: metric.compute(reference, picture) for metric in metrics}
        pixels: NDArray[Any] | None = None
        if todo.wants_pixels:
            pixels = np.clip(image, 0, 1) if todo.sample.noisy.dtype.kind == "f" else picture
        yield Result(method.name, todo.sample, scores, took, peak, pixels)
