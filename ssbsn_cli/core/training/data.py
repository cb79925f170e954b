"""The photos of a training, turned into batches, scores and a preview."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data import (
    CropCache,
    CropSampler,
    Pair,
    PairSampler,
    SyntheticPairs,
    find_pairs,
)
from ssbsn_cli.core.data.store import hold_out
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.config import ObjectiveKind
from ssbsn_cli.core.training.photos import Photos
from ssbsn_cli.core.training.recipe import make_recipe
from ssbsn_cli.core.training.request import DataPath, TrainingRequest
from ssbsn_cli.core.training.sources import Mixture, PairSource, SelfSource, Source
from ssbsn_cli.core.training.teacher import teach
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import (
    Validation,
    centre,
    read_pairs,
    score_loss,
    score_pairs,
)
from ssbsn_cli.core.types import Notify

# The same for all trainings, so that those with different seeds can be compared.
_VALIDATION_SEED = 2**64 - 1

# Batch size, seed, rank and world, as samplers take them.
_Share = tuple[int, int, int, int]


@dataclass(frozen=True)
class TrainingData:
    """What a training learns from.

    Parameters
    ----------
    batches : Mixture
        This process' part of each step.
    validation : callable
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
    request: TrainingRequest, network: Network, team: Team, say: Notify, warn: Notify
) -> TrainingData:
    """Find and decode the photos of a training.

    Raises
    ------
    OptionError
        There is nothing usable.
    """
    config = request.config
    training = config.training
    # A batch that cannot be shared is noticed before anything is decoded.
    team.share(training.batch_size)
    kinds = [kind for kind, share in training.objectives.items() if share > 0]
    if training.hold_out and kinds != ["self"]:
        raise OptionError(
            "The configuration: training.hold_out works with the objective 'self' alone.",
            "Set it to 0, and give pairs to score on with --val-data.",
        )
    if "self" in kinds and not network.blind:
        raise OptionError(
            "The objective 'self' needs a blind-spot network: this one sees the pixels that it "
            "should predict, and would learn to copy them.",
            "Use --config small, or --init with weights of SS-BSN or AP-BSN.",
        )
    stride = network.size_multiple
    if kinds != ["self"] and training.crop % stride:
        raise OptionError(
            f"A crop of {training.crop} is no multiple of {stride}, which the network needs for "
            "pairs.",
            f"Use a --crop that is a multiple of {stride}.",
        )
    photos = Photos(request, say, warn)
    noisy: list[CropCache] = []
    if "self" in kinds or "distill" in kinds or ("pairs" in kinds and config.pairs.lifted):
        noisy = [photos.open(path, "noisy") for path in _needed("data", request.noisy)]
    maker = _SourceMaker(request, team, photos, noisy, stride)
    sources = {kind: maker.make(kind) for kind in kinds}
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
    validation: Validation = partial(score_loss, draws, training.loss, team.device)
    if request.validation:
        scored = read_pairs(request.validation, training.validation_crops, say, warn)
        validation = partial(score_pairs, scored, team.device)
    # Scores on other photos cannot be compared, so these photos are part of the key.
    photos.keys.append(request.validation and str(request.validation.absolute()))
    if noisy:
        picture = centre(noisy[0].view(noisy[0].windows[0]))
    else:
        picture = np.ascontiguousarray(draws[0][1].noisy[0].transpose(1, 2, 0))
    return TrainingData(batches, validation, picture, photos.pixels, photos.record())


def _needed(option: str, paths: Sequence[DataPath]) -> Sequence[DataPath]:
    if not paths:
        raise OptionError(
            f"There are no photos to train on: --{option} is missing.",
            f"Name a folder with --{option} DIR.",
        )
    return paths


class _SourceMaker:
    """Makes the sources of an objective: one to train on, and one to validate on."""

    def __init__(
        self,
        request: TrainingRequest,
        team: Team,
        photos: Photos,
        noisy: Sequence[CropCache],
        stride: int,
    ) -> None:
        self._request = request
        self._config = request.config
        self._device = team.device
        self._photos = photos
        self._say, self._warn = photos.say, photos.warn
        self._noisy = noisy
        self._weights = [data.weight for data in request.noisy]
        self._stride = stride
        training = request.config.training
        self._shares: tuple[_Share, _Share] = (
            (team.share(training.batch_size), training.seed, team.rank, team.world),
            (training.validation_crops, _VALIDATION_SEED, 0, 1),
        )

    def make(self, kind: ObjectiveKind) -> tuple[Source, Source]:
        if kind == "self":
            return self._self()
        if kind == "distill":
            return self._distill()
        return self._real_pairs() if self._config.pairs.real else self._synthetic_pairs()

    def _self(self) -> tuple[Source, Source]:
        training = self._config.training
        caches = held = self._noisy
        if training.hold_out:
            halves = [hold_out(cache, training.hold_out, training.crop) for cache in self._noisy]
            if any(half.windows for _, half in halves):
                caches = [half for half, _ in halves]
                # Where nothing could be held out, validate on what is trained on.
                held = [rest if rest.windows else half for half, rest in halves]
            else:
                self._warn("The photos are too small to hold a part of them out of training.")
        crops, checks = (
            CropSampler(part, self._weights, training.crop, *share)
            for part, share in zip((caches, held), self._shares, strict=True)
        )
        if crops.too_small:
            self._warn(f"{crops.too_small} photos are smaller than the crops and are not used.")
        return (
            SelfSource(crops, training.pd_a, training.seed),
            SelfSource(checks, training.pd_a, training.seed),
        )

    def _distill(self) -> tuple[Source, Source]:
        distill = self._config.distill
        device = str(self._device)
        folder = teach(self._noisy, self._weights, distill, self._request.cache, device, self._say)
        # The name of the folder says what its files were made of; they may be made anew.
        self._photos.keys.append((folder.name, distill.windows))
        return self._decoded_pairs(DataPath(folder), find_pairs(folder)[: distill.windows])

    def _real_pairs(self) -> tuple[Source, Source]:
        paths = _needed("pairs", self._request.pairs)
        if len(paths) > 1:
            raise OptionError(
                "--pairs takes one folder of real pairs.",
                "Put links to the others into that folder.",
            )
        pairs = find_pairs(paths[0].path)
        sources = self._decoded_pairs(paths[0], pairs, counted=True)
        self._photos.keys.append([str(pair) for pair in pairs])
        return sources

    def _synthetic_pairs(self) -> tuple[Source, Source]:
        pairs = self._config.pairs
        paths = _needed("pairs", self._request.pairs)
        weights = [path.weight for path in paths]
        recipe = make_recipe(pairs, self._noisy, self._weights, self._say)
        caches = [self._photos.open(path, "clean") for path in paths]
        # A recipe takes crops twice as large, so that it can halve them.
        side = 2 * self._config.training.crop
        crops = [CropSampler(caches, weights, side, *share) for share in self._shares]
        if crops[0].too_small:
            self._warn(f"{crops[0].too_small} clean photos are smaller than {side}x{side}.")
        return self._of_pairs(
            SyntheticPairs(each, recipe, seed)
            for each, (_, seed, _, _) in zip(crops, self._shares, strict=True)
        )

    def _decoded_pairs(
        self, data: DataPath, pairs: Sequence[Pair], *, counted: bool = False
    ) -> tuple[Source, Source]:
        decode = self._photos.decode
        noisy = decode([pair.noisy for pair in pairs], "pairs", data, "noisy sides of pairs")
        clean = decode([pair.clean for pair in pairs], "pairs", data, "clean sides of pairs")
        if counted:
            self._photos.count(noisy)
        crop = self._config.training.crop
        return self._of_pairs(
            PairSampler(pairs, noisy, clean, crop, *share) for share in self._shares
        )

    def _of_pairs(self, samplers: Iterable[PairSampler | SyntheticPairs]) -> tuple[Source, Source]:
        training, validation = (PairSource(sampler, self._stride) for sampler in samplers)
        return training, validation
