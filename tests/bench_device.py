"""Compare a device's results with the CPU's, and print its times and memory; see `gpu.sh`."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.imaging import read_photo
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.runtime.device import PeakMemory
from ssbsn_cli.core.training.batches import Batch
from ssbsn_cli.core.training.config import load_config
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.weights.locate import LoadedWeights, load_weights

SAMPLE = Path(__file__).parents[1] / "docs" / "sample.jpg"
# How far results may be from the CPU's in fp32, in grey levels, root mean square.
NEAR = {"fp32": 0.01, "fp16": 0.3, "bf16": 0.3}


def papers_network(channels: int) -> LoadedWeights:
    """SS-BSN as published, with random weights: its time does not depend on them."""
    descriptor = Descriptor("ssbsn", {"channels": channels}, refine="r3")
    network = descriptor.build()
    network.initialise(0)
    return LoadedWeights(network.eval(), descriptor, f"SS-BSN C={channels}", "")


def photo(side: int) -> np.ndarray[Any, Any]:
    """The sample, repeated to a square."""
    pixels = read_photo(SAMPLE).pixels
    repeats = [-(-side // length) for length in pixels.shape[:2]]
    return np.ascontiguousarray(np.tile(pixels, (*repeats, 1))[:side, :side])


def compare(device: str, side: int, table: Table) -> bool:
    """Add a row for each network and precision; return whether all are near."""
    image = photo(side).astype(np.float32) / 255
    good = True
    for name in ("photo", "ssbsn-photo"):
        weights = load_weights(name)
        # R3 would take the CPU minutes.
        settings = {"refine": "once"} if weights.network.blind else {}
        expected = load_denoiser(
            copy.deepcopy(weights), device="cpu", precision="fp32", compile="off", **settings
        )(image)
        for precision, most in NEAR.items():
            denoiser = load_denoiser(
                copy.deepcopy(weights), device=device, precision=precision, **settings
            )
            difference = 255 * float(np.sqrt(np.mean((denoiser(image) - expected) ** 2)))
            good &= difference <= most
            verdict = "" if difference <= most else "too far"
            table.add_row(name, precision, f"{difference:.4f}", f"{most}", verdict)
    return good


def measure(work: Callable[[], object], device: str, rounds: int) -> tuple[float, float]:
    """Return seconds of a call and the peak of memory in MiB, after a call to warm up."""
    work()
    seconds = []
    with PeakMemory(device) as memory:
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (memory.bytes or 0) / 2**20


def training_step(device: str, batch: int, crop: int) -> Callable[[], object]:
    """One step of the papers' training of SS-BSN."""
    config = load_config("ssbsn-sidd", options={"training.compile": "off"})
    assert config.model is not None
    network = Descriptor(config.model.architecture, config.model.parameters).build()
    network.initialise(0)
    learner = Learner(network, config, Team(0, 1, torch.device(device)))
    noisy = np.random.default_rng(0).random((batch, 3, crop, crop), np.float32)
    return lambda: learner.learn(Batch(noisy, noisy, 5), 1e-4, 0)


def authors_pass(checkout: str, device: str, image: np.ndarray[Any, Any]) -> Callable[[], object]:
    """The authors' network with R3 on one tile."""
    sys.path.insert(0, checkout)
    from src.model.SSBSN import SSBSN  # type: ignore[import-not-found]

    network = SSBSN(mode=["na"] * 6 + ["ss"] * 3).to(device).eval()
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float().to(device)

    def run() -> object:
        with torch.no_grad():
            return network.denoise(x).cpu()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small pictures, for slow devices")
    parser.add_argument("--authors", help="a checkout of the authors' code of SS-BSN")
    options = parser.parse_args()
    device, small = options.device, options.small
    console = Console()

    table = Table("weights", "precision", "RMS from the CPU's", "at most", "", title="Results")
    good = compare(device, 48 if small else 256, table)
    console.print(table)

    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    table = Table("what", "precision", "pixels", "s/Mpx", "MiB", title=f"Times on {name}")
    rounds = 1 if small else 3
    for weights, side, settings in (
        (load_weights("photo"), 128 if small else 4000, {}),
        (load_weights("ssbsn-photo"), 64 if small else 2000, {}),
        (papers_network(16 if small else 128), 40 if small else 512, {"refine": "r3"}),
    ):
        for precision in ("auto",) if small else ("fp32", "auto"):
            image = photo(side)
            denoiser = load_denoiser(
                copy.deepcopy(weights), device=device, precision=precision, **settings
            )
            seconds, mib = measure(lambda run=denoiser, on=image: run(on), device, rounds)
            used = str(denoiser.describe()["precision"])
            speed = f"{seconds / side**2 * 1e6:.3f}"
            table.add_row(weights.name, used, f"{side} x {side}", speed, f"{mib:.0f}")
    if options.authors:
        side = 40 if small else 256
        work = authors_pass(options.authors, device, photo(side))
        seconds, mib = measure(work, device, rounds)
        speed = f"{seconds / side**2 * 1e6:.3f}"
        table.add_row("the authors' SS-BSN", "fp32", f"{side} x {side}", speed, f"{mib:.0f}")
    console.print(table)

    batch, crop = (1, 30) if small else (4, 120)
    seconds, mib = measure(training_step(device, batch, crop), device, rounds)
    step = f"A training step of SS-BSN C=128 with {batch} crops of {crop} x {crop} pixels"
    console.print(f"{step}: {seconds:.3f} s, {mib:.0f} MiB")
    if not good:
        sys.exit("Some results are too far from the CPU's.")


if __name__ == "__main__":
    main()
