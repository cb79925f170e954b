"""An optimiser that turns all directions of a convolution's gradient into steps of one size."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# The polynomial that pulls singular values towards 1, as in the first reference.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
_MOMENTUM = 0.95
# The root mean square of an update, about the same as Adam's.
_RMS = 0.2
# Adam gets this part of the learning rate, because it cannot take such large steps.
_OTHERS = 0.4


class Muon(Optimizer):
    """Muon for convolutions, Adam for everything else.

    Parameters
    ----------
    network : nn.Module
        Its inner convolutions are taken as matrices, a row for each output channel. The first and
        the last one and all biases are left to Adam, as is usual.

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
        # Matrices of one shape are multiplied at once.
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
            # Nesterov's momentum looks one step ahead.
            matrix = parameter.grad.lerp(momentum, _MOMENTUM).flatten(1)
            matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
            alike[tuple(matrix.shape)].append((parameter, matrix))
        for shape, members in alike.items():
            updates = orthogonalised(torch.stack([matrix for _, matrix in members]))
            scale = -group["lr"] * _RMS * math.sqrt(max(shape))
            for (parameter, _), update in zip(members, updates, strict=True):
                update = update if len(update) == len(parameter) else update.T
                parameter.add_(update.reshape(parameter.shape), alpha=scale)

    def _step_others(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["mean"] = torch.zeros_like(parameter)
                state["square"] = torch.zeros_like(parameter)
            state["step"] += 1
            count = float(state["step"])
            mean = state["mean"].lerp_(parameter.grad, 0.1)
            square = state["square"].lerp_(parameter.grad.square(), 0.001)
            divisor = (square / (1 - 0.999**count)).sqrt_().add_(1e-8)
            parameter.addcdiv_(mean, divisor, value=-_OTHERS * group["lr"] / (1 - 0.9**count))


def orthogonalised(matrices: Tensor) -> Tensor:
    """Set the singular values of matrices near 1, and keep their singular vectors.

    They are (n, rows, columns) with at least as many columns as rows, of any scale. The result is
    float32. Its singular values lie between about 0.7 and 1.2, but for those that were next to
    nothing.
    """
    scaled = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    # Precision matters little: the polynomial corrects what rounding did before.
    x = scaled.bfloat16()
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    result: Tensor = x.to(torch.float32)
    return result
