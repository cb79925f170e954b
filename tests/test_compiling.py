"""Compiled or not: the same results, and only where a run is long enough."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config
from training_runs import Tiny, losses, write_config
from weights_files import author_network

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.runtime import compiling
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.convolution import use_winograd
from ssbsn_cli.core.weights.locate import LoadedWeights

needs_compiler = pytest.mark.skipif(bool(missing := compiling._missing()), reason=str(missing))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty cache, and a compiler that was not used before."""
    monkeypatch.setenv("SSBSN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_CHOSEN", None)
    # What PyTorch sets if it is asked first, so that the test sees that it is not used.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "predictable"))
    torch.compiler.reset()
    yield tmp_path
    torch.compiler.reset()


class Doubling(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def denoiser(**settings):
    descriptor = Descriptor("ssbsn", {"channels": 8, "blocks": ["ss"]}, refine="none")
    return made_of(author_network(8, ("ss",)), descriptor, **settings)


def unet(width, **settings):
    parameters = {"widths": [width], "depths": [1]}
    torch.manual_seed(0)
    descriptor = Descriptor("unet", parameters, refine="none")
    return made_of(UNet(**parameters), descriptor, precision="fp32", **settings)


def made_of(network, descriptor, **settings):
    said = []
    weights = LoadedWeights(network, descriptor, "tiny", "")
    # Each further scale would be a shape to compile.
    usual = {"device": "cpu", "detail": "off", "multiscale": "off"}
    made = load_denoiser(weights, notify=said.append, **usual | settings)
    return made, said


def noisy(*shape):
    return np.random.default_rng(0).integers(60, 190, shape, dtype=np.uint8)


def repay_from(megapixels, monkeypatch):
    network = author_network(8, ("ss",)).bsn
    parameters = sum(parameter.numel() for parameter in network.parameters())
    monkeypatch.setattr(compiling, "_WORTH", 1e6 * megapixels * parameters)


@pytest.fixture
def broken_compiler():
    # What CXX names, which is read once in a process.
    return config.patch({"cpp.cxx": ("false",)})


@pytest.mark.slow
@needs_compiler
def test_a_network_that_has_a_faster_way_uncompiled_is_compiled_if_asked(place, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert use_winograd(UNet(widths=[64], depths=[1]))
    compiled, _ = unet(64, compile="on")
    compiled(noisy(64, 64, 3))
    assert compiled.describe()["compiled"]


@needs_compiler
def test_results_are_those_of_the_network_as_it_is(place):
    image = noisy(60, 60, 3).astype(np.float32) / 255
    # A network with attention takes twice as long to compile.
    as_it_is, _ = unet(8, compile="off")
    compiled, said = unet(8, compile="on")
    np.testing.assert_allclose(compiled(image), as_it_is(image), atol=2e-5)
    assert compiled.describe()["compiled"]
    assert not as_it_is.describe()["compiled"]
    assert not said
    folder = place / "cache" / "compiled"
    assert list(folder.rglob("*.so"))
    assert os.name == "nt" or folder.stat().st_mode & 0o777 == 0o700
    assert not (place / "predictable").exists()


@pytest.mark.slow
@needs_compiler
def test_a_photo_with_enough_work_is_worth_it_whatever_comes_before(monkeypatch, broken_compiler):
    large, small = noisy(90, 70, 3), noisy(50, 40, 3)
    as_it_is, _ = denoiser(precision="bf16", tile=64, compile="off")
    made, said = denoiser(precision="bf16", tile=64)
    repay_from(0.004, monkeypatch)
    np.testing.assert_array_equal(made(small), as_it_is(small))
    assert not made.describe()["compiled"]
    compiled = made(large)
    assert made.describe()["compiled"]
    assert np.abs(compiled.astype(int) - as_it_is(large)).max() <= 3
    with broken_compiler:
        np.testing.assert_array_equal(made(small), as_it_is(small))
        np.testing.assert_array_equal(made(large), compiled)
        # As large as one of the tiles.
        tile = large[:62, :52]
        np.testing.assert_array_equal(made(tile), as_it_is(tile))
    assert not said


def test_what_is_not_faster_compiled_is_never_compiled(monkeypatch):
    repay_from(0, monkeypatch)
    for made in (denoiser(precision="fp32")[0], denoiser(precision="bf16", compile="off")[0]):
        for _ in range(3):
            made(noisy(40, 40, 3))
        assert not made.describe()["compiled"]


@pytest.mark.slow
@needs_compiler
def test_a_broken_compiler_is_said_and_costs_nothing(monkeypatch, broken_compiler):
    image = noisy(40, 40, 3)
    as_it_is, _ = denoiser(precision="bf16", compile="off")
    made, said = denoiser(precision="bf16")
    repay_from(0, monkeypatch)
    with broken_compiler:
        for _ in range(3):
            np.testing.assert_array_equal(made(image), as_it_is(image))
    assert len(said) == 1
    assert "cannot be compiled" in said[0]
    asked_for, _ = denoiser(precision="bf16", compile="on")
    with broken_compiler, pytest.raises(DeviceError, match="cannot be compiled"):
        asked_for(image)


def test_a_missing_compiler_matters_only_if_compiling_is_asked_for(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    repay_from(0, monkeypatch)
    made, said = denoiser(precision="bf16")
    for _ in range(3):
        made(noisy(40, 40, 3))
    assert not said
    with pytest.raises(DeviceError, match="no-such-compiler"):
        denoiser(compile="on")


@needs_compiler
@pytest.mark.parametrize("kind", ["on", "off"])
def test_what_is_wrong_with_the_work_itself_is_not_laid_to_compiling(kind):
    compiler = Compiler(torch.nn.Identity(), kind, pays=True, passes=1, notify=pytest.fail)
    with pytest.raises(ZeroDivisionError):
        compiler.run(lambda: 1 // 0, "shape", 1e6)


@pytest.mark.slow
@needs_compiler
def test_every_shape_is_compiled_however_many_there_are():
    doubling = Doubling()
    compiler = Compiler(doubling, "on", pays=True, passes=1, notify=pytest.fail)
    before = counters["stats"]["unique_graphs"]
    with torch.inference_mode():
        for size in range(2, 12):
            compiler.run(partial(doubling, torch.ones(size)), size, size)
    assert counters["stats"]["unique_graphs"] == before + 10


@needs_compiler
@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("open_to", ["folder", "parent"])
def test_compiled_code_of_others_is_never_run(place, open_to):
    folder = place / "cache" / "compiled"
    folder.mkdir(parents=True)
    (folder if open_to == "folder" else folder.parent).chmod(0o777)
    doubling = Doubling()
    compiler = Compiler(doubling, "on", pays=True, passes=1, notify=pytest.fail)
    with pytest.raises(DeviceError, match="others may write to"):
        compiler.run(lambda: doubling(torch.ones(9)), 9, 9)
    assert not list(folder.iterdir())
    assert not (place / "predictable").exists()


@pytest.mark.slow
@needs_compiler
def test_training_learns_the_same(tmp_path):
    tiny = Tiny(tmp_path)
    tiny.config = write_config(tmp_path / "one.toml", ('["plain", "ss"]', '["ss"]'))
    as_it_is = losses(tiny.train("as_it_is", changes=["training.compile=off"]))
    compiled = losses(tiny.train("compiled", changes=["training.compile=on"]))
    assert compiled.keys() == as_it_is.keys()
    for step, loss in as_it_is.items():
        assert compiled[step] == pytest.approx(loss, rel=1e-4)
    assert list((tmp_path / "cache" / "compiled").rglob("*.so"))
    assert not [text for text in tiny.said if "compile" in text]
