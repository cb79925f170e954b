"""Time a training step of the papers' SS-BSN beside the authors' code, alternating in one run.

    python tests/bench_train_step.py CHECKOUT [--rounds N]

CHECKOUT is a checkout of https://github.com/YoungJooHan/SS-BSN.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.runtime.device import resolve_precision
from ssbsn_cli.core.training.batches import Batch
from ssbsn_cli.core.training.config import load_config
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.team import Team


def authors_step(checkout: str, noisy: np.ndarray) -> Callable[[], float]:
    sys.path.insert(0, checkout)
    from src.model.SSBSN import SSBSN

    network = SSBSN(mode=["na"] * 6 + ["ss"] * 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    x = torch.from_numpy(noisy) * 255

    def step() -> float:
        optimizer.zero_grad()
        loss = F.l1_loss(network(x), x)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(noisy: np.ndarray, precision: str, compile: str) -> Callable[[], float]:
    options = {"training.compile": compile, "training.precision": precision}
    config = load_config("ssbsn-sidd", options=options)
    network = Descriptor(config.model.architecture, config.model.parameters).build()
    network.initialise(0)
    learner = Learner(network, config, Team(0, 1, torch.device("cpu")))
    return lambda: learner.learn(Batch(noisy, noisy, 5), 1e-4, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    noisy = np.random.default_rng(0).random((4, 3, 120, 120), np.float32)
    auto = resolve_precision("auto", torch.device("cpu"))
    steps = {"authors' code": authors_step(arguments.checkout, noisy)}
    for precision in dict.fromkeys((auto, "fp32")):
        name = f"ssbsn, {precision}" + (" (auto)" if precision == auto else "")
        steps[name] = our_step(noisy, precision, "off")
        steps[f"{name}, compiled"] = our_step(noisy, precision, "on")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for each in range(arguments.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            # The first round makes memory and kernels ready.
            if each:
                seconds[name].append(time.perf_counter() - start)
    table = Table("step of C = 128, batch 4, crop 120", "median s", "fastest s", "times faster")
    base = statistics.median(seconds["authors' code"])
    for name, values in seconds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.2f}", f"{min(values):.2f}", f"{base / median:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
