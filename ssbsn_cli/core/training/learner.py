"""A network in training: its steps, its optimiser and the average of its weights."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.convolution import use_channels_last
from ssbsn_cli.core.runtime.operations import lerp_each
from ssbsn_cli.core.training.batches import Batch, distance
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.training.muon import Muon
from ssbsn_cli.core.training.state import TrainingState, load_state
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.training.validation import to_device
from ssbsn_cli.core.types import Notify


class Learner:
    """A network in training; `step` counts the steps done.

    The network is moved to the device of `team`. The precision of `config` is "fp32" or "bf16".
    With the `initial` weights, the result is a mean of those and the trained ones; `trust` is the
    share of the latter [1]_.

    Raises
    ------
    DeviceError
        The network must be compiled, but the tools for that are missing.

    References
    ----------
    .. [1] M. Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), CVPR 2022.
    """

    def __init__(
        self,
        network: Network,
        config: Config,
        team: Team,
        notify: Notify = lambda _: None,
        initial: Network | None = None,
        trust: float = 1.0,
    ) -> None:
        self._config = config
        self._team = team
        self._device = team.device
        self._bf16 = config.training.precision == "bf16"
        self._network = network.to(team.device).train()
        use_channels_last(network)
        self._compiler = Compiler(
            network.bulk,
            config.training.compile,
            # From measurements. Several processes would all wait for the slowest one to compile.
            pays=network.blind
            and team.device.type in ("cpu", "cuda")
            and self._bf16
            and team.world == 1,
            # One forward, two backward: for features and for weights.
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
        self._initial = None if initial is None else initial.to(team.device)
        self._trust = trust
        self.step = 0
        self._parallel: nn.Module = team.wrap(network)

    def leave(self) -> None:
        """Leave the other processes. No step may follow."""
        del self._parallel
        self._team.leave()

    def resume(self, path: Path) -> TrainingState:
        """Continue from a saved state; raises as `load_state` does."""
        network, average = self._network, self._average
        state = load_state(path, network, self._optimizer, average=average is not None)
        self.step = state.step
        network.load_state_dict(state.network)
        self._optimizer.load_state_dict(state.optimizer)
        if average is not None and state.average is not None:
            average.load_state_dict(state.average)
        return state

    def learn(self, batch: Batch, rate: float, pixels: float) -> float:
        """Take one step at a learning rate, and return the loss of this process's part.

        `pixels`, the number in all such batches of the training, decides whether compiling pays.
        """
        work = partial(self._learn, batch, rate)
        loss = self._compiler.run(work, (batch.noisy.shape, batch.stride), pixels)
        self.step += 1
        return loss

    def _learn(self, batch: Batch, rate: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        noisy = to_device(batch.noisy, self._device)
        target = noisy if batch.target is batch.noisy else to_device(batch.target, self._device)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            output = self._parallel(noisy, batch.stride)
            loss = distance(output, target, self._config.training.loss)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip := self._config.optimizer.gradient_clip:
            nn.utils.clip_grad_norm_(self._network.parameters(), clip)
        self._optimizer.step()
        self._update_average()
        return loss.item()

    @torch.no_grad()
    def _update_average(self) -> None:
        if self._average is None:
            return
        # The average decays faster early on; otherwise it would stay near the random start.
        decay = min(self._config.optimizer.ema, (1 + self.step) / (10 + self.step))
        means, values = (tuple(net.parameters()) for net in (self._average, self._network))
        lerp_each(means, values, 1 - decay)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    @contextlib.contextmanager
    def result(self) -> Iterator[Network]:
        """Yield the network to score and save: means, where there are any."""
        network = self._network if self._average is None else self._average
        if self._initial is not None:
            trained, network = network, copy.deepcopy(self._initial)
            with torch.no_grad():
                means, values = (tuple(net.parameters()) for net in (network, trained))
                lerp_each(means, values, self._trust)
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
            average=None if self._average is None else dict(self._average.state_dict()),
            optimizer=self._optimizer.state_dict(),
        )
