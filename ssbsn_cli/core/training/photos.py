"""The photos of a training: found, decoded and recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssbsn_cli.core.data import CropCache, find_photos, open_cache
from ssbsn_cli.core.training.request import DataPath, TrainingRequest
from ssbsn_cli.core.types import Notify


class Photos:
    """Decodes photos into crop caches, and remembers which.

    Attributes
    ----------
    pixels : int
        In all photos that are trained on.
    keys : list
        What tells these photos from others.
    """

    def __init__(self, request: TrainingRequest, say: Notify, warn: Notify) -> None:
        self._folder = request.cache
        self._config = request.config
        self.say = say
        self.warn = warn
        self._records: list[dict[str, Any]] = []
        self.pixels = 0
        self.keys: list[object] = []

    def open(self, data: DataPath, what: str) -> CropCache:
        """Decode "noisy" or "clean" photos: those of a folder, or those that are named."""
        photos, kind = list(data.photos), "files"
        if not photos:
            found = find_photos(data.path)
            photos, kind = found.photos, found.kind
            if found.passed_over:
                self.say(f"{data.path}: {len(found.passed_over)} other files are passed over.")
        cache = self.decode(photos, kind, data, f"{what} photos")
        self.keys.append((cache.key, data.weight))
        if data.weight > 0:
            self.count(cache)
        return cache

    def count(self, cache: CropCache) -> None:
        """Add the pixels of all photos in a cache, of which an epoch is made."""
        sizes = {w.number: w.photo_height * w.photo_width for w in cache.windows}
        self.pixels += sum(sizes.values())

    def decode(self, photos: Sequence[Path], kind: str, data: DataPath, what: str) -> CropCache:
        """Decode the photos of a folder, `kind` being its layout, and say what they are."""
        cache = open_cache(
            photos,
            self._folder,
            side=max(self._config.training.crop, 512),
            limit_bytes=round(self._config.data.cache_gb * 1e9),
            notify=self.say,
        )
        skipped = len(cache.skipped)
        for photo, reason in cache.skipped[:3]:
            self.warn(f"{photo} is skipped: {reason}")
        if skipped > 3:
            self.warn(f"{skipped} photos are skipped.")
        self._records.append(
            {
                "path": str(data.path),
                "kind": kind,
                "photos": len(photos) - skipped,
                "skipped": skipped,
                "weight": data.weight,
            }
        )
        self.say(f"{data.path}: {len(photos)} {what} ({kind}), {skipped} skipped.")
        return cache

    def record(self) -> dict[str, Any]:
        """Return the ``sources`` and a ``key`` that tells these photos from others."""
        key = hashlib.sha256(repr(self.keys).encode()).hexdigest()
        return {"key": key[:32], "sources": self._records}
