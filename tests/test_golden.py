"""Parity with arrays that the authors' own code computed.

They are not part of this repository: name their directory in the environment variable
SSBSN_GOLDEN to run these tests. `tests/test_model.py` holds the networks against the papers'
formulas without them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ssbsn_cli.core.weights.checkpoints import load_checkpoint

GOLDEN = os.environ.get("SSBSN_GOLDEN")
pytestmark = pytest.mark.skipif(GOLDEN is None, reason="SSBSN_GOLDEN names no directory")

# The PD stride in training.
PD_A = 5
PARITY = 1e-2
LINEAR_BOUND = 1.4


@pytest.fixture(params=["ssbsn", "apbsn"])
def golden(request):
    folder = Path(str(GOLDEN)) / request.param
    network, _ = load_checkpoint(folder / "checkpoint.pth")
    config = json.loads((folder / "config.json").read_text())
    network.r3_passes = config["model"]["R3_T"]
    return network, dict(np.load(folder / "arrays.npz")), config["r3_seed"]


def worst(ours, theirs, interior=None):
    difference = np.abs(ours.detach().numpy() * 255 - theirs)
    return difference[..., :interior, :interior].max()


def outputs(network, arrays, seed):
    """Yield (name, our output) of everything the arrays hold."""
    with torch.inference_mode():
        for name in arrays:
            kind, _, i = name.rpartition("_")
            if name.startswith("bsn"):
                yield name, network.bsn(torch.from_numpy(arrays[f"x{name[3:]}"]) / 255)
            if not kind:
                continue
            if kind not in ("pd5", "pd2", "denoise_nor3", f"denoise_r3_seed{seed}"):
                continue
            x = torch.from_numpy(arrays[f"x{i}"]) / 255
            if kind.startswith("pd"):
                yield name, network(x, int(kind[2:]))
            else:
                refine = "none" if kind == "denoise_nor3" else "r3"
                generator = torch.Generator().manual_seed(seed)
                yield name, network.denoise(x, refine=refine, generator=generator)


def is_odd(array):
    return any(size % 2 for size in array.shape[-2:])


@pytest.mark.parametrize(("attention", "bound"), [("exact", PARITY), ("linear", LINEAR_BOUND)])
def test_outputs_agree(golden, attention, bound):
    network, arrays, seed = golden
    network.use_attention(attention)
    seen = 0
    for name, ours in outputs(network, arrays, seed):
        assert ours.shape == arrays[name].shape
        # The authors pad odd sizes with black, which SS-Attention spreads: see the test below.
        if name.startswith("denoise") and is_odd(arrays[name]):
            continue
        assert worst(ours, arrays[name]) < bound, name
        seen += 1
    assert seen >= 6


def test_the_interior_of_odd_sizes_agrees_without_attention(golden):
    network, arrays, _ = golden
    if any(hasattr(block, "wqk") for block in network.modules()):
        pytest.skip("has attention")
    x = torch.from_numpy(arrays["x1"]) / 255
    ours = network.denoise(x, refine="none")
    assert worst(ours, arrays["denoise_nor3_1"], interior=15) < PARITY


def test_training_loss_and_gradient_agree(golden):
    network, arrays, _ = golden
    network.use_attention("exact")
    x = torch.from_numpy(arrays["x0"]) / 255
    loss = (network(x, PD_A) - x).abs().mean() * 255
    loss.backward()
    assert abs(loss.item() - arrays["loss"]) < PARITY
    gradient = network.bsn.head[0].weight.grad.numpy()
    assert np.abs(gradient - arrays["grad_head"]).max() < 1e-3
