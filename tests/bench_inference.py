"""How fast inference is, and on what that depends: tables, each measured in one run.

    python tests/bench_inference.py [SECTION ...] [--upstream DIR] [--side N]

Sections are network, peak, ways, growth, overlap and start; without any, all. DIR is a checkout of
https://github.com/YoungJooHan/SS-BSN, whose rows are left out without it. Training steps have a
script of their own, bench_train_step.py, and so do gigapixels, bench_gigapixel.py. What needs more
memory than there is ends without a word, unless it is limited before, as by ulimit -v 20000000.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from rich.console import Console
from rich.table import Table

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.runtime import operations
from ssbsn_cli.core.runtime.convolution import Conv2d
from ssbsn_cli.core.runtime.device import PeakMemory, is_out_of_memory, resolve_precision
from ssbsn_cli.core.runtime.heap import keep_freed_memory

CHANNELS = 128
WAYS = {
    "exact, fp32": ("exact", torch.float32),
    "linear, fp32": ("linear", torch.float32),
    "linear, bf16": ("linear", torch.bfloat16),
}


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def picture(side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, side, side, generator=generator)
    return image.contiguous(memory_format=torch.channels_last)


def authors_network(checkout: str, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    sys.path.insert(0, checkout)
    from src.model import get_model_class

    network = get_model_class("SSBSN")(mode=["na"] * 6 + ["ss"] * 3)
    missing = network.load_state_dict(weights, strict=False).missing_keys
    assert all(key.endswith("mask") for key in missing)
    return network.eval()


def our_network(weights: dict[str, torch.Tensor], way: str) -> SSBSN:
    attention, dtype = WAYS[way]
    network = SSBSN(CHANNELS)
    network.load_state_dict(weights)
    network.use_attention(attention)
    network.use_dtype(dtype)
    return network.to(memory_format=torch.channels_last).eval()


def initial_weights() -> dict[str, torch.Tensor]:
    network = SSBSN(CHANNELS)
    network.initialise(0)
    return network.state_dict()


def bench_network(side: int, upstream: str | None) -> Table:
    weights = initial_weights()
    x = picture(side)
    table = Table(
        f"network, C = {CHANNELS}, {side}x{side}", "refine", "s", "MiB", "times faster",
        "RMS to exact, grey levels",
    )  # fmt: skip
    for refine in ("none", "once", "stratified", "r3"):
        runs: dict[str, Callable[[], torch.Tensor]] = {}
        if upstream and refine in ("none", "r3"):
            theirs = authors_network(upstream, weights)
            theirs.R3 = refine == "r3"
            runs["authors' code"] = partial(theirs.denoise, x.contiguous())
        for way in WAYS:
            runs[f"ssbsn, {way}"] = partial(our_network(weights, way).denoise, x, refine=refine)
        first, exact = 0.0, None
        for name, run in runs.items():
            with PeakMemory("cpu") as memory:
                begin = time.perf_counter()
                try:
                    out = run()
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    table.add_row(name, refine, "", "does not fit")
                    continue
                seconds = time.perf_counter() - begin
            first = first or seconds
            exact = out if "exact" in name else exact
            apart = (
                "" if exact is None else f"{255 * (out - exact).square().mean().sqrt().item():.3f}"
            )
            mib = "" if memory.bytes is None else f"{memory.bytes / 2**20:.0f}"
            table.add_row(name, refine, f"{seconds:.2f}", mib, f"{first / seconds:.1f}", apart)
    return table


def convolution_seconds(work: Callable[[], Any]) -> float:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    events = profile.key_averages()
    kinds = ("aten::mkldnn_convolution", "mkldnn::_convolution_pointwise")
    return 1e-6 * sum(e.self_cpu_time_total for e in events if e.key in kinds)


def bench_peak() -> Table:
    def rate(work: Callable[[], Any], operations: float) -> str:
        work()
        return f"{operations / min(timed(work) for _ in range(5)) / 1e9:.0f}"

    side = 258
    rows: dict[str, list[str]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.rand(2048, 2048).to(dtype)
        rows.setdefault("matrix product, 2048", []).append(
            rate(partial(torch.mm, a, a), 2 * 2048**3)
        )
        features = torch.rand(1, CHANNELS, side, side).to(dtype)
        features = features.contiguous(memory_format=torch.channels_last)
        kernel = torch.rand(CHANNELS, CHANNELS, 3, 3).to(dtype)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        for d in (1, 2, 3):
            work = partial(F.conv2d, features, kernel, padding=d, dilation=d)
            rows.setdefault(f"3x3 convolution, {CHANNELS} channels, dilation {d}", []).append(
                rate(work, 18 * CHANNELS**2 * side**2)
            )
        network = SSBSN(CHANNELS).to(memory_format=torch.channels_last).eval()
        network.use_dtype(dtype)
        weights = sum(p.numel() for p in network.parameters() if p.ndim == 4)
        work, operations = partial(network.bsn, picture(side)), 2 * weights * side**2
        rows.setdefault("all of SS-BSN, by the arithmetic of its convolutions", []).append(
            rate(work, operations)
        )
        seconds = min(convolution_seconds(work) for _ in range(3))
        rows.setdefault("its convolutions alone", []).append(f"{operations / seconds / 1e9:.0f}")
    table = Table("GFLOP/s", "fp32", "bf16")
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def bench_ways() -> Table:
    """Time what might be faster, in turns with what is done, in the faster precision here."""
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[
        resolve_precision("auto", torch.device("cpu"))
    ]
    side = 252
    x = torch.rand(1, CHANNELS, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    rows = x.contiguous()
    conv = Conv2d(CHANNELS, CHANNELS, 3, padding=3, dilation=3).to(dtype)
    plain = Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(dtype)
    plain.load_state_dict(conv.state_dict())
    contiguous = Conv2d(CHANNELS, CHANNELS, 3, padding=3, dilation=3).to(dtype)
    for layer in (conv, plain):
        layer.to(memory_format=torch.channels_last)
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        conv.weight.detach(), [3, 3], [1, 1], [3, 3], 1, list(x.shape)
    )

    def space_to_batch() -> torch.Tensor:
        parts = rearrange(x, "b c (h i) (w j) -> (b i j) c h w", i=3, j=3)
        parts = plain(parts.contiguous(memory_format=torch.channels_last), relu=True)
        return rearrange(parts, "(b i j) c h w -> b c (h i) (w j)", i=3, j=3)

    network = our_network(initial_weights(), "linear, fp32")
    network.use_dtype(dtype)
    denoiser = load_denoiser(device="cpu")
    photo = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    part = picture(96)
    passes = part.expand(4, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    groups: list[dict[str, Callable[[], Any]]] = [
        {
            "convolution and ReLU, dilation 3": lambda: conv(x, relu=True),
            "the same, channels first": lambda: contiguous(rows, relu=True),
            "the same, space to batch": space_to_batch,
            "the same, weights packed before": lambda: conv.convolve(x, packed, relu=True),
        },
        {
            "SS-BSN, 256x256": lambda: network.bsn(picture(256)),
            "the same, ReLUs and sums apart": lambda: apart(lambda: network.bsn(picture(256))),
        },
        {
            "default weights, 3 Mpx": lambda: denoiser(photo),
            "the same, ReLUs and sums apart": lambda: apart(lambda: denoiser(photo)),
        },
        {
            "4 passes over 96x96, one by one": lambda: [network.bsn(part) for _ in range(4)],
            "4 passes over 96x96, as a batch": lambda: network.bsn(passes),
        },
    ]
    if dtype == torch.float32:
        groups.append(tile_ways())
    table = Table(f"ways, C = {CHANNELS}, {str(dtype).removeprefix('torch.')}", "ms", "times")
    for group in groups:
        best = dict.fromkeys(group, float("inf"))
        for _ in range(3):
            for name, work in group.items():
                best[name] = min(best[name], timed(work))
        first = next(iter(best.values()))
        for name, seconds in best.items():
            table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / first:.2f}")
    return table


def apart(work: Callable[[], Any]) -> None:
    """Do work without fused convolutions."""
    # Which is False; a `Mock` would make the threads wait for each other.
    with mock.patch.object(operations, "fusing_is_offered", bool):
        work()


def tile_ways() -> dict[str, Callable[[], Any]]:
    """Return the two ways to use several cores for the tiles of the default weights."""
    denoiser = load_denoiser(device="cpu", precision="fp32")
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    cores = denoiser._engine.tiling.workers

    def run(workers: int) -> None:
        denoiser._engine.tiling = replace(denoiser._engine.tiling, workers=workers)
        denoiser(image)

    how = " by Winograd's algorithm" if denoiser._engine.predictor.winograd else ""
    return {
        "default weights, 3 Mpx, one tile on all cores": partial(run, 1),
        f"a tile on each of {cores} cores{how}": partial(run, cores),
    }


def bench_growth() -> Table:
    denoiser = load_denoiser(device="cpu")
    denoiser(np.zeros((600, 600, 3), np.uint8))
    table = Table(
        "default weights", "s", "s a megapixel", "MiB of the process at its peak, less the photo"
    )
    for megapixels in (1, 4, 16):
        side = round((megapixels * 1e6) ** 0.5)
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        seconds = timed(partial(denoiser.denoise_in_place, [image]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        mib = f"{(peak - image.nbytes) / 2**20:.0f}"
        table.add_row(f"{megapixels} Mpx", f"{seconds:.2f}", f"{seconds / megapixels:.3f}", mib)
    return table


def bench_overlap() -> Table:
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    table = Table("default weights, 3 Mpx", "s", "times")
    first = 0.0
    for tile, overlap in ((0, 0), (512, 0), (512, 32), (512, 64), (256, 0), (256, 32), (256, 64)):
        denoiser = load_denoiser(device="cpu", tile=tile, overlap=overlap)
        seconds = min(timed(partial(denoiser, image)) for _ in range(2))
        first = first or seconds
        table.add_row(f"tile {tile}, overlap {overlap}", f"{seconds:.2f}", f"{seconds / first:.2f}")
    return table


def bench_start() -> Table:
    table = Table("command", "s")
    for words in (["--help"], ["denoise", "--help"], ["info"]):
        command = [sys.executable, "-m", "ssbsn_cli", *words]
        run = partial(subprocess.run, command, stdout=subprocess.DEVNULL, check=True)
        table.add_row(f"ssbsn {' '.join(words)}", f"{min(timed(run) for _ in range(3)):.2f}")
    return table


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sections = ("network", "peak", "ways", "growth", "overlap", "start")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--upstream", metavar="DIR", help="a checkout of the authors' repository")
    parser.add_argument("--side", type=int, default=256, help="of the network's tile")
    arguments = parser.parse_args()
    # As the commands do.
    keep_freed_memory()
    benches = {
        "network": partial(bench_network, arguments.side, arguments.upstream),
        "peak": bench_peak,
        "ways": bench_ways,
        "growth": bench_growth,
        "overlap": bench_overlap,
        "start": bench_start,
    }
    for section in arguments.sections or sections:
        Console().print(benches[section]())


if __name__ == "__main__":
    main()
