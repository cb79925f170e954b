"""The state that a training resumes from. It is checked completely before anything uses it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssbsn_cli.core.errors import SsbsnError
from ssbsn_cli.core.weights.pickles import load_pickle

_VERSION = 1
_MOST_STEPS = 1 << 53
_NOT_NEGATIVE = ("step", "square", "exp_avg_sq")


@dataclass(frozen=True)
class TrainingState:
    """A training between two steps. Crops, strides and noise follow from the seed and the step.

    `network` and `average` hold weights by name. `best` is the best rating of a checkpoint so far,
    where lower is better.
    """

    step: int
    seconds: float
    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    best: float | None = None
    best_step: int = 0

    def to_bytes(self) -> bytes:
        """Return the content of a state's file."""
        buffer = io.BytesIO()
        torch.save({"version": _VERSION, **vars(self)}, buffer)
        return buffer.getvalue()


def load_state(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, *, average: bool
) -> TrainingState:
    """Read what `TrainingState.to_bytes` gave, without running any code in it.

    Names, shapes and types of all tensors must fit the network, its moving `average` if there is
    one, and the optimiser, because optimisers write to memory without checking them. The tensors of
    the result are copies with the memory layout of those in `network`. Of the optimiser's state,
    only the tensors come from the file.

    Raises
    ------
    SsbsnError
        The file is damaged or belongs to something else.
    """
    try:
        content = load_pickle(path)
        if content.pop("version") != _VERSION:
            raise ValueError("it is of another version")
        return _checked(dict(content), network, optimizer, average)
    # Damaged bytes can make the unpickler raise anything.
    except Exception as error:
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise SsbsnError(
            f"{path} is damaged and training cannot go on from it{reason}.",
            "Start a new run from the run's weights with --init.",
        ) from error


def _checked(
    content: dict[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer, average: bool
) -> TrainingState:
    found = TrainingState(**content)
    best = 0.0 if found.best is None else found.best
    counts = (found.step, found.best_step)
    if not all(type(each) is int for each in counts) or not all(
        isinstance(each, int | float) and math.isfinite(each) for each in (found.seconds, best)
    ):
        raise ValueError("its step, time or score is not a number")
    if not 0 <= found.best_step <= found.step < _MOST_STEPS or found.seconds < 0:
        raise ValueError("its step or time is out of range")
    if (found.average is not None) != average:
        raise ValueError("it has no average of the weights, or one too many")
    weights = network.state_dict()
    groups = optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = found.optimizer["state"]
    if not moments.keys() <= set(range(len(parameters))):
        raise ValueError("its optimiser is for another network")
    moments = {
        index: _like(moments[index], dict(_moments(group, parameters[index])))
        for group in groups
        for index in group["params"]
        if index in moments
    }
    return replace(
        found,
        network=_like(found.network, weights),
        average=None if found.average is None else _like(found.average, weights),
        optimizer={"state": moments, "param_groups": groups},
    )


def _moments(group: Mapping[str, Any], parameter: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the names of what Adam or `Muon` keeps for a parameter, with tensors of that shape."""
    if group.get("muon"):
        yield "momentum", parameter
        return
    yield "step", torch.zeros(())
    for name in ("mean", "square") if "muon" in group else ("exp_avg", "exp_avg_sq"):
        yield name, parameter


def _like(found: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check tensors against `wanted`, and return copies in the same memory layout."""
    if found.keys() != wanted.keys():
        raise ValueError("its tensors have other names")
    copies = {}
    for name, like in wanted.items():
        value = found[name]
        fits = isinstance(value, Tensor) and value.layout == torch.strided
        if not fits or (value.shape, value.dtype) != (like.shape, like.dtype):
            raise ValueError(f"{name} has another shape or type than the network needs")
        if not value.isfinite().all() or (name in _NOT_NEGATIVE and (value < 0).any()):
            raise ValueError(f"{name} holds values that make no sense")
        copies[name] = torch.empty_like(like, requires_grad=False).copy_(value)
    return copies
