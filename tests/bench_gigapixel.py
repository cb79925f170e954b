"""Denoise a TIFF of a gigapixel with next to no network: the time and memory of all the rest.

    python tests/bench_gigapixel.py [--side N] [--dtype uint16] [--tile N]

The photo and its result are made in a temporary directory: some gigabytes for the default side.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.imaging import tiff_stream
from ssbsn_cli.core.inference.files import denoise_files
from ssbsn_cli.core.inference.jobs import Job
from ssbsn_cli.core.inference.settings import FileOptions

TILE = 256


class Blur(torch.nn.Module):
    """A stand-in for a network: as cheap as one that looks at its neighbours can be."""

    def denoise(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)


def noisy_tiles(side: int, dtype: str) -> Iterator[np.ndarray]:
    """Yield tiles of a smooth picture with noise; noise for one tile does for all."""
    white = np.iinfo(dtype).max
    noise = np.random.default_rng(0).normal(0, 0.03, (TILE, TILE, 3)).astype(np.float32)
    across = -(-side // TILE)
    for index in range(across * across):
        row, column = divmod(index, across)
        level = np.float32(0.2 + 0.6 * (row + column) / (2 * across))
        yield ((level + noise) * white).astype(dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--dtype", choices=["uint8", "uint16"], default="uint8")
    parser.add_argument("--tile", type=int, default=512, help="of the network")
    arguments = parser.parse_args()
    side = arguments.side
    # Smaller sides are to take the same way.
    tiff_stream.STREAM_BYTES = 0
    denoiser = load_denoiser(device="cpu", precision="fp32", tile=arguments.tile)
    denoiser._engine.predictor.network = Blur()
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as progress:
        source = Path(folder, "big.tif")
        tifffile.imwrite(
            source,
            noisy_tiles(side, arguments.dtype),
            shape=(side, side, 3),
            dtype=arguments.dtype,
            tile=(TILE, TILE),
            bigtiff=True,
            photometric="rgb",
            compression="zlib",
            compressionargs={"level": 1},
            buffersize=16 << 20,
        )
        bar = progress.add_task("denoising")
        start = time.perf_counter()
        job = Job(source, source.with_name("out.tif"))
        ((_, outcome),) = denoise_files(
            denoiser,
            [job],
            FileOptions(),
            progress=lambda done, of: progress.update(bar, completed=done, total=of),
        )
        if isinstance(outcome, Exception):
            raise outcome
        seconds = time.perf_counter() - start
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e6 / 1024
    )
    table = Table("side", "dtype", "megapixels", "seconds", "peak RSS in MB")
    table.add_row(
        str(side), arguments.dtype, f"{side * side / 1e6:.0f}", f"{seconds:.1f}", f"{peak:.0f}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
