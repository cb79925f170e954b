"""The photos of a training, turned into batches, scores and a preview."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    OneOf,
    Pair,
    PairSampler,
    SyntheticPairs,
    Varied,
    find_pairs,
    lift,
)
from ssbsn_cli.core.data.store import hold_out
from ssbsn_cli.core.data.synthetic import Recipe, Synthesiser
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.noise.camera import Camera
from ssbsn_cli.core.noise.edits import Edits
from ssbsn_cli.core.noise.lifted import LiftedNoise
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.wide import Wide
from ssbsn_cli.core.training.config import Config, ObjectiveKind
from ssbsn_cli.core.training.photos import Photos, picture_of, read_centres
from ssbsn_cli.core.training.request import DataPath, DataRequest
from ssbsn_cli.core.training.sources import Mixture, Paired, PairSource, SelfSource, Source
from ssbsn_cli.core.training.teacher import teach
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import LossValidation, PairValidation, Validation
from ssbsn_cli.core.types import Notify

# Not the training's own, so that trainings with several seeds can be compared.
_VALIDATION_SEED = 2**64 - 1


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
    network: Network,
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
    network : Network
        What is trained.
    team : Team
        The processes.
    say, warn : callable
        Told what is found.

    Raises
    ------
    OptionError
        There is nothing usable.
    """
    return _Opening(request, config, network, team, say, warn).open()


@dataclass
class _Opening:
    request: DataRequest
    config: Config
    network: Network
    team: Team
    say: Notify
    warn: Notify

    def __post_init__(self) -> None:
        self.photos = Photos(self.request.cache, self.config, self.say, self.warn)

    def open(self) -> TrainingData:
        training = self.config.training
        # A batch that cannot be shared is noticed before anything is decoded.
        self.team.share(training.batch_size)
        kinds = [kind for kind, share in training.objectives.items() if share > 0]
        if training.hold_out and kinds != ["self"]:
            raise OptionError(
                "The configuration: training.hold_out works with the objective 'self' alone.",
                "Set it to 0, and give pairs to score on with --val-data.",
            )
        if "self" in kinds and not self.network.blind:
            raise OptionError(
                "The objective 'self' needs a blind-spot network: this one sees the pixels that it "
                "should predict, and would learn to copy them.",
                "Use --config small, or --init with weights of SS-BSN or AP-BSN.",
            )
        noisy: list[CropCache] = []
        if "self" in kinds or "distill" in kinds or ("pairs" in kinds and self.config.pairs.lifted):
            noisy = [self.photos.noisy(path) for path in self._needed("data", self.request.noisy)]
        sources: dict[ObjectiveKind, tuple[Source, Source]] = {}
        for kind in kinds:
            if kind == "self":
                sources[kind] = self._self(noisy)
            elif kind == "distill":
                sources[kind] = self._distill(noisy)
            else:
                sources[kind] = self._pairs(noisy)
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
        validation: Validation = LossValidation(draws, self.team.device, training.loss)
        if self.request.validation:
            validation = self._on_pairs(self.request.validation)
        # Scores on other photos cannot be compared, so those belong to the key, too.
        self.photos.keys.append(self.request.validation and str(self.request.validation.absolute()))
        return TrainingData(
            batches,
            validation,
            picture_of(noisy, draws),
            self.photos.pixels,
            self.photos.record(),
        )

    def _needed(self, option: str, paths: Sequence[DataPath]) -> Sequence[DataPath]:
        if not paths:
            raise OptionError(
                f"There are no photos to train on: --{option} is missing.",
                f"Name a folder with --{option} DIR.",
            )
        return paths

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
        share = self.team.share(training.batch_size)
        crops, checks = (
            CropSampler(part, weights, training.crop, *rest)
            for part, rest in (
                (caches, (share, training.seed, self.team.rank, self.team.world)),
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
        distill = self.config.distill
        device = str(self.team.device)
        folder = teach(caches, weights, distill, self.request.cache, device, self.say)
        # The name of the folder says what it was made of, its files may be made anew.
        self.photos.keys.append((folder.name, distill.windows))
        return self._real_pairs(DataPath(folder), find_pairs(folder)[: distill.windows])

    def _pairs(self, noisy: Sequence[CropCache]) -> tuple[Source, Source]:
        paths = self._needed("pairs", self.request.pairs)
        if self.config.pairs.real:
            if len(paths) > 1:
                raise OptionError(
                    "--pairs takes one folder of real pairs.",
                    "Put links to the others into that folder.",
                )
            pairs = find_pairs(paths[0].path)
            sources = self._real_pairs(paths[0], pairs)
            self.photos.keys.append([str(pair) for pair in pairs])
            return sources
        recipe = self._recipe(noisy)
        weights = [path.weight for path in paths]
        caches = [self.photos.clean(path) for path in paths]
        twice = self.config.pairs.halved or self.config.pairs.synthesiser == "wide"
        side = self.config.training.crop * (2 if twice else 1)

        def source(count: int, seed: int, rank: int = 0, world: int = 1) -> Source:
            crops = CropSampler(caches, weights, side, count, seed, rank, world)
            if rank == 0 and crops.too_small:
                self.warn(f"{crops.too_small} clean photos are smaller than {side}x{side}.")
            return self._pair_source(SyntheticPairs(crops, recipe, seed))

        return self._both(source)

    def _recipe(self, noisy: Sequence[CropCache]) -> Recipe:
        pairs = self.config.pairs
        scenes = Scenes(pairs.halved, pairs.darkened, pairs.colored, pairs.drawn)
        try:
            if pairs.synthesiser == "wide":
                lifted = self._lifted(noisy)[0] if pairs.lifted else []
                shares = {"lifted": pairs.lifted} | pairs.noise
                return Wide(scenes, Edits(grey=pairs.grey), shares, lifted)
            kind = Camera if pairs.synthesiser == "camera" else NoiseModel
            model: Synthesiser = kind(**pairs.noise)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"The configuration: pairs.noise: {error}.",
                "docs/train.md lists the keys and their values.",
            ) from None
        if pairs.lifted:
            model = OneOf([model, OneOf(*self._lifted(noisy))], [1 - pairs.lifted, pairs.lifted])
        return Varied(model, scenes, pairs.grey)

    def _lifted(self, caches: Sequence[CropCache]) -> tuple[list[LiftedNoise], list[float]]:
        lifted: list[LiftedNoise] = []
        odds: list[float] = []
        for cache, data in zip(caches, self.request.noisy, strict=True):
            noises = lift(cache)
            lifted += noises
            # As crops are drawn: a data set by its weight, then any of its photos.
            odds += [data.weight / len(noises) for _ in noises]
        if not lifted:
            raise OptionError(
                "None of the noisy photos has flat parts to lift noise from.",
                "Give others with --data, or set pairs.lifted to 0.",
            )
        self.say(f"Lifted the noise of {len(lifted)} photos.")
        return lifted, odds

    def _real_pairs(self, data: DataPath, pairs: Sequence[Pair]) -> tuple[Source, Source]:
        decode = self.photos.decode
        noisy = decode([pair.noisy for pair in pairs], "pairs", data, "noisy sides of pairs")
        clean = decode([pair.clean for pair in pairs], "pairs", data, "clean sides of pairs")

        def source(count: int, seed: int, rank: int = 0, world: int = 1) -> Source:
            crops = PairSampler(
                pairs, noisy, clean, self.config.training.crop, count, seed, rank, world
            )
            return self._pair_source(crops)

        return self._both(source)

    def _pair_source(self, crops: Paired) -> Source:
        stride = self.network.size_multiple
        crop = self.config.training.crop
        if crop % stride:
            raise OptionError(
                f"A crop of {crop} is no multiple of {stride}, which the network needs for pairs.",
                f"Use a --crop that is a multiple of {stride}.",
            )
        return PairSource(crops, stride)

    def _both(self, source: Callable[..., Source]) -> tuple[Source, Source]:
        training = self.config.training
        share = self.team.share(training.batch_size)
        return (
            source(share, training.seed, self.team.rank, self.team.world),
            source(training.validation_crops, _VALIDATION_SEED),
        )

    def _on_pairs(self, path: Path) -> Validation:
        count = self.config.training.validation_crops
        pairs = find_pairs(path)
        pictures = list(islice(read_centres(pairs, self.warn), count))
        if not pictures:
            raise OptionError(f"No pair in {path} can be read.", "Give readable photos.")
        self.say(f"{path}: {len(pairs)} pairs, {len(pictures)} of them to score on.")
        return PairValidation(pictures, self.team.device)
