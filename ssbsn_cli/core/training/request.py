"""A user's request for a training, put together from options, files and earlier runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ssbsn_cli.core.data.layouts import find_pairs
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.runtime.device import resolve_device
from ssbsn_cli.core.runtime.parsing import parse_json
from ssbsn_cli.core.runtime.storage import cache_dir, real_path
from ssbsn_cli.core.training.config import Config, load_config
from ssbsn_cli.core.training.data_paths import DataPath, data_told, parse_data, path_told
from ssbsn_cli.core.training.run_files import RunFiles
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.locate import find_weights, lasting_name, licence_of, load_weights
from ssbsn_cli.core.weights.registry import default_name

ADAPT = "adapt"


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """A training that is requested.

    It learns from `noisy` photos, from those in `pairs` for the objective "pairs", or from both,
    and is scored on the pairs in `validation`. Crop caches are kept in `cache`. `init` names the
    weights to start from. For the objective "own", `denoise_with` names those that denoise the
    photos, by default `init`; a round after the first one has it. All rounds but the last are runs
    inside the `whole` run. With `resume`, the run continues from its last checkpoint, if any.
    """

    run: Path
    config: Config
    noisy: Sequence[DataPath] = ()
    pairs: Sequence[DataPath] = ()
    validation: Path | None = None
    cache: Path
    init: str | None = None
    denoise_with: str | None = None
    whole: Path | None = None
    resume: bool = False
    tensorboard: bool = False

    def needed(self, option: Literal["data", "pairs"]) -> Sequence[DataPath]:
        """Return what the user named with --data or --pairs.

        Raises
        ------
        OptionError
            It is nothing.
        """
        if paths := self.noisy if option == "data" else self.pairs:
            return paths
        hint = f"Name a folder with --{option} DIR."
        if option == "data" and self.config.only_lifts:
            raise OptionError(
                "There are no noisy photos to lift noise from.",
                f"{hint} Or do without them: --set pairs.lifted=0.",
            )
        raise OptionError(f"There are no photos to train on: --{option} is missing.", hint)

    def refuse_missing(self) -> None:
        """Raise an error if photos or weights are missing, before hours are spent on decoding.

        Raises
        ------
        OptionError, WeightsError
            Photos, pairs to score on, or the teacher are missing.
        """
        if self.config.uses_noisy:
            self.needed("data")
        if self.config.uses_pairs:
            self.needed("pairs")
        run = real_path(self.run)
        if any(real_path(data.path) == run for data in (*self.noisy, *self.pairs)):
            raise OptionError(
                f"{self.run} is the folder of the photos, in which a run would hide them.",
                "Name another folder for it.",
            )
        if "distill" in self.config.training.kinds and self.config.distill.teacher:
            find_weights(self.config.distill.teacher)
        if self.validation:
            find_pairs(self.validation)
            scored = real_path(self.validation)
            for data in (*self.noisy, *self.pairs):
                if scored.is_relative_to(real_path(data.path)):
                    raise OptionError(
                        f"The photos to validate on, {self.validation}, are among those to train "
                        f"on, {data.path}.",
                        "Move them to a folder of their own.",
                    )

    def to_dict(self) -> dict[str, Any]:
        """Return where everything comes from, for resuming and the record, as values for JSON."""
        return {
            "init": self.init and lasting_name(self.init),
            "denoise_with": self.denoise_with,
            "noisy": [path.to_dict() for path in self.noisy],
            "pairs": [path.to_dict() for path in self.pairs],
            "validation": self.validation and str(self.validation.absolute()),
            "cache": str(self.cache.absolute()),
        }


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options on the command line, from which a `TrainingRequest` is made.

    `data` (noisy photos) and `pairs` are paths, each optionally followed by ``=SHARE``. If the
    configuration lacks the objective "pairs", giving `pairs` makes it the only objective. Naming a
    teacher in `options` does the same for "distill". By default, `config` is that of the run to
    resume, or else "small" on a CPU and "ssbsn-sidd" elsewhere, and `run` is ``runs/`` followed by
    the name of `config`. For `changes` and `options` see `load_config`.
    """

    data: Sequence[str] = ()
    pairs: Sequence[str] = ()
    run: Path | None = None
    config: str | None = None
    changes: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    validation: Path | None = None
    cache: Path | None = None
    init: str | None = None
    resume: bool = False
    tensorboard: bool = False


def make_request(asked: TrainingOptions, say: Notify = lambda _: None) -> TrainingRequest:
    """Fill in what the user left out, from the run to resume or from defaults.

    The run may come from somebody else, so a cache that it names is used only if the user names
    it, too; `say` gets a message about this.

    Raises
    ------
    OptionError
        Something makes no sense.
    """
    chosen = asked.config
    if chosen is None:
        device = resolve_device(asked.options.get("training.device") or "auto")
        chosen = "small" if device.type == "cpu" else "ssbsn-sidd"
    run = asked.run or Path("runs") / Path(chosen).stem
    files = RunFiles(run)
    files.refuse_links()
    files.refuse_others()
    if asked.resume and not (files.exists or asked.data or asked.pairs):
        raise OptionError(
            f"There is no run {run} to resume.", "Check --out. To start it, add --data DIR."
        )
    told: dict[str, Any] = {}
    if not files.config.is_file():
        files = files.round(1)
        files.refuse_links()
    if asked.resume and files.config.is_file():
        told = _recall(files, needed=not asked.data and not asked.pairs)
        if asked.config is None:
            chosen = str(files.config)
    first = told.get("init")
    if asked.init and told and (not first or lasting_name(asked.init) != lasting_name(first)):
        began = f"the weights {first}" if first else "random weights"
        raise OptionError(
            f"{run} began with {began}, not {asked.init}.",
            "Go on without --init (ssbsn denoise: with those --weights), or start another run.",
        )
    cache = asked.cache or usual_cache()
    if told and not asked.cache and told["cache"] != cache.absolute():
        again = shlex.quote(str(told["cache"]))
        say(f"The run kept its decoded photos elsewhere; to use those, add --cache {again}")
    init = asked.init or first
    if chosen == ADAPT:
        init = init or default_name()
        chosen = adapting_config(init)
    config = load_config(chosen, asked.changes, {**asked.options, **_objective(chosen, asked)})
    request = TrainingRequest(
        run=run,
        config=_with_teacher_and_licence(config, init),
        noisy=[parse_data(text) for text in asked.data] or told.get("noisy", ()),
        pairs=[parse_data(text) for text in asked.pairs] or told.get("pairs", ()),
        validation=asked.validation or told.get("validation"),
        cache=cache,
        init=init,
        resume=asked.resume,
        tensorboard=asked.tensorboard,
    )
    _refuse_nonsense(asked, request)
    return request


def _with_teacher_and_licence(config: Config, init: str | None) -> Config:
    """Name the teacher so that any folder can resume, and state the licences that are learned."""
    teacher = config.distill.teacher
    if teacher:
        distill = config.distill.model_copy(update={"teacher": lasting_name(teacher)})
        config = config.model_copy(update={"distill": distill})
    if not config.data.licence:
        stated = [licence_of(name) for name in (init, teacher) if name]
        licence = "; ".join(dict.fromkeys(filter(None, stated)))
        data = config.data.model_copy(update={"licence": licence})
        config = config.model_copy(update={"data": data})
    return config


def adapting_config(init: str) -> str:
    """Return the name of the configuration that adapts weights.

    Blind-spot networks learn to predict noisy photos. Other networks would learn to copy them, so
    they learn from their own results.
    """
    return ADAPT if load_weights(init).network.blind else "adapt-own"


def usual_cache() -> Path:
    """Return the default folder of crop caches."""
    return cache_dir() / "crops"


def _objective(config: str, asked: TrainingOptions) -> dict[str, Any]:
    """Return the change that makes an objective the only one, if an option requires it."""
    wanted = {"distill": asked.options.get("distill.teacher"), "pairs": asked.pairs}
    kinds = [kind for kind, given in wanted.items() if given]
    objectives = load_config(config, asked.changes, asked.options).training.objectives
    missing = [kind for kind in kinds if kind not in objectives]
    if "synthetic" in objectives and "pairs" in missing:
        missing.remove("pairs")
    if not missing:
        return {}
    chosen = any(change.startswith("training.objectives") for change in asked.changes)
    if chosen or len(kinds) > 1 or (asked.data and asked.pairs):
        shares = ", ".join(f"{kind}=1" for kind in dict.fromkeys([*objectives, *kinds]))
        raise OptionError(
            f"The configuration has no share for the objective {missing[0]!r}.",
            f"Say how to mix them, for example --set 'training.objectives={{{shares}}}'.",
        )
    return {"training.objectives": {missing[0]: 1.0}}


def _refuse_nonsense(asked: TrainingOptions, request: TrainingRequest) -> None:
    """Refuse photos that no objective uses, and learning from results without weights."""
    config = request.config
    if "own" in config.training.kinds and request.init is None:
        raise OptionError(
            "The objective 'own' needs weights that denoise the photos.",
            "Name them with --init NAME|PATH.",
        )
    for option, given, used, kind in (
        ("data", asked.data, config.uses_noisy, "self"),
        ("pairs", asked.pairs, config.uses_pairs, "pairs"),
    ):
        if given and not used:
            raise OptionError(
                f"No objective of the configuration uses --{option}.",
                f"Leave it out, or give {kind!r} a share in training.objectives.",
            )


def _recall(files: RunFiles, needed: bool) -> dict[str, Any]:
    """Return the photos and initial weights that a run started with."""
    try:
        told = parse_json(files.data.read_bytes())["request"]
        return {
            "init": told["init"] and str(told["init"]),
            "noisy": [data_told(each) for each in told["noisy"]],
            "pairs": [data_told(each) for each in told["pairs"]],
            "validation": told["validation"] and path_told(told["validation"]),
            "cache": path_told(told["cache"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        if files.state.is_file():
            raise files.cannot_go_on("no readable data.json") from None
        if not needed:
            return {}
        raise OptionError(
            f"{files.folder} does not say which photos it was trained on.",
            "Name them with --data.",
        ) from None
