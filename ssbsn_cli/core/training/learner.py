"""A network that learns: a step of it, its optimiser, the average of its weights, its state."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.storage import write_atomically
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.muon import Muon
from ssbsn_cli.core.training.objectives import distance
from ssbsn_cli.core.training.sources import Draw
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import to_device
from ssbsn_cli.core.types import Notify

_VERSION = 1


@dataclass(frozen=True)
class TrainingState:
    """A training between two steps. Crops, strides and noise follow from the seed and the step.

    Parameters
    ----------
    step, seconds : int, float
        Steps done, and the time that they took.
    network, average : dict
        Weights by name, and their moving average, if there is one.
    optimizer : dict
        State of the optimiser.
    best, best_step : float or None, int
        Best rating of a checkpoint so far, where lower is better, and its step.
    """

    step: int
    seconds: float
    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    best: float | None = None
    best_step: int = 0

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all: one that is there stays until then."""
        buffer = io.BytesIO()
        torch.save({"version": _VERSION, **asdict(self)}, buffer)
        write_atomically(path, buffer.getvalue())


def load_state(path: Path, device: torch.device) -> TrainingState:
    """Read what `TrainingState.save` wrote, without running any code in it."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content.pop("version") != _VERSION:
            raise ValueError("another version")
        return TrainingState(**content)
    # Damaged bytes can make the unpickler raise anything.
    except Exception as error:
        raise SsbsnError(
            f"{path} is damaged and training cannot go on from it.",
            "Start a new run from the run's weights with --init.",
        ) from error


class Learner:
    """A network that learns.

    Parameters
    ----------
    network : Network
        On the CPU; moved to the device of `team`.
    config : Config
        How to train; the precision is "fp32" or "bf16".
    team : Team
        The processes.
    state : TrainingState, optional
        Where to go on from.
    notify : callable, optional
        Told, in a sentence, what a user should know.

    Attributes
    ----------
    step : int
        Steps done.

    Raises
    ------
    DeviceError
        The network is to be compiled, and what that takes is missing.
    """

    def __init__(
        self,
        network: Network,
        config: Config,
        team: Team,
        state: TrainingState | None = None,
        notify: Notify = lambda _: None,
    ) -> None:
        self._config = config
        self._device = team.device
        self._half = config.training.precision == "bf16"
        self._network = network.to(team.device).train()
        # PyTorch's type hints do not know this form.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._compiler = Compiler(
            network.bulk,
            config.training.compile,
            # As measured. Several processes would all wait for the slowest one to compile.
            pays=network.blind and team.device.type == "cpu" and self._half and team.world == 1,
            # One forwards, two backwards: for features and for weights.
            passes=3,
            notify=notify,
        )
        self._optimizer: torch.optim.Optimizer
        if config.optimizer.kind == "muon":
            self._optimizer = Muon(network)
        else:
            fused = team.device.type in ("cpu", "cuda")
            self._optimizer = torch.optim.Adam(network.parameters(), fused=fused)
        self._average = copy.deepcopy(network).eval() if config.optimizer.ema else None
        self.step = 0
        if state:
            self.step = state.step
            network.load_state_dict(state.network)
            self._optimizer.load_state_dict(state.optimizer)
            if self._average is not None and state.average is not None:
                self._average.load_state_dict(state.average)
        self._parallel: nn.Module = team.wrap(network)

    def learn(self, draw: Draw, rate: float, pixels: float) -> float:
        """Take one step at a learning rate, and return the loss of this process' part of it.

        Whether compiling pays depends on how many pixels the whole training sees.
        """
        work = partial(self._learn, draw, rate)
        loss = self._compiler.run(work, (draw.noisy.shape, draw.stride), pixels)
        self.step += 1
        return loss

    def _learn(self, draw: Draw, rate: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        noisy = to_device(draw.noisy, self._device)
        target = noisy if draw.target is draw.noisy else to_device(draw.target, self._device)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            output = self._parallel(noisy, draw.stride)
            loss = distance(output, target, self._config.training.loss)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip := self._config.optimizer.gradient_clip:
            nn.utils.clip_grad_norm_(self._network.parameters(), clip)
        self._optimizer.step()
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights."""
        if self._average is None:
            return
        # Early on it forgets faster, or it would stay near the random start.
        decay = min(self._config.optimizer.ema, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self._average.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._half:
            return torch.autocast(self._device.type, torch.bfloat16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def result(self) -> Iterator[Network]:
        """Yield the network to score and save: the average if there is one."""
        network = self._network if self._average is None else self._average
        network.eval()
        with self._autocast(), self._compiler.as_it_is():
            yield network
        self._network.train()

    def state(self, seconds: float) -> TrainingState:
        """Return the state after some seconds of training; `best` and `best_step` are not set."""
        return TrainingState(
            step=self.step,
            seconds=seconds,
            network=dict(self._network.state_dict()),
            average=dict(self._average.state_dict()) if self._average else None,
            optimizer=self._optimizer.state_dict(),
        )
