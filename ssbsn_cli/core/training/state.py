"""All that a training needs to go on as if nothing had happened."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.weights.records import write_atomically

_VERSION = 1


@dataclass(frozen=True)
class TrainingState:
    """A training between two steps. Crops, strides and noise follow from the seed and the step.

    Parameters
    ----------
    step : int
        Steps done.
    seconds : float
        Time that they took.
    network : dict
        Weights by name.
    average : dict or None
        Their moving average, if there is one.
    optimizer : dict
        State of the optimiser.
    best : float or None
        Best rating of a checkpoint so far; lower is better.
    best_step : int
        When that was.
    """

    step: int
    seconds: float
    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    best: float | None = None
    best_step: int = 0

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all: one that is there stays until then.

        Raises
        ------
        OSError
            It cannot be written.
        """
        buffer = io.BytesIO()
        torch.save({"version": _VERSION, **asdict(self)}, buffer)
        write_atomically(path, buffer.getvalue())


def load_state(path: Path, device: torch.device) -> TrainingState:
    """Read a state.

    Parameters
    ----------
    path : Path
        What `TrainingState.save` wrote. No code in it is ever run.
    device : torch.device
        Where its tensors go.

    Raises
    ------
    SsbsnError
        It is damaged.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content.pop("version") != _VERSION:
            raise ValueError("another version")
        return TrainingState(**content)
    # Damaged bytes make the unpickler fail in every way there is.
    except Exception as error:
        raise SsbsnError(
            f"{path} is damaged and training cannot go on from it.",
            "Start a new run from the run's weights with --init.",
        ) from error
