"""Private operations of PyTorch: all that this package uses of them.

PyTorch promises nothing about them. All are at least as old as PyTorch 2.1; the tests run with
2.13.

- ``torch.ops.mkldnn._convolution_pointwise`` lets oneDNN do what follows a convolution in the same
  go; PyTorch has it for its compiler. Without it, ReLUs and sums are operations of their own.
- ``torch.ops.mkldnn._is_mkldnn_bf16_supported`` tells whether oneDNN can compute in bf16 on this
  CPU. Without it, convolutions are not fused.
- ``torch._nnpack_spatial_convolution`` is NNPACK's convolution, which takes Winograd's algorithm
  for 3x3 kernels. Without it, or where NNPACK does not know the CPU, oneDNN convolves.
- ``torch._dynamo.config`` holds how often PyTorch compiles a network anew. Without it, nothing is
  compiled, and the user is told so.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssbsn_cli.core.runtime.device import best_seconds

# Below so many pixels, transforming the kernels takes longer than what they save.
_FEWEST = 32 * 32
_ENDLESS = 1 << 30


@functools.cache
def fusing_is_offered() -> bool:
    """Tell whether there is `fused_convolution` here, and bf16 that makes it worth it."""
    needed = ("_convolution_pointwise", "_is_mkldnn_bf16_supported")
    return all(hasattr(torch.ops.mkldnn, name) for name in needed) and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def can_fuse(x: Tensor, weight: Tensor) -> bool:
    """Tell whether `fused_convolution` can be used for this, here and now."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        # Training cannot do it, and whatever reads the network should see what it is made of.
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and fusing_is_offered()
    )


def fused_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    how: Sequence[object],
    *,
    relu: bool,
    plus: Tensor | None,
) -> Tensor:
    """Convolve, add `plus` if it is given, and apply a ReLU if asked to, in one go.

    Parameters
    ----------
    x, weight, bias, plus
        As of `ssbsn_cli.core.model.convolution.Conv2d`.
    how : sequence
        Padding, stride, dilation and groups.
    relu : bool
        Whether a ReLU ends it; there is one anyway without `plus`.

    Raises
    ------
    RuntimeError
        It failed: memory is short, or, with some releases, a side is one pixel.
    """
    convolution = torch.ops.mkldnn._convolution_pointwise
    out: Tensor
    if plus is None:
        out = convolution(x, weight, bias, *how, "relu", [], "")
    else:
        after = "relu" if relu else None
        out = convolution.binary(x, plus, weight, bias, *how, "add", 1.0, after, [], None)
    return out


def fits_winograd(x: Tensor) -> bool:
    """Tell whether `winograd_convolution` is worth it for features, here and now."""
    # On several cores, NNPACK's threads and those of PyTorch would wait for each other. Of several
    # images at once, it makes another, slower kind of convolution.
    alone = torch.get_num_threads() == 1 and len(x) == 1
    return alone and x.shape[-2] * x.shape[-1] >= _FEWEST


def winograd_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve one (1, C, H, W) with plain 3x3 kernels.

    Raises
    ------
    RuntimeError
        It failed; where memory is short, for example.
    """
    return torch._nnpack_spatial_convolution(x, weight, bias, 1, 1)


@functools.cache
def winograd_pays() -> bool:
    """Time a convolution both ways: CPUs with wide vectors are faster the plain way."""
    with warnings.catch_warnings():
        # That NNPACK does not know a CPU is no news to the user.
        warnings.simplefilter("ignore")
        # PyTorch has no type hints for it.
        available = torch.backends.nnpack.is_available()  # type: ignore[no-untyped-call]
        if not available or not hasattr(torch, "_nnpack_spatial_convolution"):
            return False
    x, weight = torch.ones(1, 96, 48, 48), torch.ones(96, 96, 3, 3)
    last, last_weight = (of.to(memory_format=torch.channels_last) for of in (x, weight))
    winograd, plain = best_seconds(
        lambda: winograd_convolution(x, weight, None),
        lambda: F.conv2d(last, last_weight, padding=1),
    )
    # The margin keeps a noisy timing from flipping the choice where there is little to gain.
    return winograd < 0.85 * plain


def compile_every_shape() -> contextlib.AbstractContextManager[object]:
    """Have PyTorch, while inside, compile for every shape; by itself it gives up after eight."""
    # It takes seconds to import.
    from torch._dynamo import config

    limits = {"cache_size_limit": _ENDLESS, "accumulated_cache_size_limit": _ENDLESS}
    patched: contextlib.AbstractContextManager[object] = config.patch(limits)
    return patched
