"""Senseless settings and missing devices are refused by name."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from conftest import make_network

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import DeviceError, OptionError
from ssbsn_cli.core.inference import tiles
from ssbsn_cli.core.inference.settings import Settings
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.runtime import device
from ssbsn_cli.core.weights.locate import LoadedWeights


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile": 5},
        {"tile": -1},
        {"overlap": -1},
        {"tile": 64, "overlap": 33},
        {"strength": 1.5},
        {"strength": float("nan")},
        {"refine_passes": 0},
        {"refine_passes": 2, "refine": "once"},
        {"seed": -1},
        {"precision": "fp8"},
        {"attention": "none"},
        {"refine": "twice"},
        {"tile": "auto"},
        {"strength": "1"},
        {"device": None},
        {"seed": 1.5},
    ],
)
def test_senseless_settings_are_refused_with_a_hint(wrong):
    with pytest.raises(OptionError) as caught:
        Settings(**wrong)
    assert caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_missing_gpu_is_an_error(name):
    with pytest.raises(DeviceError, match="CUDA"):
        device.resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "cpu:-1", "cpu:7", "CPU"])
def test_an_unknown_device_is_an_error(name):
    with pytest.raises(OptionError, match="nknown"):
        device.resolve_device(name)


def denoised(**changes):
    parameters = {"channels": 12, "blocks": ["plain", "ss", "ss"]}
    descriptor = Descriptor("ssbsn", parameters, detail=True)
    weights = LoadedWeights(make_network("ssbsn"), descriptor, "tiny", "")
    usual = {"refine": "r3", "refine_passes": 2, "precision": "fp32", "tile": 0}
    image = np.random.default_rng(0).normal(0.5, 0.05, (96, 96, 3)).astype(np.float32)
    return load_denoiser(weights, device="cpu", **usual | changes)(image)


unchanged = cache(denoised)


@pytest.mark.parametrize(
    "change",
    [
        {"ensemble": True},
        {"refine": "stratified"},
        {"refine_passes": 3},
        {"seed": 1},
        {"detail": "off"},
        {"multiscale": "off"},
        {"wiener": "off"},
        {"attention": "exact"},
        {"strength": 0.5},
        {"precision": "bf16"},
        {"tile": 64},
    ],
    ids=str,
)
def test_every_setting_changes_the_result(change):
    assert not np.array_equal(denoised(**change), unchanged())


def test_less_free_memory_means_smaller_tiles(monkeypatch):
    weights = LoadedWeights(SSBSN(), Descriptor("ssbsn"), "ssbsn", "")
    sides = []
    for free in (64 << 30, 2 << 30, 256 << 20, 16 << 20, 0):
        monkeypatch.setattr(tiles, "free_memory", lambda _, free=free: free)
        sides.append(tiles.choose_tile(weights, torch.device("cpu"), torch.float32))
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 256
    assert sides[-1] == 32


def test_a_gpu_gets_larger_tiles_unless_results_would_depend_on_them(monkeypatch):
    monkeypatch.setattr(tiles, "free_memory", lambda _: 64 << 30)
    for network, name, sides in ((UNet(), "unet", [512, 1024]), (SSBSN(), "ssbsn", [256, 256])):
        weights = LoadedWeights(network, Descriptor(name), name, "")
        devices = map(torch.device, ("cpu", "cuda"))
        assert [tiles.choose_tile(weights, each, torch.float16) for each in devices] == sides


def test_free_memory_of_the_cpu_is_a_plausible_number():
    assert 1 << 20 < device.free_memory(torch.device("cpu")) < 1 << 50


@pytest.mark.parametrize(
    ("units", "expected"),
    [((False, False), "fp32"), ((True, False), "bf16"), ((False, True), "bf16")],
)
def test_auto_precision_on_a_cpu_follows_what_it_has_units_for(monkeypatch, units, expected):
    cpu = torch.device("cpu")
    for name, has in zip(
        ("_is_avx512_bf16_supported", "_is_amx_tile_supported"), units, strict=True
    ):
        monkeypatch.setattr(torch.cpu, name, lambda has=has: has)
    assert device.resolve_precision("auto", cpu) == expected
    assert device.resolve_precision("fp16", cpu) == "fp16"


def test_auto_precision_is_fp32_where_pytorch_does_not_know_the_units(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert device.resolve_precision("auto", torch.device("cpu")) == "fp32"
