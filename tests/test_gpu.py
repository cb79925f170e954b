"""What must hold on a GPU; left out of CI, which has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.runtime.device import resolve_device

pytestmark = pytest.mark.gpu

WAYS = {
    "photo": {"weights": "photo"},
    "several tiles at once": {"weights": "photo", "tile": 96},
    "ssbsn-photo": {"weights": "ssbsn-photo", "refine": "once"},
}


def noisy(side=200):
    noise = np.random.default_rng(0).normal(0, 15, (side, side + 40, 3))
    ramp = np.linspace(40, 200, side)[:, None, None]
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1), ("auto", 2), ("fp16", 2)])
def test_a_gpu_computes_what_a_cpu_does(way, precision, most):
    check(WAYS[way], precision, most)


def test_so_it_does_compiled():
    check(WAYS["ssbsn-photo"], "auto", 2, compile="on")


def check(way, precision, most, **more):
    image = noisy()
    expected = load_denoiser(device="cpu", precision="fp32", **way)(image)
    denoiser = load_denoiser(device="auto", precision=precision, **way, **more)
    assert denoiser.device.type != "cpu"
    difference = np.abs(denoiser(image).astype(int) - expected)
    assert difference.max() <= most
    together = denoiser.denoise_batch([image[:64, :64], image[64:128, :64]])
    alone = denoiser(image[:64, :64].astype(np.float32) / 255)
    np.testing.assert_allclose(together[0], alone, atol=0.01)


def test_tiles_that_do_not_fit_get_smaller():
    device = resolve_device("auto")
    if device.type != "cuda":
        pytest.skip("only CUDA limits a process's memory")
    image = noisy(2000)
    expected = load_denoiser(device="cpu", precision="fp32")(image)
    free = torch.cuda.mem_get_info(device)[0]
    torch.cuda.set_per_process_memory_fraction(300e6 / free)
    try:
        said: list[str] = []
        result = load_denoiser(device="cuda", tile=0, notify=said.append)(image)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert said
    # Other tiles have other edges, where strong noise is told from texture a little differently.
    assert np.sqrt(np.mean((result.astype(float) - expected) ** 2)) <= 0.5
