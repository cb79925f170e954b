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
from ssbsn_cli.core.training.config import Config, load_config
from ssbsn_cli.core.training.files import RunFiles
from ssbsn_cli.core.weights.fetch import cache_dir


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
class Request:
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

        def plain(paths: Sequence[DataPath]) -> list[tuple[str, float]]:
            return [(str(each.path.absolute()), each.weight) for each in paths]

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
    pairs: str | None = None,
    validation: Path | None = None,
    init: str | None = None,
    resume: bool = False,
    cache: Path | None = None,
    tensorboard: bool = False,
) -> Request:
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
    pairs : str, optional
        Path of photos for the objective "pairs", which becomes the only one if the configuration
        does not have it. So does "distill" if `options` name its teacher.
    validation, init, resume, tensorboard
        See `Request`.
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
    going_on = resume and RunFiles(directory).config.is_file()
    if going_on and config is None:
        chosen = str(RunFiles(directory).config)
    loaded = load_config(chosen, changes, options)
    for kind, asked in (("distill", options.get("distill.teacher")), ("pairs", pairs)):
        if asked and kind not in loaded.training.objectives:
            loaded = load_config(chosen, changes, {**options, "training.objectives": {kind: 1.0}})
    photos = DataRequest(
        noisy=[_parse_data(text) for text in data],
        pairs=[_parse_data(pairs)] if pairs else [],
        validation=validation,
        cache=cache or cache_dir() / "crops",
    )
    if going_on and not data and not pairs:
        before, first = _recall(directory)
        photos = replace(before, validation=validation or before.validation)
        init = init or first
    return Request(directory, loaded, photos, init, resume, tensorboard)


def is_leader() -> bool:
    """Tell whether this process prints and writes, of those that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def _usual_config(device: str) -> str:
    from ssbsn_cli.core.inference.device import resolve_device

    return "small" if resolve_device(device).type == "cpu" else "ssbsn-sidd"


def _parse_data(text: str) -> DataPath:
    whole = Path(os.path.expanduser(text))
    path, sign, weight = text.rpartition("=")
    if sign and not whole.exists():
        with suppress(ValueError):
            return DataPath(Path(os.path.expanduser(path)), float(weight))
    return DataPath(whole)


def _recall(run: Path) -> tuple[DataRequest, str | None]:
    """Return which photos and initial weights a run was started with."""
    try:
        told = json.loads(RunFiles(run).data.read_text(encoding="ascii"))["request"]
        sides = {
            side: [DataPath(Path(path), weight) for path, weight in told[side]]
            for side in ("noisy", "pairs")
        }
        validation = told["validation"] and Path(told["validation"])
        photos = DataRequest(**sides, validation=validation, cache=Path(told["cache"]))
        return photos, told["init"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OptionError(
            f"{run} does not say which photos it was trained on.", "Name them with --data."
        ) from None
