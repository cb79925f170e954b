"""An optimiser that takes steps of the same size in all directions of a convolution's gradient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssbsn_cli.core.runtime.operations import (
    add_each,
    addcdiv_each,
    divide_each,
    lerp_each,
    multiply_each,
    root_each,
)

# The polynomial that pulls singular values towards 1, as in the first reference.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
_MOMENTUM = 0.95
# The root mean square of an update, about the same as Adam's.
_RMS = 0.2
# Adam gets this fraction of the learning rate, because it cannot take such large steps.
_OTHERS = 0.4


class Muon(Optimizer):
    """Muon for convolutions, Adam for everything else.

    All parameters are updated at once: a GPU takes longer to start an operation than to do it.

    Parameters
    ----------
    network : nn.Module
        Its inner convolutions are treated as matrices with a row for each output channel. Adam
        updates the first and the last convolution and all biases, as is usual.

    References
    ----------
    .. [1] K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
       https://kellerjordan.github.io/posts/muon/.
    .. [2] J. Liu et al., "Muon is Scalable for LLM Training", 2025, arXiv 2502.16982, for the
       factor that gives matrices of all shapes updates like Adam's.
    """

    def __init__(self, network: nn.Module) -> None:
        convolutions = [p for p in network.parameters() if p.ndim == 4]
        inner = {id(p) for p in convolutions[1:-1]}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in network.parameters() if id(p) in inner], "muon": True},
            {"params": [p for p in network.parameters() if id(p) not in inner], "muon": False},
        ]
        super().__init__(groups, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; every parameter needs a gradient."""
        for group in self.param_groups:
            if group["muon"]:
                self._step_matrices(group)
            else:
                self._step_others(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        parameters = group["params"]
        gradients = [parameter.grad for parameter in parameters]
        momenta = [self._state_of(each, "momentum")["momentum"] for each in parameters]
        lerp_each(momenta, gradients, 1 - _MOMENTUM)
        # Nesterov's momentum looks one step ahead.
        ahead = multiply_each(gradients, 1 - _MOMENTUM)
        add_each(ahead, momenta, alpha=_MOMENTUM)
        # Matrices of one shape are multiplied at once.
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, direction in zip(parameters, ahead, strict=True):
            # With channels last, as in memory.
            matrix = direction.permute(0, 2, 3, 1).flatten(1)
            matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
            alike[tuple(matrix.shape)].append((parameter, matrix))
        for shape, members in alike.items():
            updates = orthogonalised(torch.stack([matrix for _, matrix in members]))
            scale = -group["lr"] * _RMS * math.sqrt(max(shape))
            changed = [parameter for parameter, _ in members]
            add_each(changed, list(map(_like, updates, changed)), alpha=scale)

    def _step_others(self, group: dict[str, Any]) -> None:
        parameters = group["params"]
        gradients = [parameter.grad for parameter in parameters]
        states = [self._state_of(each, "mean", "square") for each in parameters]
        for state in states:
            state["step"] = state.get("step", torch.zeros(())) + 1
        count = float(states[0]["step"])
        means, squares = ([state[name] for state in states] for name in ("mean", "square"))
        lerp_each(means, gradients, 0.1)
        lerp_each(squares, multiply_each(gradients, gradients), 0.001)
        divisors = divide_each(squares, 1 - 0.999**count)
        root_each(divisors)
        add_each(divisors, 1e-8)
        scale = -_OTHERS * group["lr"] / (1 - 0.9**count)
        addcdiv_each(parameters, means, divisors, value=scale)

    def _state_of(self, parameter: Tensor, *names: str) -> dict[str, Any]:
        """Return the state of a parameter, which starts with zeros."""
        state: dict[str, Any] = self.state[parameter]
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(parameter)
        return state


def _like(matrix: Tensor, parameter: Tensor) -> Tensor:
    """Reshape a matrix, transposed if necessary, to the shape of a parameter."""
    outputs, inputs, height, width = parameter.shape
    matrix = matrix if len(matrix) == outputs else matrix.T
    return matrix.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Move the singular values of matrices close to 1, and keep their singular vectors.

    The matrices are (n, rows, columns) of any scale, with at least as many columns as rows. The
    result is float32. Its singular values are about 0.7 to 1.2, except those that were almost 0.
    """
    scaled = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    # Precision matters little: the polynomial corrects earlier rounding errors.
    x = scaled.bfloat16()
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    result: Tensor = x.to(torch.float32)
    return result
