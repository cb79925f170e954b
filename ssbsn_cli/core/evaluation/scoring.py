"""Every method on every sample: run, scored, and kept, so that nothing is done twice."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.datasets.samples import Dataset, Sample
from ssbsn_cli.core.evaluation.methods import Method
from ssbsn_cli.core.evaluation.metrics import Metric
from ssbsn_cli.core.evaluation.quality import reference_of, to_picture
from ssbsn_cli.core.runtime.device import PeakMemory
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.types import Notify

# To be raised when the same settings come to mean something else.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of one image denoised in one way.

    Parameters
    ----------
    scores : dict of str to float
        By metric.
    seconds : float, optional
        It took, if it took any.
    peak : int, optional
        Bytes of memory.
    pixels : numpy.ndarray, optional
        The result.
    """

    scores: dict[str, float]
    seconds: float | None
    peak: int | None
    pixels: NDArray[Any] | None = None


class ResultCache:
    """A folder of results by content, weights and options.

    Parameters
    ----------
    folder : Path, optional
        Made when it is first needed. Nothing is kept without one.
    warn : callable
        Told if results cannot be kept, once; the evaluation goes on.
    """

    def __init__(self, folder: Path | None, warn: Notify) -> None:
        self.folder = folder
        self._warn = warn

    def get(self, key: str) -> Kept | None:
        """Return what is kept under a key; None if there is nothing that can be read."""
        if self.folder is None:
            return None
        try:
            # NumPy leaves files open that it cannot read.
            with self._path(key).open("rb") as stream, np.load(stream) as file:
                told = json.loads(file["told"].tobytes())
                pixels = file.get("pixels")
            return Kept(told["scores"], told["seconds"], told["peak"], pixels)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, kept: Kept) -> None:
        """Keep a result."""
        if self.folder is None:
            return
        told = {"scores": kept.scores, "seconds": kept.seconds, "peak": kept.peak}
        arrays: dict[str, Any] = {"told": np.frombuffer(json.dumps(told).encode(), np.uint8)}
        if kept.pixels is not None:
            arrays["pixels"] = kept.pixels
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


def sample_digest(sample: Sample) -> str:
    """Return what tells the content of a sample from others', whatever its name."""
    digest = hashlib.sha256()
    for picture in (sample.noisy, *sample.references):
        digest.update(f"{picture.dtype.str}{picture.shape}".encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def result_key(digest: str, method: str, settings: Mapping[str, Any]) -> str:
    """Return what a result is kept under.

    Parameters
    ----------
    digest : str
        Of the sample.
    method : str
        Its kind: two with the same settings may differ in nothing else.
    settings : mapping
        All that the result depends on, as plain values.
    """
    told = json.dumps([_VERSION, digest, method, settings], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


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
        It took; None for the noisy photograph.
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


def evaluate(
    dataset: Dataset,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    cache: ResultCache,
    wants_pixels: Callable[[str], bool],
) -> Iterator[Result]:
    """Denoise each sample by each method.

    Samples of one size that follow each other are denoised together by methods that gain by it. No
    more than one batch is held in memory.

    Parameters
    ----------
    dataset : Dataset
        The samples.
    methods : sequence of Method
        With names that differ.
    metrics : sequence of Metric
        What to compute of each result.
    cache : ResultCache
        Where results are taken from, and kept for the next time.
    wants_pixels : callable
        Tells by a sample's name whether its results are needed themselves.

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
        todo = [_Todo(each, sample_digest(each), wants_pixels(each.name)) for each in samples]
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
            alike = _kind(sample) == _kind(batch[0])
            full = max(method.batch_size(*_kind(batch[0])[0][:2]) for method in methods)
            if not alike or len(batch) >= full:
                yield batch
                batch = []
        batch.append(sample)
    if batch:
        yield batch


def _kind(sample: Sample) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return sample.noisy.shape, sample.noisy.dtype


def _run(
    method: Method, batch: Sequence[_Todo], metrics: Sequence[Metric], cache: ResultCache
) -> Iterator[Result]:
    """Answer a batch from the cache if it has all of it, else denoise it."""
    names = {metric.name for metric in metrics}
    height, width = batch[0].sample.noisy.shape[:2]

    def key(todo: _Todo) -> str:
        return result_key(todo.digest, type(method).__name__, method.settings_for(height, width))

    found = [cache.get(key(todo)) for todo in batch]
    usable = [
        kept is not None
        and names <= kept.scores.keys()
        and not (todo.wants_pixels and kept.pixels is None)
        for kept, todo in zip(found, batch, strict=True)
    ]
    missing = [todo for todo, there in zip(batch, usable, strict=True) if not there]
    fresh = _denoise(method, missing, metrics)
    for kept, there, todo in zip(found, usable, batch, strict=True):
        if not there:
            kept = next(fresh)
            cache.put(key(todo), kept)
        assert kept is not None
        scores = {name: kept.scores[name] for name in sorted(names)}
        yield Result(method.name, todo.sample, scores, kept.seconds, kept.peak, kept.pixels)


def _denoise(method: Method, batch: Sequence[_Todo], metrics: Sequence[Metric]) -> Iterator[Kept]:
    if not batch:
        return
    images = [todo.sample.noisy for todo in batch]
    method.warm_up(images[0])
    with PeakMemory(str(method.settings.get("device", "cpu"))) as memory:
        start = time.perf_counter()
        denoised = method(images)
        seconds = (time.perf_counter() - start) / len(images)
    for todo, result in zip(batch, denoised, strict=True):
        picture = to_picture(result)
        reference = reference_of(todo.sample)
        scores = {metric.name: metric.compute(reference, picture) for metric in metrics}
        pixels: NDArray[Any] | None = None
        if todo.wants_pixels:
            floats = todo.sample.noisy.dtype.kind == "f"
            pixels = np.clip(result, 0, 1) if floats else picture
        timed = method.timed
        yield Kept(scores, seconds if timed else None, memory.bytes if timed else None, pixels)
