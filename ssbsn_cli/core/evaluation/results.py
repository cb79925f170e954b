"""Results that are kept, so that an evaluation that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.evaluation.datasets.samples import Sample
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
