"""Jobs on several threads: in order, no further ahead than needed, and gone when they fail."""

from __future__ import annotations

import copy
import threading
import time
from itertools import zip_longest

import numpy as np
import pytest
import torch

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.inference import tiles
from ssbsn_cli.core.inference.engine import Engine
from ssbsn_cli.core.inference.predictor import Predictor
from ssbsn_cli.core.inference.tiles import Tiling
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.runtime import threads
from ssbsn_cli.core.runtime.threads import map_in_order
from ssbsn_cli.core.weights.locate import LoadedWeights


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(workers):
    def work(job):
        time.sleep(0.01 * (job % 3))
        return job * job

    assert list(map_in_order(work, range(12), workers)) == [n * n for n in range(12)]
    assert list(map_in_order(work, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_more_jobs_are_asked_for_than_threads_can_soon_begin(workers):
    given = []

    def jobs():
        for job in range(20):
            given.append(job)
            yield job

    for done, _ in enumerate(map_in_order(lambda job: job, jobs(), workers), start=1):
        assert len(given) <= done + workers


def test_each_thread_has_one_core_and_this_one_keeps_its_own():
    before = torch.get_num_threads()
    seen = set(map_in_order(lambda _: torch.get_num_threads(), range(6), 2))
    assert seen == {1}
    assert torch.get_num_threads() == before


def test_what_a_job_raises_comes_through_and_no_thread_stays():
    def fail(job):
        if job == 2:
            raise ValueError("the third")
        return job

    threads = threading.active_count()
    results = map_in_order(fail, range(50), 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert threading.active_count() == threads


def test_jobs_that_nobody_waits_for_end():
    def work(job):
        for _ in range(2000 if job else 1):
            time.sleep(0.01)
            threads.stop_if_unwanted()

    threads.stop_if_unwanted()
    start = time.monotonic()
    results = map_in_order(work, range(3), 2)
    next(results)
    results.close()
    assert time.monotonic() - start < 10


def test_one_denoiser_takes_several_photos_at_once():
    denoise = load_denoiser("ssbsn-photo", device="cpu", tile=48, multiscale="off", wiener="off")
    rng = np.random.default_rng(0)
    photos = [rng.integers(60, 190, (70, side, 3), dtype=np.uint8) for side in (40, 80)]
    expected = [denoise(photo) for photo in photos]
    bands = zip_longest(*map(denoise.stream, photos))
    for each, parts in zip(expected, zip(*bands, strict=True), strict=True):
        rows = [part for part in parts if part is not None]
        np.testing.assert_array_equal(np.concatenate(rows), each)


def test_an_interrupted_photo_does_not_wait_for_its_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "tiles_at_once", lambda *_: 2)
    few = {"refine": "r3", "refine_passes": 2}
    denoise = load_denoiser("ssbsn-photo", device="cpu", tile=64, overlap=0, **few)
    layers = []
    for layer in denoise.weights.network.modules():
        layer.register_forward_pre_hook(lambda *_: layers.append(None))

    def interrupt(done, _of):
        if done:
            layers.clear()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(np.zeros((128, 256, 3), np.uint8), interrupt)
    assert len(layers) < 100


def test_who_stops_listening_leaves_no_thread():
    threads = threading.active_count()
    results = map_in_order(lambda job: job, range(50), 3)
    next(results)
    results.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("kind", "cores", "free", "expected"),
    [
        ("cpu", 2, 8 << 30, 2),
        ("cpu", 2, 1 << 28, 1),
        ("cpu", 64, 1 << 40, 1),
        ("cpu", 1, 0, 1),
        ("cuda", 8, 8 << 30, 2),
        ("cuda", 8, 1 << 28, 1),
        ("mps", 8, 8 << 30, 1),
    ],
)
def test_as_many_tiles_at_once_as_cores_and_memory_allow(monkeypatch, kind, cores, free, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(tiles, "free_memory", lambda _: free)
    weights = LoadedWeights(UNet(), Descriptor("unet"), "tiny", "")
    chosen = tiles.tiles_at_once(weights, torch.device(kind), torch.float32, 512)
    assert chosen == expected


def test_tiles_that_overflow_together_come_out_as_in_fp32():
    torch.manual_seed(0)
    network = UNet(widths=(8, 12), depths=(1, 1)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 4)
    network.half().float()
    image = np.random.default_rng(0).random((128, 256, 3), np.float32)
    cpu, multiple = torch.device("cpu"), network.size_multiple
    expected, result = np.empty_like(image), np.empty_like(image)
    tiling = Tiling(tile=64, multiple=multiple)
    Engine(Predictor(copy.deepcopy(network), cpu), tiling).run(image, expected)
    said = []
    network.use_dtype(torch.float16)
    predictor = Predictor(network, cpu, fall_back=True, notify=said.append)
    Engine(predictor, Tiling(tile=64, multiple=multiple, workers=4)).run(image, result)
    assert predictor.fell_back
    assert len(said) == 1
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
