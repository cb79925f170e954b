"""Turn a request into a trainer that is ready to start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.device import resolve_precision
from ssbsn_cli.core.runtime.parsing import parse_json
from ssbsn_cli.core.training.card import Origin, describe
from ssbsn_cli.core.training.config import (
    HINT,
    Config,
    ModelConfig,
    TrainingConfig,
    load_config,
)
from ssbsn_cli.core.training.data import TrainingData, open_data
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.log import Log, MetricsLog, TensorBoardLog
from ssbsn_cli.core.training.loop import Trainer
from ssbsn_cli.core.training.recorder import Listen, Recorder
from ssbsn_cli.core.training.request import TrainingRequest
from ssbsn_cli.core.training.run_files import RunFiles
from ssbsn_cli.core.training.team import Team, join_team
from ssbsn_cli.core.training.workers import choose_workers
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.locate import load_weights, others_when_adapted

# An epoch draws as many crops as the authors' data preparation makes patches, which are 512 pixels
# wide and overlap by 128.
_EPOCH_CELL = 384 * 384
# Keys that may change when a run is resumed. Device and precision change its numbers a little, and
# `_compare_records` warns of that.
_FREE = {
    "training": {
        "steps", "epochs", "max_minutes", "most_steps", "save_minutes", "keep",
        "device", "precision", "compile", "workers",
    },
    "data": {"licence"},
}  # fmt: skip
_MOST_PARAMETERS = 10**9


@dataclass(frozen=True)
class Prepared:
    """A training that is ready to start; `summary` describes it in plain values."""

    trainer: Trainer
    recorder: Recorder | None
    summary: dict[str, Any]

    def close(self) -> None:
        """Close files and leave the other processes."""
        if self.recorder:
            self.recorder.close()
        self.trainer.learner.leave()


def prepare_training(
    request: TrainingRequest, say: Notify, warn: Notify, listen: Listen = lambda _: None
) -> Prepared:
    """Check everything, decode the photos, make or load the network.

    The request comes from `ssbsn_cli.core.training.rounds.rounds`. `listen` gets each line of the
    metrics.

    Raises
    ------
    OptionError, WeightsError, DeviceError
        Something is wrong. The run has not been changed.
    SsbsnError
        Another process is training the run.
    """
    files = RunFiles(request.run)
    files.refuse_links()
    team = join_team(request.config.training.device)
    if team.leads:
        files.claim()
    try:
        # Another process may have trained it since this was checked first.
        if not request.resume and files.state.is_file():
            files.refuse_run()
        return _prepare(request, files, team, say, warn, listen)
    except BaseException:
        files.release()
        raise


def _prepare(
    request: TrainingRequest,
    files: RunFiles,
    team: Team,
    say: Notify,
    warn: Notify,
    listen: Listen,
) -> Prepared:
    resuming = request.resume and files.state.is_file()
    logs: list[Log] = [MetricsLog(files.metrics)]
    if request.tensorboard:
        logs.append(TensorBoardLog(files.tensorboard))
    workers = choose_workers(request.config.training.workers, team.device)
    if request.config.training.rounds > 1 and team.world > 1:
        raise OptionError(
            "Several processes cannot train in rounds.",
            "Start ssbsn without torchrun, or add --set training.rounds=1.",
        )
    if resuming and not files.config.is_file():
        raise files.cannot_go_on("no config.toml")
    before = load_config(str(files.config)) if resuming else None
    network, descriptor, config = _make_network(request, before, team)
    if before:
        _refuse_other_config(files, before, config)
    data = open_data(request, network, team, say, warn)
    # Trust is below 1 only where the initial weights were needed to measure noise.
    initial = load_weights(str(request.init)).network if data.trust < 1 else None
    with team.together():
        learner = Learner(network, config, team, warn, initial, data.trust)
    # The run's configuration is that of all rounds together.
    training = config.training.of_one_round()
    state = None
    if before:
        _compare_records(files, data, before, config, team, warn)
        state = learner.resume(files.state)
        say(f"Going on after step {state.step} of {files.folder}.")
    elif request.resume:
        say(f"There is nothing to resume in {files.folder}: starting from the beginning.")
    steps, recorder = _count_steps(training, data.pixels), None
    _refuse_disagreement(team, (learner.step, steps, data.record["key"]))
    if team.leads:
        origin = _origin(request, config, data, team)
        results = [files, *([RunFiles(request.whole)] if request.whole else [])]
        later = request.denoise_with is not None
        recorder = Recorder(files, results, later, descriptor, origin, state, warn, listen, logs)
    one = config.model_copy(update={"training": training})
    seconds = state.seconds if state else 0.0
    trainer = Trainer(learner, one, data, recorder, team, steps, workers, seconds, say)
    # After one of several rounds, the next one begins.
    if state and trainer.progress >= 1 and not request.whole:
        say(
            "It is finished. To go on, give it a larger --steps, --epochs or --max-minutes "
            "(ssbsn denoise: more minutes to --adapt)."
        )
    summary = {
        "run": str(files.folder),
        "architecture": descriptor.architecture,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": str(team.device),
        "precision": training.precision,
        "processes": team.world,
        "workers": workers,
        "steps": steps,
        "max_minutes": training.max_minutes,
        "resumed_at": learner.step,
    }
    return Prepared(trainer, recorder, summary)


def _count_steps(training: TrainingConfig, pixels: int) -> int | None:
    """Return the length in steps; None if minutes give it."""
    if not training.epochs:
        return training.steps
    crops = training.epochs * pixels / _EPOCH_CELL
    return max(round(crops / training.batch_size), 1)


def _refuse_disagreement(team: Team, seen: object) -> None:
    """Refuse to train if the processes see different things."""
    first, *others = team.gather(seen)
    if any(other != first for other in others):
        raise OptionError(
            "The processes of this training do not see the same run or the same photos.",
            "Put both on a disk that all machines share, at the same path.",
        )


def _make_network(
    request: TrainingRequest, before: Config | None, team: Team
) -> tuple[Network, Descriptor, Config]:
    """Return the network, its descriptor, and the configuration with model and precision set."""
    config, init = request.config, request.init
    precision = config.training.precision
    if before:
        # The state has the weights.
        config, init = config.model_copy(update={"model": config.model or before.model}), None
        if precision == "auto":
            precision = before.training.precision
    network, descriptor = _make_or_load(config, init)
    if precision == "auto":
        # Without a loss scaler, fp16 loses small gradients.
        pays = resolve_precision("auto", team.device) != "fp32"
        precision = "bf16" if all(team.gather(pays)) else "fp32"
    training = config.training.model_copy(update={"precision": precision})
    fields = descriptor.to_dict()
    del fields["value_range"], fields["coarse"], fields["white_noise"]
    own = training.kinds == ["own"]
    coarse, white_noise = others_when_adapted(str(request.init)) if own else ("", "")
    descriptor = replace(descriptor, coarse=coarse, white_noise=white_noise)
    config = config.model_copy(update={"model": ModelConfig(**fields), "training": training})
    return network, descriptor, config


def _make_or_load(config: Config, init: str | None) -> tuple[Network, Descriptor]:
    """Make the network on the CPU, or load that of the initial weights."""
    model = config.model
    if init is None:
        if model is None:
            raise OptionError(
                "This configuration needs weights to start from.",
                "Name them with --init NAME|PATH.",
            )
        return _make(model, config.training.seed)
    loaded = load_weights(init)
    descriptor = replace(loaded.descriptor, value_range=1.0)
    if model is None:
        return loaded.network, descriptor
    network, wanted = _make(model, config.training.seed)
    weights = loaded.network.state_dict()
    have, need = (
        {name: value.shape for name, value in state.items()}
        for state in (weights, network.state_dict())
    )
    if wanted.architecture != descriptor.architecture or have != need:
        words = [describe(each.architecture, each.parameters) for each in (descriptor, wanted)]
        raise OptionError(
            f"{init} holds {words[0]}, and the configuration is for {words[1]}.",
            "Use weights of the same network, or a configuration without [model], such as adapt.",
        )
    network.load_state_dict(weights)
    return network, wanted


def _make(model: ModelConfig, seed: int) -> tuple[Network, Descriptor]:
    """Make a network with random initial weights."""
    try:
        descriptor = Descriptor(**model.model_dump())
        # The network is first built without memory, since a width of a million would fill it.
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in descriptor.build().parameters())
        if size > _MOST_PARAMETERS:
            raise ValueError(
                f"{size:.0e} parameters are too many; {_MOST_PARAMETERS:.0e} can be trained"
            )
        network = descriptor.build()
        network.initialise(seed)
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(f"The configuration: model: {reason}.", HINT) from None
    return network, descriptor


def _refuse_other_config(files: RunFiles, before: Config, now: Config) -> None:
    old = before.model_dump()
    for section, values in now.model_dump().items():
        # A run that somebody has edited may lack a section.
        earlier = old[section] or {}
        for key, value in values.items():
            if key not in _FREE.get(section, ()) and earlier.get(key) != value:
                raise OptionError(
                    f"{files.folder} is a run of another configuration: its {section}.{key} is "
                    f"{earlier.get(key)!r}, not {value!r}.",
                    "Resume it with the same options, or start another run with --out.",
                )


def _compare_records(
    files: RunFiles, data: TrainingData, before: Config, now: Config, team: Team, warn: Notify
) -> None:
    """Refuse other photos; warn of changes that lead to other numbers."""
    try:
        record = parse_json(files.data.read_bytes())
        key, device = record["key"], record.get("device")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        key = device = None
    if key != data.record["key"]:
        raise OptionError(
            f"{files.folder} was trained or scored on other photos or began with other "
            "weights, or they have changed since.",
            "Resume it with the same ones, or start another run from its weights with --init.",
        )
    for old, new in (
        (before.training.precision, now.training.precision),
        (device or team.device.type, team.device.type),
    ):
        if old != new:
            warn(
                f"The run was trained in {old} before and goes on in {new}: its numbers will not "
                "be those of a run that was never stopped."
            )


def _origin(request: TrainingRequest, config: Config, data: TrainingData, team: Team) -> Origin:
    record = {**data.record, "device": team.device.type, "request": request.to_dict()}
    return Origin(config, record, config.data.licence, request.init)
