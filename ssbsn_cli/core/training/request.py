"""What a user asks a training to do, put together from options, files and earlier runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.runtime.storage import cache_dir
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.load_config import load_config
from ssbsn_cli.core.training.log import RunFiles


@dataclass(frozen=True)
class DataPath:
    """Some photos.

    Parameters
    ----------
    path : Path
        A directory or a file.
    weight : float
        How often they are drawn, relative to the others.
    photos : tuple of Path, optional
        These very files in place of those found at `path`.
    """

    path: Path
    weight: float = 1.0
    photos: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DataRequest:
    """Which photos a training is to use.

    Parameters
    ----------
    noisy : sequence of DataPath
        Noisy photos, for the objectives "self" and "distill".
    pairs : sequence of DataPath
        Photos for the objective "pairs".
    validation : Path, optional
        Pairs of noisy and clean photos to score on.
    cache : Path
        Where crop caches are kept.
    """

    noisy: Sequence[DataPath]
    pairs: Sequence[DataPath] = ()
    validation: Path | None = None
    _: KW_ONLY
    cache: Path


@dataclass(frozen=True)
class TrainingRequest:
    """What a user asks for.

    Parameters
    ----------
    run : Path
        The run's directory.
    config : Config
        How to train.
    data : DataRequest
        On which photos.
    init : str, optional
        Weights to start from: a name or a path.
    resume : bool
        Go on from the run's last checkpoint, if there is one.
    tensorboard : bool
        Whether TensorBoard gets the metrics, too.
    """

    run: Path
    config: Config
    data: DataRequest
    init: str | None = None
    resume: bool = False
    tensorboard: bool = False

    def told(self) -> dict[str, Any]:
        """Return what `make_request` needs to ask for the same data again, as plain values."""
        data = self.data

        def plain(paths: Sequence[DataPath]) -> list[dict[str, Any]]:
            return [
                {
                    "path": str(each.path.absolute()),
                    "weight": each.weight,
                    "photos": [str(photo.absolute()) for photo in each.photos],
                }
                for each in paths
            ]

        return {
            "init": self.init,
            "noisy": plain(data.noisy),
            "pairs": plain(data.pairs),
            "validation": data.validation and str(data.validation.absolute()),
            "cache": str(data.cache.absolute()),
        }


def make_request(
    *,
    data: Sequence[str],
    run: Path | None = None,
    config: str | None = None,
    changes: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    pairs: Sequence[str] = (),
    validation: Path | None = None,
    init: str | None = None,
    resume: bool = False,
    cache: Path | None = None,
    tensorboard: bool = False,
) -> TrainingRequest:
    """Put a request together.

    Parameters
    ----------
    data : sequence of str
        Paths of noisy photos, each with ``=WEIGHT`` or without.
    run : Path, optional
        The run's directory; ``runs/`` and the configuration's name if not given.
    config : str, optional
        See `load_config`. If not given, that of the run which is resumed, else "small" on a CPU
        and "ssbsn-sidd" elsewhere.
    changes, options
        See `load_config`.
    pairs : sequence of str
        Paths of photos for the objective "pairs", which becomes the only one if the configuration
        does not have it. So does "distill" if `options` name its teacher.
    validation, init, resume, tensorboard
        See `TrainingRequest`. What is not given is that of the run which is resumed.
    cache : Path, optional
        Where crop caches are kept.

    Raises
    ------
    OptionError
        Something makes no sense.
    """
    options = dict(options or {})
    chosen = config or _usual_config(options.get("training.device") or "auto")
    directory = run or Path("runs") / Path(chosen).stem
    before = Path(RunFiles(directory).config)
    going_on = resume and before.is_file()
    if going_on and config is None:
        chosen = str(before)
    options.update(_objective(chosen, changes, options, bool(data), bool(pairs)))
    loaded = load_config(chosen, changes, options)
    photos = DataRequest(
        noisy=[_parse_data(text) for text in data],
        pairs=[_parse_data(text) for text in pairs],
        validation=validation,
        cache=cache or cache_dir() / "crops",
    )
    if going_on:
        told, first = _recall(directory, needed=not data and not pairs)
        if told:
            photos = replace(
                photos,
                noisy=photos.noisy or told.noisy,
                pairs=photos.pairs or told.pairs,
                validation=validation or told.validation,
                cache=cache or told.cache,
            )
        if init and first and init != first:
            raise OptionError(
                f"{directory} began with the weights {first}, not {init}.",
                "Leave --init out to go on with it, or start another run with --out.",
            )
        init = init or first
    _check_used(loaded, photos)
    return TrainingRequest(directory, loaded, photos, init, resume, tensorboard)


def _objective(
    config: str, changes: Sequence[str], options: Mapping[str, Any], data: bool, pairs: bool
) -> dict[str, Any]:
    """Return the change that makes an objective, asked for by an option, the only one."""
    asked = [
        kind
        for kind, wanted in (("distill", options.get("distill.teacher")), ("pairs", pairs))
        if wanted
    ]
    objectives = load_config(config, changes, options).training.objectives
    missing = [kind for kind in asked if kind not in objectives]
    if not missing:
        return {}
    chosen = any(change.startswith("training.objectives") for change in changes)
    if chosen or len(asked) > 1 or (data and "pairs" in asked):
        shares = ", ".join(f"{kind}=1" for kind in dict.fromkeys([*objectives, *asked]))
        raise OptionError(
            f"The configuration has no share for the objective {missing[0]!r}.",
            f"Say how to mix them, for example --set 'training.objectives={{{shares}}}'.",
        )
    return {"training.objectives": {missing[0]: 1.0}}


def _check_used(config: Config, photos: DataRequest) -> None:
    """Refuse photos that no objective would look at."""
    used = [kind for kind, share in config.training.objectives.items() if share > 0]
    of_noisy = ("self", "distill", "pairs") if config.pairs.lifted else ("self", "distill")
    for option, given, kinds in (
        ("data", photos.noisy, of_noisy),
        ("pairs", photos.pairs, ("pairs",)),
    ):
        if given and not set(kinds).intersection(used):
            raise OptionError(
                f"No objective of the configuration uses --{option}.",
                f"Leave it out, or give {kinds[0]!r} a share in training.objectives.",
            )


def _usual_config(device: str) -> str:
    from ssbsn_cli.core.runtime.device import resolve_device

    return "small" if resolve_device(device).type == "cpu" else "ssbsn-sidd"


def _parse_data(text: str) -> DataPath:
    whole = Path(os.path.expanduser(text))
    path, sign, weight = text.rpartition("=")
    if sign and not whole.exists():
        with suppress(ValueError):
            return DataPath(Path(os.path.expanduser(path)), float(weight))
    return DataPath(whole)


def _recall(run: Path, needed: bool) -> tuple[DataRequest | None, str | None]:
    """Return which photos and initial weights a run was started with."""
    try:
        told = json.loads(RunFiles(run).data.read_text(encoding="ascii"))["request"]
        sides = {side: [_path_told(each) for each in told[side]] for side in ("noisy", "pairs")}
        validation = told["validation"] and Path(told["validation"])
        photos = DataRequest(**sides, validation=validation, cache=Path(told["cache"]))
        return photos, told["init"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        if not needed:
            return None, None
        raise OptionError(
            f"{run} does not say which photos it was trained on.", "Name them with --data."
        ) from None


def _path_told(told: dict[str, Any]) -> DataPath:
    photos = tuple(Path(photo) for photo in told["photos"])
    return DataPath(Path(told["path"]), float(told["weight"]), photos)
