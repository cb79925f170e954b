"""The photos of a training: find, decode and record them, and make batches and scores of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.draws import Batching, Shares
from ssbsn_cli.core.data.layouts import Side, find_pairs, find_photos
from ssbsn_cli.core.data.matching import Pair
from ssbsn_cli.core.data.sampler import CropSampler, PairSampler
from ssbsn_cli.core.data.store import CropCache, content_of, hold_out
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.denoiser import load_denoiser
from ssbsn_cli.core.inference.settings import UNCHANGING
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.runtime.storage import file_digest, short_digest
from ssbsn_cli.core.training.batches import (
    Batch,
    Batches,
    DrawPairs,
    make_recipe,
    mix_batches,
    noisy_batches,
    refuse_objectives,
    synthetic_pairs,
)
from ssbsn_cli.core.training.config import ObjectiveKind
from ssbsn_cli.core.training.data_paths import DataPath
from ssbsn_cli.core.training.own import OwnSource
from ssbsn_cli.core.training.parts import denoise_splits, describe_parts, held_parts, measure_parts
from ssbsn_cli.core.training.request import TrainingRequest
from ssbsn_cli.core.training.teacher import teach
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import (
    Validation,
    centre,
    read_pairs,
    refuse_blotches,
    score_loss,
    score_pairs,
)
from ssbsn_cli.core.types import Notify, count_of, spread, to_unit
from ssbsn_cli.core.weights.locate import find_weights, load_weights

# The same for all trainings, so that trainings with different seeds can be compared.
_VALIDATION_SEED = 2**64 - 1
# How many parts of photos are searched for blotches.
_PICTURES = 8


@dataclass(frozen=True)
class TrainingData:
    """The data of a training: this process's part of each batch, and the validation.

    Previews show `picture`, (H, W, 3) in [0, 1]. `pixels` counts the pixels of all training photos.
    `record` has the sources, a ``key`` for these photos, and their ``noise`` if it was measured.
    The result is `trust` times the trained weights, plus 1 - `trust` times the initial ones.
    """

    batches: Batches
    validation: Validation
    picture: Floats
    pixels: int
    record: dict[str, Any]
    trust: float = 1.0


def open_data(
    request: TrainingRequest, network: Network, team: Team, say: Notify, warn: Notify
) -> TrainingData:
    """Find and decode the photos of a training.

    Raises
    ------
    OptionError
        There are no usable photos.
    """
    config, training = request.config, request.config.training
    refuse_objectives(config, network)
    request.refuse_missing()
    photos = _Photos(request, team, say, warn)
    objectives = {kind: photos.batches(kind) for kind in training.kinds}
    checks = [
        (training.objectives[kind] / len(batches), batch)
        for kind, (_, batches) in objectives.items()
        for batch in batches
    ]
    validation: Validation = partial(score_loss, checks, training.loss, team.device)
    if request.validation:
        scored = read_pairs(request.validation, training.validation_crops, say, warn)
        validation = partial(score_pairs, scored, team.device)
        # Scores on different photos cannot be compared, so these photos are part of the key.
        photos.keys.append([content_of(picture) for pair in scored for picture in pair])
    elif photos.pictures:
        before = load_weights(str(request.init)).network.to(team.device)
        validation = refuse_blotches(validation, photos.pictures, before, team.device)
    if photos.noisy:
        picture = centre(photos.noisy[0].view(photos.noisy[0].windows[0]))
    else:
        picture = np.ascontiguousarray(checks[0][1].noisy[0].transpose(1, 2, 0))
    each = {kind: batches for kind, (batches, _) in objectives.items()}
    mixed = mix_batches(each, training.objectives, training.seed)
    record = {"key": short_digest(photos.keys), "sources": photos.records, **photos.noise}
    return TrainingData(mixed, validation, picture, photos.pixels, record, photos.trust)


def _drawn(folders: Sequence[DataPath]) -> list[DataPath]:
    """Return those that are ever drawn; refuse shares that make no sense."""
    Shares([data.share for data in folders])
    return [data for data in folders if data.share]


class _Photos:
    """Decodes photos, keeps a record of them, and makes batches for each objective."""

    def __init__(self, request: TrainingRequest, team: Team, say: Notify, warn: Notify) -> None:
        self._request, self._config = request, request.config
        self._device = str(team.device)
        self._say, self._warn = say, warn
        # For `TrainingData.record`.
        self.records: list[dict[str, Any]] = []
        self.noise: dict[str, Any] = {}
        self.keys: list[object] = []
        self.pixels, self.trust = 0, 1.0
        # Noisy parts on which networks that learn from measured noise are compared.
        self.pictures: list[Floats] = []
        training = self._config.training
        # The crops to train on, and to validate on.
        self._batchings = (
            team.batching(training.batch_size, training.seed),
            Batching(training.validation_crops, _VALIDATION_SEED),
        )
        self._folders = _drawn(request.needed("data")) if self._config.uses_noisy else []
        self._shares = [data.share for data in self._folders]
        self.noisy = [self._open(data, "noisy") for data in self._folders]

    def batches(self, kind: ObjectiveKind) -> tuple[Batches, list[Batch]]:
        """Return an objective's training batches and its validation batches."""
        if kind == "self":
            return self._self()
        if kind == "synthetic":
            training, checks = self._synthetic
            return self._of_noisy(lambda step: training(step)[0], lambda step: checks(step)[0])
        if kind == "own":
            return self._own()
        if kind == "distill":
            return self._distill()
        return self._real_pairs() if self._config.pairs.real else self._of_pairs(self._synthetic)

    def _self(self) -> tuple[Batches, list[Batch]]:
        training = self._config.training
        crops, checks = (
            CropSampler(part, self._shares, training.crop, batching)
            for part, batching in zip(self._splits(), self._batchings, strict=True)
        )
        if small := crops.not_used:
            self._warn(f"Not used: {count_of(small, 'photo')} smaller than the crops.")
        return self._of_noisy(crops.batch, checks.batch)

    def _splits(self) -> tuple[list[CropCache], list[CropCache]]:
        """Split the noisy photos into parts for training and for validation."""
        training = self._config.training
        if not training.hold_out:
            return self.noisy, self.noisy
        splits = [hold_out(cache, training.hold_out, training.crop) for cache in self.noisy]
        for data, (_, rest) in zip(self._folders, splits, strict=True):
            if not rest.windows:
                self._warn(
                    f"{data.label}: no photo is large enough to hold a part out of training, so "
                    "nothing shows whether the result is better."
                )
        held = [rest if rest.windows else kept for kept, rest in splits]
        return [kept for kept, _ in splits], held

    def _own(self) -> tuple[Batches, list[Batch]]:
        config, crop = self._config, self._config.training.crop
        weights = self._request.denoise_with or self._request.init
        usual = {"device": self._device, "precision": config.training.precision, **UNCHANGING}
        thorough, plain = (load_denoiser(weights, ensemble=e, **usual) for e in (True, False))
        # The initial weights are part of the result, too.
        self.keys += [plain.weights.digest, file_digest(find_weights(self._request.init)[0])]
        splits = denoise_splits(self._splits(), config.parts, crop, thorough, self._say)
        noises = measure_parts(splits[0], plain)
        noise = describe_parts(splits[0], noises, self.noisy)
        self._say(noise["summary"])
        self.noise = {"noise": noise}
        if config.training.kinds == ["own"]:
            self.trust = noise["trust"]
        self.pictures = [to_unit(part.noisy) for part in spread(splits[0], _PICTURES)]
        used = splits[0], held_parts(splits, noises)
        source, checks = (
            OwnSource(parts, noises, self._shares, crop, batching)
            for parts, batching in zip(used, self._batchings, strict=True)
        )
        return source.draw, checks.validation()

    def _distill(self) -> tuple[Batches, list[Batch]]:
        folder, count = self._request.cache, self._config.parts.count
        taught = teach(self.noisy, self._shares, self._config, folder, self._device, self._say)
        # The name of the folder identifies the contents of its files, which may be made again.
        self.keys.append((taught.name, count))
        return self._decoded_pairs(DataPath(taught), find_pairs(taught)[:count])

    def _real_pairs(self) -> tuple[Batches, list[Batch]]:
        paths = self._request.needed("pairs")
        if len(paths) > 1:
            raise OptionError(
                "--pairs takes one folder of real pairs.",
                "Put links to the others into that folder.",
            )
        pairs = find_pairs(paths[0].path)
        return self._decoded_pairs(paths[0], pairs, counted=True)

    @cached_property
    def _synthetic(self) -> list[DrawPairs]:
        """The functions that draw pairs for training and for validation."""
        folders = _drawn(self._request.needed("pairs"))
        shares = [data.share for data in folders]
        recipe = make_recipe(self._config.pairs, self.noisy, self._shares, self._say)
        caches = [self._open(data, "clean") for data in folders]
        # A recipe takes crops of twice the size, so that it can halve them.
        side = 2 * self._config.training.crop
        crops = [CropSampler(caches, shares, side, batching) for batching in self._batchings]
        if small := crops[0].not_used:
            self._warn(f"Not used: {count_of(small, 'clean photo')} below {side}x{side}.")
        return [partial(synthetic_pairs, each, recipe) for each in crops]

    def _decoded_pairs(
        self, data: DataPath, pairs: Sequence[Pair], *, counted: bool = False
    ) -> tuple[Batches, list[Batch]]:
        noisy = self._decode([pair.noisy for pair in pairs], "pairs", data, "noisy side")
        clean = self._decode([pair.clean for pair in pairs], "pairs", data, "clean side")
        if counted:
            self._count(noisy)
            self.keys.append((noisy.content, clean.content))
        crop = self._config.training.crop
        samplers = [PairSampler(pairs, noisy, clean, crop, each) for each in self._batchings]
        if left_out := samplers[0].left_out:
            pair, reason = left_out[0]
            count = count_of(len(left_out), "pair")
            self._warn(f"Left out: {count}; the first is {pair.noisy}: {reason}")
        return self._of_pairs(sampler.batch for sampler in samplers)

    def _of_noisy(
        self, crops: Callable[[int], Floats], checks: Callable[[int], Floats]
    ) -> tuple[Batches, list[Batch]]:
        strides, noisy = self._config.training.pd_a, checks(0)
        held = [Batch(noisy, noisy, stride) for stride in strides]
        return noisy_batches(crops, strides, self._config.training.seed), held

    def _of_pairs(self, draws: Iterable[DrawPairs]) -> tuple[Batches, list[Batch]]:
        training, checks = draws
        return lambda step: Batch(*training(step)), [Batch(*checks(0))]

    def _open(self, data: DataPath, side: Side) -> CropCache:
        """Decode the photos that `data` names, or all of this side in its folder."""
        photos, kind = list(data.photos), "files"
        if not photos:
            found = find_photos(data.path, side)
            photos, kind = found.photos, found.kind
            if found.passed_over:
                others = count_of(len(found.passed_over), "other file")
                self._say(f"{data.label}: {others} passed over.")
        cache = self._decode(photos, kind, data, f"{side} photo")
        self.keys.append((cache.content, data.share))
        self._count(cache)
        return cache

    def _count(self, cache: CropCache) -> None:
        """Count the pixels of all photos in a cache, which define the length of an epoch."""
        sizes = {w.number: w.photo_height * w.photo_width for w in cache.windows}
        self.pixels += sum(sizes.values())

    def _decode(self, photos: Sequence[Path], kind: str, data: DataPath, what: str) -> CropCache:
        """Decode the photos of a folder whose layout is `kind`, and report them."""
        cache = open_cache(
            photos,
            self._request.cache,
            side=max(2 * self._config.training.crop, self._config.parts.side, 512),
            limit_bytes=round(self._config.data.cache_gb * 1e9),
            notify=self._say,
        )
        skipped = len(cache.skipped)
        for photo, reason in cache.skipped[:3]:
            self._warn(f"{photo} is skipped: {reason}")
        if skipped > 3:
            self._warn(f"{skipped} photos are skipped.")
        read = len(photos) - skipped
        counts = {"photos": read, "skipped": skipped, "share": data.share}
        self.records.append({"path": str(data.path), "kind": kind, **counts})
        self._say(f"{data.label}: {count_of(read, what)} ({kind}), {skipped} skipped.")
        return cache
