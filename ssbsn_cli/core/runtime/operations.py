"""All private operations of PyTorch that this package uses.

PyTorch guarantees nothing about them. The list gives the version that introduced each, and what
happens without it. The tests run with 2.13.

- ``torch.cpu._is_avx512_bf16_supported`` and ``torch.cpu._is_amx_tile_supported`` (after 2.4)
  return whether the CPU has units for bf16. Without them, "auto" precision on a CPU is fp32.
- ``torch.ops.mkldnn._convolution_pointwise`` (2.0) lets oneDNN fuse a convolution with what follows
  it; PyTorch has it for its compiler. Without it, ReLUs and sums are separate operations.
- ``torch.ops.mkldnn._is_mkldnn_bf16_supported`` (2.1) returns whether oneDNN can compute in bf16,
  if necessary by emulation. Without it, convolutions are not fused.
- ``torch._nnpack_spatial_convolution`` (1.0) is NNPACK's convolution, which uses Winograd's
  algorithm for 3x3 kernels. Without it, or if NNPACK does not support the CPU, oneDNN convolves.
- ``torch._dynamo.config`` (2.0) limits how often PyTorch recompiles a network. Without it, nothing
  is compiled, and the user gets a warning.
- ``torch._foreach_*`` (2.0) work on lists of tensors: a GPU takes longer to start an operation than
  to do it. PyTorch's documentation lists them as "Foreach Operations". Training requires them.
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
    """Return whether the CPU has units for bf16; other CPUs emulate it slowly."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


@functools.cache
def fusing_is_offered() -> bool:
    """Return whether `fused_convolution` is available, and bf16, which makes it worthwhile."""
    needed = ("_convolution_pointwise", "_is_mkldnn_bf16_supported")
    return all(hasattr(torch.ops.mkldnn, name) for name in needed) and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def can_fuse(x: Tensor, weight: Tensor) -> bool:
    """Return whether `fused_convolution` can take these tensors in the current mode."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        # It has no gradient, and tracing should see plain operations.
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
    """Convolve, add `plus` if given, and apply a ReLU if `relu` is set, in one operation.

    `how` is padding, stride, dilation and groups. Without `plus`, a ReLU is always applied.

    Raises
    ------
    RuntimeError
        If it fails: there is too little memory, or, with some releases, a side has one pixel.
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
    """Return whether NNPACK is available and faster than oneDNN, which can use AVX-512."""
    with warnings.catch_warnings():
        # Users need no warning that NNPACK does not support the CPU.
        warnings.simplefilter("ignore")
        # PyTorch has no type hints for it.
        available = torch.backends.nnpack.is_available()  # type: ignore[no-untyped-call]
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return available and hasattr(torch, "_nnpack_spatial_convolution") and not wide


def fits_winograd(x: Tensor) -> bool:
    """Return whether `winograd_convolution` pays for these features with the current threads."""
    # On several cores, NNPACK's threads and PyTorch's would wait for each other. For several images
    # at once, NNPACK uses another, slower algorithm.
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
    """Let PyTorch compile for every shape inside this block; by default it gives up after eight."""
    # This takes seconds to import.
    from torch._dynamo import config

    limits = {"cache_size_limit": _ENDLESS, "accumulated_cache_size_limit": _ENDLESS}
    patched: contextlib.AbstractContextManager[object] = config.patch(limits)
    return patched
