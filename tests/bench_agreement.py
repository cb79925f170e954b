"""What the faster ways to run SS-BSN cost in quality: PSNR on real photos, in one run.

    python tests/bench_agreement.py DIR... [--weights NAME] [--side N] [--limit N]

Each DIR holds pairs, as ``ssbsn eval --dataset pairs --data DIR`` reads them. Of up to N photos of
each, evenly chosen, the middle is denoised: the slowest way is what the others should equal.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation.datasets.photo_files import open_pairs

WAYS: dict[str, dict[str, Any]] = {
    "exact, fp32, R3": {"attention": "exact", "precision": "fp32", "refine": "r3"},
    "linear, fp32, R3": {"precision": "fp32", "refine": "r3"},
    "linear, fp32, R3, other masks": {"precision": "fp32", "refine": "r3", "seed": 1},
    "linear, fp32, stratified": {"precision": "fp32", "refine": "stratified"},
    "linear, bf16, R3": {"precision": "bf16", "refine": "r3"},
    "linear, bf16, stratified": {"precision": "bf16", "refine": "stratified"},
}


def psnr(result: np.ndarray, clean: np.ndarray) -> float:
    error = np.clip(np.rint(result * 255), 0, 255) - clean
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def middle(image: np.ndarray, side: int) -> np.ndarray:
    top, left = (max(size - side, 0) // 2 for size in image.shape[:2])
    return image[top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path)
    parser.add_argument("--weights", default="ssbsn-photo")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--limit", type=int, default=4)
    arguments = parser.parse_args()
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for directory in arguments.directories:
        samples = list(open_pairs([directory]))
        for sample in samples[:: -(-len(samples) // arguments.limit)]:
            clean = np.mean([np.float32(reference) for reference in sample.references], axis=0)
            pair = middle(sample.noisy, arguments.side), middle(clean, arguments.side)
            parts.setdefault(directory.name, []).append(pair)
    table = Table("way", *(f"{name} ({len(pairs)})" for name, pairs in parts.items()), "s")
    noisy = [np.mean([psnr(x / 255, c) for x, c in pairs]) for pairs in parts.values()]
    table.add_row("noisy", *(f"{value:.3f}" for value in noisy), "")
    first: list[float] = []
    for name, settings in WAYS.items():
        denoiser = load_denoiser(arguments.weights, device="cpu", detail="off", **settings)
        start = time.perf_counter()
        means = [
            float(np.mean([psnr(denoiser(np.float32(x) / 255), c) for x, c in pairs]))
            for pairs in parts.values()
        ]
        seconds = f"{time.perf_counter() - start:.1f}"
        first = first or means
        changes = (f"{mean:.3f} ({mean - of:+.3f})" for mean, of in zip(means, first, strict=True))
        table.add_row(name, *changes, seconds)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
