"""All private operations of PyTorch that this package uses.

PyTorch promises nothing about them. The list says since when it has each, and what happens without
it. The tests run with 2.13.

- ``torch.cpu._is_avx512_bf16_supported`` and ``torch.cpu._is_amx_tile_supported`` (after 2.4) tell
  whether the CPU has units for bf16. Without them, "auto" precision on a CPU is fp32.
- ``torch.ops.mkldnn._convolution_pointwise`` (2.0) lets oneDNN do what follows a convolution in the
  same go; PyTorch has it for its compiler. Without it, ReLUs and sums are separate operations.
- ``torch.ops.mkldnn._is_mkldnn_bf16_supported`` (2.1) tells whether oneDNN can compute in bf16, if
  need be by emulation. Without it, convolutions are not fused.
- ``torch._nnpack_spatial_convolution`` (1.0) is NNPACK's convolution, which uses Winograd's
  algorithm for 3x3 kernels. Without it, or where NNPACK does not know the CPU, oneDNN convolves.
- ``torch._dynamo.config`` (2.0) limits how often PyTorch compiles a network anew. Without it,
  nothing is compiled, and the user is told so.
- ``torch._foreach_*`` (2.0) work on lists of tensors: a GPU takes longer to start an operation than
  to do it. PyTorch's documentation lists them as "Foreach Operations". Nothing trains without them.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

add_each = torch._foreach_add_
addcdiv_each = torch._foreach_addcdiv_
divide_each = torch._foreach_div
lerp_each = torch._foreach_lerp_
multiply_each = torch._foreach_mul
root_each = torch._foreach_sqrt_

# With fewer pixels, transforming the kernels takes longer than it saves.
_FEWEST = 32 * 32
_ENDLESS = 1 << 30


def bf16_is_fast() -> bool:
    """Tell whether the CPU has units for bf16; others emulate it, slowly."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


@functools.cache
def fusing_is_offered() -> bool:
    """Tell whether there is `fused_convolution` here, and bf16 that makes it worth it."""
    needed = ("_convolution_pointwise", "_is_mkldnn_bf16_supported")
    return all(hasattr(torch.ops.mkldnn, name) for name in needed) and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def can_fuse(x: Tensor, weight: Tensor) -> bool:
    """Tell whether `fused_convolution` takes these, here and now."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        # It has no gradient, and what traces a network should see plain operations.
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

    `how` is padding, stride, dilation and groups. Without `plus`, a ReLU comes last in any case.

    Raises
    ------
    RuntimeError
        If it fails: memory is short, or, with some releases, a side is one pixel.
    """
    convolution = torch.ops.mkldnn._convolution_pointwise
    out: Tensor
    if plus is None:
        out = convolution(x, weight, bias, *how, "relu", [], "")
    else:
        after = "relu" if relu else None
        out = convolution.binary(x, plus, weight, bias, *how, "add", 1.0, after, [], None)
    return out


@functools.cache
def winograd_is_fast() -> bool:
    """Tell whether NNPACK is here and faster than oneDNN, whose convolutions use AVX-512."""
    with warnings.catch_warnings():
        # The user need not know that NNPACK does not support a CPU.
        warnings.simplefilter("ignore")
        # PyTorch has no type hints for it.
        available = torch.backends.nnpack.is_available()  # type: ignore[no-untyped-call]
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return available and hasattr(torch, "_nnpack_spatial_convolution") and not wide


def fits_winograd(x: Tensor) -> bool:
    """Tell whether `winograd_convolution` is worth it for features, here and now."""
    # On several cores, NNPACK's threads and those of PyTorch would wait for each other. For several
    # images at once, NNPACK uses another, slower algorithm.
    alone = torch.get_num_threads() == 1 and len(x) == 1
    return alone and x.shape[-2] * x.shape[-1] >= _FEWEST


def winograd_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve one (1, C, H, W) with plain 3x3 kernels.

    Raises
    ------
    RuntimeError
        If it fails, for example for lack of memory.
    """
    return torch._nnpack_spatial_convolution(x, weight, bias, 1, 1)


def compile_every_shape() -> contextlib.AbstractContextManager[object]:
    """Let PyTorch, inside, compile for every shape; by default it gives up after eight."""
    # It takes seconds to import.
    from torch._dynamo import config

    limits = {"cache_size_limit": _ENDLESS, "accumulated_cache_size_limit": _ENDLESS}
    patched: contextlib.AbstractContextManager[object] = config.patch(limits)
    return patched
