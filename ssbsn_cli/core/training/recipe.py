"""How clean photos become pairs to train on, as the configuration says."""

from __future__ import annotations

from collections.abc import Sequence

from ssbsn_cli.core.data import CropCache, lift
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.noise.edits import Edits
from ssbsn_cli.core.noise.lifted import LiftedNoise
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.wide import Wide
from ssbsn_cli.core.training.config import PairsConfig
from ssbsn_cli.core.types import Notify


def make_recipe(
    pairs: PairsConfig, noisy: Sequence[CropCache], weights: Sequence[float], say: Notify
) -> Wide:
    """Return what makes pairs of clean photos; `noisy` are the photos to lift noise from.

    Raises
    ------
    OptionError
        The noise makes no sense, or there is none to lift.
    """
    if "lifted" in pairs.noise:
        raise OptionError(
            "The configuration: pairs.noise gives a share of lifted noise.", "Set pairs.lifted."
        )
    lifted, odds = _lifted(noisy, weights, say) if pairs.lifted else ([], [])
    scenes = Scenes(pairs.halved, pairs.darkened, pairs.colored, pairs.drawn)
    shares = pairs.noise | {"lifted": pairs.lifted}
    try:
        return Wide(scenes, Edits(grey=pairs.grey), shares, lifted, odds)
    except OptionError as error:
        raise OptionError(f"The configuration: pairs.noise: {error}", error.hint) from None


def _lifted(
    caches: Sequence[CropCache], weights: Sequence[float], say: Notify
) -> tuple[list[LiftedNoise], list[float]]:
    """Return the noise of all photos that have flat parts, and how often to use it."""
    lifted: list[LiftedNoise] = []
    odds: list[float] = []
    for cache, weight in zip(caches, weights, strict=True):
        noises = lift(cache)
        lifted += noises
        # As crops are drawn: a data set by its weight, then any of its photos.
        odds += [weight / len(noises) for _ in noises]
    if not lifted:
        raise OptionError(
            "None of the noisy photos has flat parts to lift noise from.",
            "Give others with --data, or set pairs.lifted to 0.",
        )
    say(f"Lifted the noise of {len(lifted)} photos.")
    return lifted, odds
