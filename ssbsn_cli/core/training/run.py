"""From what a user asks for to a trainer that is ready to start."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.runtime.device import resolve_precision
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.data import TrainingData, open_data
from ssbsn_cli.core.training.load_config import load_config
from ssbsn_cli.core.training.log import RunFiles
from ssbsn_cli.core.training.loop import Trainer
from ssbsn_cli.core.training.networks import make_network, model_of
from ssbsn_cli.core.training.recorder import Recorder, TrainingState, load_state
from ssbsn_cli.core.training.request import TrainingRequest
from ssbsn_cli.core.training.team import Team, join_team
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.registry import entries

Listen = Callable[[Mapping[str, Any]], None]

# An epoch draws as many crops as the authors' data preparation makes patches: 512 pixels, of which
# 128 overlap.
_EPOCH_CELL = 384 * 384
# What may differ between a run and its resumption without changing what any step does.
_FREE = {
    "training": {
        "steps", "epochs", "max_minutes", "device", "precision", "compile", "save_minutes", "keep",
    },
    "data": {"licence"},
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A training that is ready.

    Parameters
    ----------
    trainer : Trainer
        To be started.
    recorder : Recorder or None
        What keeps its files, in the leading process.
    team : Team
        The processes.
    summary : dict
        What is going to happen, as plain values.
    """

    trainer: Trainer
    recorder: Recorder | None
    team: Team
    summary: dict[str, Any]

    def close(self) -> None:
        """Close files and take leave of the other processes."""
        if self.recorder:
            self.recorder.close()
        self.team.leave()


def prepare_training(
    request: TrainingRequest, say: Notify, warn: Notify, listen: Listen = lambda _: None
) -> Prepared:
    """Check everything, decode the photos, make or load the network.

    Parameters
    ----------
    request : TrainingRequest
        What the user asks for.
    say, warn : callable
        Told what is found and done.
    listen : callable, optional
        Given each line of the metrics.

    Raises
    ------
    OptionError, WeightsError, DeviceError
        Something is wrong; nothing was changed.
    """
    files = RunFiles(request.run)
    resuming = request.resume and files.state.is_file()
    if not request.resume:
        refuse_used(request.run)
    team = join_team(request.config.training.device)
    config = request.config
    init = request.init
    if resuming:
        before = load_config(str(files.config))
        # The state has the weights: those that it began with need not be there any more.
        config, init = config.model_copy(update={"model": config.model or before.model}), None
    network, descriptor = make_network(config, init)
    precision = config.training.precision
    if precision == "auto" and resuming:
        precision = before.training.precision
    if precision == "auto":
        # Without a loss scaler, fp16 loses small gradients.
        half = resolve_precision("auto", team.device) != "fp32"
        precision = "bf16" if team.all(half) else "fp32"
    training = config.training.model_copy(update={"precision": precision})
    config = config.model_copy(update={"model": model_of(descriptor), "training": training})
    if resuming:
        _refuse_other_config(files, before, config)
    data = open_data(request.data, config, network, team, say, warn)
    state = None
    if resuming:
        _refuse_other_data(files, data)
        state = load_state(files.state, team.device)
        say(f"Going on after step {state.step} of {files.directory}.")
    elif request.resume:
        say(f"There is nothing to resume in {files.directory}: starting from the beginning.")
    steps = training.steps
    if training.epochs:
        crops = training.epochs * data.pixels / _EPOCH_CELL
        steps = max(round(crops / training.batch_size), 1)
    if not team.same(state.step if state else 0, steps or 0, int(data.record["key"][:12], 16)):
        raise OptionError(
            "The processes of this training do not see the same run or the same photos.",
            "Put both on a disk that all machines share, at the same path.",
        )
    recorder = None
    if team.leads:
        recorder = _open_run(files, request, config, descriptor, data, team, state, warn, listen)
    with team.together():
        trainer = Trainer(
            network,
            config,
            steps=steps,
            batches=data.batches,
            validation=data.validation,
            recorder=recorder,
            team=team,
            precision=precision,
            state=state,
            notify=warn,
        )
    summary = {
        "run": str(files.directory),
        "architecture": descriptor.architecture,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": str(team.device),
        "precision": precision,
        "processes": team.world,
        "steps": steps,
        "max_minutes": training.max_minutes,
        "resumed_at": state.step if state else 0,
    }
    return Prepared(trainer, recorder, team, summary)


def refuse_used(run: Path) -> None:
    """Raise an OptionError if a directory holds a run already."""
    files = RunFiles(run)
    if files.config.exists() or files.weights.exists():
        raise OptionError(
            f"{files.directory} holds a run already.",
            "Choose another directory, or let ssbsn train --resume go on with it.",
        )


def _refuse_other_config(files: RunFiles, before: Config, now: Config) -> None:
    old = before.model_dump()
    for section, values in now.model_dump().items():
        for key, value in values.items():
            if key not in _FREE.get(section, ()) and old[section].get(key) != value:
                raise OptionError(
                    f"{files.directory} is a run of another configuration: its {section}.{key} is "
                    f"{old[section].get(key)!r}, not {value!r}.",
                    "Resume it with the same options, or start another run with --out.",
                )


def _refuse_other_data(files: RunFiles, data: TrainingData) -> None:
    try:
        key = json.loads(files.data.read_text(encoding="ascii"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        key = None
    if key != data.record["key"]:
        raise OptionError(
            f"{files.directory} was trained or scored on other photos, or they have changed since.",
            "Resume it with the same photos, or start another run from its weights with --init.",
        )


def _open_run(
    files: RunFiles,
    request: TrainingRequest,
    config: Config,
    descriptor: Descriptor,
    data: TrainingData,
    team: Team,
    state: TrainingState | None,
    warn: Notify,
    listen: Listen,
) -> Recorder:
    files.directory.mkdir(parents=True, exist_ok=True)
    record = {**data.record, "request": request.told()}
    write_atomically(files.config, config.to_toml().encode())
    write_atomically(files.data, json.dumps(record, indent=2).encode())
    licence = config.data.licence
    if not licence and request.init in entries():
        licence = f"{entries()[request.init].licence} (that of {request.init})"
    about = {
        "data": data.record["sources"],
        "objectives": [kind for kind, share in config.training.objectives.items() if share],
        "config_text": config.to_toml(),
        "licence": licence,
        "init": request.init,
    }
    return Recorder(
        files,
        descriptor,
        about,
        keep=config.training.keep,
        half=config.training.half,
        picture=data.picture,
        device=team.device,
        state=state,
        warn=warn,
        listen=listen,
        tensorboard=request.tensorboard,
    )
