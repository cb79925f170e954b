"""The photos of a training: found, decoded, recorded, and those to score and to show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data import CropCache, Pair, find_photos, open_cache
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.request import DataPath
from ssbsn_cli.core.training.sources import Draw
from ssbsn_cli.core.types import Notify, to_unit


class Photos:
    """Decodes photos into crop caches.

    Parameters
    ----------
    folder : Path
        Where caches are kept.
    config : Config
        What they are needed for.
    say, warn : callable
        Told what is found.

    Attributes
    ----------
    pixels : int
        In all photos that are trained on.
    keys : list
        What tells these photos from others.
    """

    def __init__(self, folder: Path, config: Config, say: Notify, warn: Notify) -> None:
        self._folder = folder
        self._config = config
        self._say = say
        self._warn = warn
        self._records: list[dict[str, Any]] = []
        self.pixels = 0
        self.keys: list[object] = []

    def decode(self, photos: Sequence[Path], kind: str, data: DataPath, what: str) -> CropCache:
        """Decode photos, and tell what they are.

        Parameters
        ----------
        photos : sequence of Path
            The photos.
        kind : str
            The layout of the folder that they were found in.
        data : DataPath
            That folder.
        what : str
            What the photos are, for the user.
        """
        cache = open_cache(
            photos,
            self._folder,
            side=max(self._config.training.crop, 512),
            limit_bytes=round(self._config.data.cache_gb * 1e9),
            notify=self._say,
        )
        for photo, reason in cache.skipped[:3]:
            self._warn(f"{photo} is skipped: {reason}")
        if len(cache.skipped) > 3:
            self._warn(f"{len(cache.skipped)} photos are skipped.")
        self._records.append(
            {
                "path": str(data.path),
                "kind": kind,
                "photos": len(photos) - len(cache.skipped),
                "skipped": len(cache.skipped),
                "weight": data.weight,
            }
        )
        self._say(f"{data.path}: {len(photos)} {what} ({kind}), {len(cache.skipped)} skipped.")
        return cache

    def noisy(self, data: DataPath) -> CropCache:
        """Decode the noisy photos of a folder, or those that are named."""
        if data.photos:
            cache = self.decode(data.photos, "files", data, "noisy photos")
        else:
            found = find_photos(data.path)
            if found.passed_over:
                self._say(f"{data.path}: {len(found.passed_over)} other files are passed over.")
            cache = self.decode(found.photos, found.kind, data, "noisy photos")
        self._count(cache, data.weight)
        return cache

    def clean(self, data: DataPath) -> CropCache:
        """Decode the clean photos of a folder."""
        found = find_photos(data.path)
        cache = self.decode(found.photos, found.kind, data, "clean photos")
        self._count(cache, data.weight)
        return cache

    def record(self) -> dict[str, Any]:
        """Return the ``sources`` and a ``key`` that tells these photos from others."""
        key = hashlib.sha256(repr(self.keys).encode()).hexdigest()
        return {"key": key[:32], "sources": self._records}

    def _count(self, cache: CropCache, weight: float) -> None:
        """Add what is trained on to the size of an epoch and to the key."""
        self.keys.append((cache.key, weight))
        if weight > 0:
            photos = {w.number: w.photo_height * w.photo_width for w in cache.windows}
            self.pixels += sum(photos.values())


_PICTURE = 256


def read_centres(
    pairs: Sequence[Pair], warn: Notify
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read the centres of pairs, (H, W, 3) float32 in [0, 1]; say which cannot be used."""
    for pair in pairs:
        try:
            noisy, clean = read_pixels(pair.noisy), read_pixels(pair.clean)
        except ImageError as error:
            warn(str(error))
            continue
        if noisy.shape != clean.shape:
            warn(f"{pair.noisy} and {pair.clean} differ in size and are left out.")
            continue
        yield _centre(noisy), _centre(clean)


def _centre(pixels: NDArray[Any]) -> NDArray[np.float32]:
    top, left = (max(length - _PICTURE, 0) // 2 for length in pixels.shape[:2])
    part = pixels[top : top + _PICTURE, left : left + _PICTURE]
    return to_unit(part)


def picture_of(
    caches: Sequence[CropCache], draws: Sequence[tuple[float, Draw]]
) -> NDArray[np.float32]:
    """Return what previews show: the middle of the first photo, or a crop where there is none."""
    for cache in caches:
        return _centre(cache.view(cache.windows[0]))
    return np.ascontiguousarray(draws[0][1].noisy[0].transpose(1, 2, 0))
