"""From what a user asks for to a trainer that is ready to start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.device import resolve_precision
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.training.card import Origin
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.data import TrainingData, open_data
from ssbsn_cli.core.training.learner import Learner, load_state
from ssbsn_cli.core.training.load_config import load_config
from ssbsn_cli.core.training.log import RunFiles
from ssbsn_cli.core.training.loop import Trainer
from ssbsn_cli.core.training.networks import make_network, model_of
from ssbsn_cli.core.training.recorder import Listen, Recorder
from ssbsn_cli.core.training.request import TrainingRequest
from ssbsn_cli.core.training.team import Team, join_team
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.registry import entries

# An epoch draws as many crops as the authors' data preparation makes patches: 512 pixels, of which
# 128 overlap.
_EPOCH_CELL = 384 * 384
# What may change when a run is resumed, since no step depends on it.
_FREE = {
    "training": {
        "steps", "epochs", "max_minutes", "device", "precision", "compile", "save_minutes", "keep",
    },
    "data": {"licence"},
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A training that is ready; `summary` says in plain values what is going to happen."""

    trainer: Trainer
    recorder: Recorder | None
    team: Team
    summary: dict[str, Any]

    def close(self) -> None:
        """Close files and leave the other processes."""
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
    say, warn, listen : callable
        Told what is found and done; given each line of the metrics.

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
    before = load_config(str(files.config)) if resuming else None
    network, descriptor, config = _make_network(request, before, team)
    if before:
        _refuse_other_config(files, before, config)
    data = open_data(request, network, team, say, warn)
    state = None
    if resuming:
        _refuse_other_data(files, data)
        state = load_state(files.state, team.device)
        say(f"Going on after step {state.step} of {files.directory}.")
    elif request.resume:
        say(f"There is nothing to resume in {files.directory}: starting from the beginning.")
    resumed_at, seconds = (state.step, state.seconds) if state else (0, 0.0)
    training = config.training
    steps = training.steps
    if training.epochs:
        crops = training.epochs * data.pixels / _EPOCH_CELL
        steps = max(round(crops / training.batch_size), 1)
    seen = team.gather((resumed_at, steps, data.record["key"]))
    if any(other != seen[0] for other in seen):
        raise OptionError(
            "The processes of this training do not see the same run or the same photos.",
            "Put both on a disk that all machines share, at the same path.",
        )
    recorder = None
    if team.leads:
        origin = _start_run(files, request, config, data)
        recorder = Recorder(
            files, descriptor, origin, training, state, warn, listen, request.tensorboard
        )
    with team.together():
        learner = Learner(network, config, team, state, warn)
    trainer = Trainer(learner, config, data, recorder, team, steps, seconds)
    summary = {
        "run": str(files.directory),
        "architecture": descriptor.architecture,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": str(team.device),
        "precision": training.precision,
        "processes": team.world,
        "steps": steps,
        "max_minutes": training.max_minutes,
        "resumed_at": resumed_at,
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


def _make_network(
    request: TrainingRequest, before: Config | None, team: Team
) -> tuple[Network, Descriptor, Config]:
    """Return the network, and the configuration with the network and the precision in it."""
    config, init = request.config, request.init
    precision = config.training.precision
    if before:
        # The state has the weights; the initial ones may be gone.
        config, init = config.model_copy(update={"model": config.model or before.model}), None
        if precision == "auto":
            precision = before.training.precision
    network, descriptor = make_network(config, init)
    if precision == "auto":
        # Without a loss scaler, fp16 loses small gradients.
        half = resolve_precision("auto", team.device) != "fp32"
        precision = "bf16" if all(team.gather(half)) else "fp32"
    training = config.training.model_copy(update={"precision": precision})
    config = config.model_copy(update={"model": model_of(descriptor), "training": training})
    return network, descriptor, config


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


def _start_run(
    files: RunFiles, request: TrainingRequest, config: Config, data: TrainingData
) -> Origin:
    """Write the configuration and the photos of a run, and return what its card says of them."""
    # What `make_request` needs to ask for the same photos again.
    told = {
        "init": request.init,
        "noisy": [asdict(path) for path in request.noisy],
        "pairs": [asdict(path) for path in request.pairs],
        "validation": request.validation,
        "cache": request.cache,
    }
    record = json.dumps({**data.record, "request": told}, indent=2, default=_absolute)
    files.directory.mkdir(parents=True, exist_ok=True)
    write_atomically(files.config, config.to_toml().encode())
    write_atomically(files.data, record.encode())
    licence = config.data.licence
    if not licence and request.init in entries():
        licence = f"{entries()[request.init].licence} (that of {request.init})"
    objectives = [kind for kind, share in config.training.objectives.items() if share]
    return Origin(data.record["sources"], objectives, config.to_toml(), licence, request.init)


def _absolute(path: Path) -> str:
    return str(path.absolute())
