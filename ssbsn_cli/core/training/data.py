"""The photos of a training: found, decoded, and turned into batches, scores and a preview."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data import (
    CropCache,
    CropSampler,
    NoiseModel,
    Pair,
    PairSampler,
    SyntheticPairs,
    find_pairs,
    find_photos,
    open_cache,
)
from ssbsn_cli.core.data.holdout import hold_out
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.training.config import Config, ObjectiveKind
from ssbsn_cli.core.training.request import DataPath, DataRequest
from ssbsn_cli.core.training.sources import Draw, Mixture, PairSource, SelfSource, Source
from ssbsn_cli.core.training.teacher import teach
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import LossValidation, PairValidation, Validation

Notify = Callable[[str], None]

# Not the training's own, so that trainings with several seeds can be compared.
_VALIDATION_SEED = 2**64 - 1
_PICTURE = 256


@dataclass(frozen=True)
class TrainingData:
    """What `open_data` returns.

    Parameters
    ----------
    batches : Mixture
        This process' part of each step.
    validation : Validation
        Scores a network.
    picture : array
        (H, W, 3) float32 in [0, 1]: what previews show.
    pixels : int
        In all photos that are trained on.
    record : dict
        The sources and a ``key`` that tells these photos from others, as plain values.
    """

    batches: Mixture
    validation: Validation
    picture: NDArray[np.float32]
    pixels: int
    record: dict[str, Any]


def open_data(
    request: DataRequest,
    config: Config,
    descriptor: Descriptor,
    team: Team,
    say: Notify,
    warn: Notify,
) -> TrainingData:
    """Find and decode the photos of a training.

    Parameters
    ----------
    request : DataRequest
        Which photos.
    config : Config
        What they are needed for.
    descriptor : Descriptor
        Of the network.
    team : Team
        The processes.
    say, warn : callable
        Told what is found.

    Raises
    ------
    OptionError
        There is nothing usable.
    """
    return _Opening(request, config, descriptor, team, say, warn).open()


class _Opening:
    def __init__(
        self,
        request: DataRequest,
        config: Config,
        descriptor: Descriptor,
        team: Team,
        say: Notify,
        warn: Notify,
    ) -> None:
        self.request = request
        self.config = config
        self.stride = int(descriptor.parameters.get("pd_b", 2))
        self.team = team
        self.say = say
        self.warn = warn
        self.share = team.share(config.training.batch_size)
        self.caches: list[CropCache] = []
        self.records: list[dict[str, Any]] = []

    def open(self) -> TrainingData:
        training = self.config.training
        kinds = [kind for kind, share in training.objectives.items() if share > 0]
        noisy: list[CropCache] = []
        if "self" in kinds or "distill" in kinds:
            noisy = [self._noisy(path) for path in self._needed("data", self.request.noisy)]
        sources: dict[ObjectiveKind, tuple[Source, Source]] = {}
        for kind in kinds:
            if kind == "self":
                sources[kind] = self._self(noisy)
            elif kind == "distill":
                sources[kind] = self._distill(noisy)
            else:
                sources[kind] = self._pairs()
        batches = Mixture(
            {kind: source for kind, (source, _) in sources.items()},
            training.objectives,
            training.seed,
        )
        draws = [
            (training.objectives[kind], draw)
            for kind, (_, source) in sources.items()
            for draw in source.validation()
        ]
        validation: Validation = LossValidation(draws, self.team.device)
        if self.request.validation:
            validation = self._on_pairs(self.request.validation)
        # Scores on other photos cannot be compared, so those belong to the key, too.
        scored = self.request.validation and str(self.request.validation.absolute())
        weights = [record["weight"] for record in self.records]
        told = repr(([cache.key for cache in self.caches], weights, scored))
        key = hashlib.sha256(told.encode()).hexdigest()
        return TrainingData(
            batches,
            validation,
            _picture(noisy, draws),
            sum(window.height * window.width for c in self.caches for window in c.windows),
            {"key": key[:32], "sources": self.records},
        )

    def _needed(self, option: str, paths: Sequence[DataPath]) -> Sequence[DataPath]:
        if not paths:
            raise OptionError(
                f"There are no photos to train on: --{option} is missing.",
                f"Name a folder with --{option} DIR.",
            )
        return paths

    def _cache(self, photos: Sequence[Path], kind: str, data: DataPath, what: str) -> CropCache:
        cache = open_cache(
            photos,
            self.request.cache,
            side=max(self.config.training.crop, 512),
            limit_bytes=round(self.config.data.cache_gb * 1e9),
            notify=self.say,
        )
        for photo, reason in cache.skipped[:3]:
            self.warn(f"{photo} is skipped: {reason}")
        if len(cache.skipped) > 3:
            self.warn(f"{len(cache.skipped)} photos are skipped.")
        self.caches.append(cache)
        self.records.append(
            {
                "path": str(data.path),
                "kind": kind,
                "photos": len(photos) - len(cache.skipped),
                "skipped": len(cache.skipped),
                "weight": data.weight,
            }
        )
        self.say(f"{data.path}: {len(photos)} {what} ({kind}), {len(cache.skipped)} skipped.")
        return cache

    def _noisy(self, data: DataPath) -> CropCache:
        if data.photos:
            return self._cache(data.photos, "files", data, "noisy photos")
        found = find_photos(data.path)
        if found.passed_over:
            self.say(f"{data.path}: {len(found.passed_over)} other files are passed over.")
        return self._cache(found.photos, found.kind, data, "noisy photos")

    def _self(self, caches: Sequence[CropCache]) -> tuple[Source, Source]:
        training = self.config.training
        weights = [data.weight for data in self.request.noisy]
        held = caches
        if training.hold_out:
            halves = [hold_out(cache, training.hold_out, training.crop) for cache in caches]
            if any(half.windows for _, half in halves):
                caches = [half for half, _ in halves]
                # Where nothing could be held out, what is trained on has to do.
                held = [rest if rest.windows else half for half, rest in halves]
            else:
                self.warn("The photos are too small to hold a part of them out of training.")
        crops, checks = (
            CropSampler(part, weights, training.crop, *rest)
            for part, rest in (
                (caches, (self.share, training.seed, self.team.rank, self.team.world)),
                (held, (training.validation_crops, _VALIDATION_SEED)),
            )
        )
        if crops.too_small:
            self.warn(f"{crops.too_small} photos are smaller than the crops and are not used.")
        return (
            SelfSource(crops, training.pd_a, training.seed),
            SelfSource(checks, training.pd_a, 0),
        )

    def _distill(self, caches: Sequence[CropCache]) -> tuple[Source, Source]:
        weights = [data.weight for data in self.request.noisy]
        folder = teach(
            caches,
            weights,
            self.config.distill,
            self.request.cache,
            str(self.team.device),
            self.say,
        )
        return self._real_pairs(DataPath(folder))

    def _pairs(self) -> tuple[Source, Source]:
        paths = self._needed("pairs", self.request.pairs)
        if len(paths) > 1:
            raise OptionError(
                "--pairs takes one folder.", "Put links to the others into that folder."
            )
        if self.config.pairs.real:
            return self._real_pairs(paths[0])
        try:
            model = NoiseModel(**self.config.pairs.noise)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"The configuration: pairs.noise: {error}.",
                "docs/train.md lists the keys and their values.",
            ) from None
        found = find_photos(paths[0].path)
        cache = self._cache(found.photos, found.kind, paths[0], "clean photos")

        def source(count: int, seed: int, rank: int = 0, world: int = 1) -> Source:
            crops = CropSampler([cache], [1.0], self.config.training.crop, count, seed, rank, world)
            return PairSource(SyntheticPairs(crops, model, seed), self.stride)

        return self._both(source)

    def _real_pairs(self, data: DataPath) -> tuple[Source, Source]:
        pairs = find_pairs(data.path)
        noisy = self._cache([pair.noisy for pair in pairs], "pairs", data, "noisy sides of pairs")
        clean = self._cache([pair.clean for pair in pairs], "pairs", data, "clean sides of pairs")

        def source(count: int, seed: int, rank: int = 0, world: int = 1) -> Source:
            crops = PairSampler(
                pairs, noisy, clean, self.config.training.crop, count, seed, rank, world
            )
            return PairSource(crops, self.stride)

        return self._both(source)

    def _both(self, source: Callable[..., Source]) -> tuple[Source, Source]:
        training = self.config.training
        return (
            source(self.share, training.seed, self.team.rank, self.team.world),
            source(training.validation_crops, _VALIDATION_SEED),
        )

    def _on_pairs(self, path: Path) -> Validation:
        count = self.config.training.validation_crops
        pairs = find_pairs(path)
        pictures = list(islice(_centres(pairs, self.warn), count))
        if not pictures:
            raise OptionError(f"No pair in {path} can be read.", "Give readable photos.")
        self.say(f"{path}: {len(pairs)} pairs, {len(pictures)} of them to score on.")
        return PairValidation(pictures, self.team.device)


def _centres(
    pairs: Sequence[Pair], warn: Notify
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
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
    return part.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _picture(
    caches: Sequence[CropCache], draws: Sequence[tuple[float, Draw]]
) -> NDArray[np.float32]:
    """Return what previews show: the middle of the first photo, or a crop where there is none."""
    for cache in caches:
        return _centre(cache.view(cache.windows[0]))
    return np.ascontiguousarray(draws[0][1].noisy[0].transpose(1, 2, 0))
