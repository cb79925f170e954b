"""Winograd's convolutions: the same results, and only where they are faster."""

from __future__ import annotations

import contextlib
import copy
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.inference import predictor, tiles
from ssbsn_cli.core.runtime import convolution, operations
from ssbsn_cli.core.runtime.convolution import Conv2d

needed = pytest.mark.skipif(
    not torch.backends.nnpack.is_available(), reason="PyTorch has no NNPACK for this CPU"
)


@contextlib.contextmanager
def one_thread():
    """Winograd's convolutions are for threads of one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@needed
@settings(max_examples=30, deadline=None)
@given(
    inputs=st.integers(32, 50),
    outputs=st.integers(32, 50),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    images=st.integers(1, 2),
    last=st.booleans(),
    bias=st.booleans(),
)
def test_a_convolution_gives_what_the_plain_one_does(
    inputs, outputs, height, width, images, last, bias
):
    plain = Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    fast = nn.Sequential(copy.deepcopy(plain))
    assert convolution.use_winograd(fast)
    x = torch.rand(images, inputs, height, width)
    if last:
        x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode(), one_thread():
        torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "other",
    [
        {"kernel_size": 1},
        {"kernel_size": 3},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
)
def test_other_convolutions_stay_as_they_are(other):
    network = nn.Sequential(Conv2d(64, 64, **other), Conv2d(3, 64, 3, padding=1))
    assert not convolution.use_winograd(network)
    assert not any(layer.winograd for layer in network)


@cache
def denoised(fast, workers=1):
    """A photo and two small ones, by either convolution."""
    image = np.random.default_rng(0).normal(0.4, 0.1, (330, 270, 3)).astype(np.float32)
    usual = {"device": "cpu", "precision": "fp32", "white_noise": "off"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "winograd_is_fast", lambda: fast)
        patch.setattr(tiles, "tiles_at_once", lambda *_: workers)
        denoise = load_denoiser("photo", tile=128, **usual)
        return denoise(image), *denoise.denoise_batch([image[:80, :90], image[40:120, 20:110]])


@needed
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_photo_comes_out_the_same(workers):
    usual, found = denoised(fast=False), denoised(fast=True, workers=workers)
    for plain, fast in zip(usual, found, strict=True):
        np.testing.assert_allclose(fast, plain, atol=3e-5)
    assert (found[0] != usual[0]).any() == (workers > 1 or torch.get_num_threads() == 1)


@needed
def test_a_blind_spot_network_has_nothing_to_compute_so(monkeypatch):
    monkeypatch.setattr(predictor, "winograd_is_fast", lambda: True)
    denoise = load_denoiser("ssbsn-photo", device="cpu", precision="fp32")
    assert not denoise._engine.predictor.winograd


def test_where_it_fails_the_plain_way_goes_on(monkeypatch):
    def fail(*_):
        raise RuntimeError("NNPACK SpatialConvolution_updateOutput failed")

    monkeypatch.setattr(convolution, "winograd_convolution", fail)
    plain = Conv2d(32, 32, 3, padding=1)
    fast = nn.Sequential(copy.deepcopy(plain))
    convolution.use_winograd(fast)
    x = torch.rand(1, 32, 40, 50)
    with one_thread():
        torch.testing.assert_close(fast(x), plain(x))


@pytest.mark.parametrize(("precision", "used"), [("fp32", True), ("bf16", False)])
def test_only_float32_is_computed_so(monkeypatch, precision, used):
    monkeypatch.setattr(predictor, "winograd_is_fast", lambda: True)
    network = load_denoiser("photo", device="cpu", precision=precision).weights.network
    assert any(getattr(layer, "winograd", False) for layer in network.modules()) == used


@pytest.mark.parametrize(
    ("nnpack", "capability", "fast"),
    [(True, "AVX2", True), (True, "AVX512", False), (False, "AVX2", False)],
)
def test_it_is_used_where_nnpack_is_and_vectors_are_not_wide(monkeypatch, nnpack, capability, fast):
    monkeypatch.setattr(torch.backends.nnpack, "is_available", lambda: nnpack)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert operations.winograd_is_fast.__wrapped__() == fast
