"""What runs on a GPU, run without one: PyTorch's fake tensors claim to be on a CUDA device.

Operations on them check devices, types and shapes, and compute nothing. So a tensor left on
the wrong device fails here. What this cannot reach: kernels and their numbers, memory, streams,
threads (tiles are done one after the other here), gradients, bf16 by autocast, and compiling.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode, fake_tensor
from torch.overrides import TorchFunctionMode
from training_runs import write_config

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.evaluation import runner
from ssbsn_cli.core.evaluation.evaluation_request import EvaluationRequest
from ssbsn_cli.core.inference import tiles
from ssbsn_cli.core.inference.settings import Settings
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.training.batches import Batch
from ssbsn_cli.core.training.config import load_config
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.team import Team
from ssbsn_cli.core.weights.locate import LoadedWeights

CUDA = torch.device("cuda", 0)
# What takes most of the time, and is the same for all networks.
SMALL = {"refine_passes": 1, "multiscale": "off"}
DESCRIPTORS = {
    "ssbsn": Descriptor("ssbsn", {"channels": 8, "blocks": ["ss"]}, detail=True),
    "apbsn": Descriptor("apbsn", {"channels": 8, "blocks": ["light"]}),
    "unet": Descriptor("unet", {"widths": [8, 12], "depths": [1, 1]}, refine="none"),
}


class Strict(TorchFunctionMode):
    """What fake tensors leave open: values that Python asks for, and generators of random numbers.

    On a machine, arrays come from and go to the CPU only, and a generator draws on its own device.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.numpy:
            assert args[0].device.type == "cpu", "only tensors on the CPU become arrays"
            assert args[0].dtype != torch.bfloat16, "NumPy has no bfloat16"
            return np.zeros(tuple(args[0].shape), str(args[0].dtype).removeprefix("torch."))
        if func in (Tensor.__bool__, Tensor.item, Tensor.__float__):
            return func is Tensor.__bool__ or 1.0
        result = func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and isinstance(result, Tensor):
            assert generator.device.type == result.device.type, "a generator of another device"
        return result


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch claim that there is a GPU."""
    monkeypatch.setattr(fake_tensor, "init_gpu_context", lambda _: None)
    # Or fake tensors would begin to use it.
    monkeypatch.setattr(FakeTensorMode, "avoid_device_init", True)
    if not torch.backends.cuda.is_built():
        _guard_like_meta()
    monkeypatch.setattr(torch.nn.Module, "_apply", _replace_parameters)
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "mem_get_info": (8 << 30, 8 << 30),
        "get_device_name": "fake",
        "memory_allocated": 0,
        "max_memory_allocated": 1,
        "reset_peak_memory_stats": None,
        "synchronize": None,
        "empty_cache": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    # The modes below are those of one thread.
    monkeypatch.setattr(tiles, "tiles_at_once", lambda *_: 1)
    monkeypatch.setattr(
        torch, "from_numpy", lambda array: torch.empty(array.shape, dtype=_dtype(array))
    )


def _guard_like_meta() -> None:
    """Make switching to a CUDA device do nothing without CUDA, like switching to a meta device.

    If PyTorch has CUDA, `FakeTensorMode` does this itself. Devices then need a number: the guard
    would return a meta device as the current one.
    """
    library = Path(torch.__file__).parent / "lib" / "libc10.so"
    registry = "_ZN3c104impl26device_guard_impl_registryE"
    kinds = len(torch._C._autograd.DeviceType.__members__)
    guards = (ctypes.c_void_p * kinds).in_dll(ctypes.CDLL(str(library)), registry)
    number = {name: int(kind) for name, kind in torch._C._autograd.DeviceType.__members__.items()}
    guards[number["CUDA"]] = guards[number["Meta"]]


def _replace_parameters(module: torch.nn.Module, change: Any, recurse: bool = True) -> Any:
    """Do what `torch.nn.Module._apply` does; it swaps tensors, which fake ones do not allow."""
    for part in module.modules():
        for name, old in part._parameters.items():
            if old is not None:
                part._parameters[name] = torch.nn.Parameter(change(old).detach())
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = change(buffer)
    return module


def _dtype(array: np.ndarray[Any, Any]) -> torch.dtype:
    found = getattr(torch, array.dtype.name)
    assert isinstance(found, torch.dtype)
    return found


@contextmanager
def pretended() -> Iterator[None]:
    with FakeTensorMode(), Strict():
        yield


def weights(name: str) -> LoadedWeights:
    with CUDA:
        network = DESCRIPTORS[name].build().eval()
    assert {p.device for p in network.parameters()} == {CUDA}
    return LoadedWeights(network, DESCRIPTORS[name], name, "")


def noisy(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(60, 190, shape, dtype=np.uint8)


def test_what_would_fail_on_a_gpu_fails_here():
    with pretended():
        there, here = torch.ones(3, 3, device=CUDA), torch.ones(3, 3)
        with pytest.raises(RuntimeError, match="device"):
            there.add_(here)
        with pytest.raises(RuntimeError, match="device"):
            torch.where(here > 0, there, there)
        with pytest.raises(AssertionError, match="generator"):
            torch.rand(3, device=CUDA, generator=torch.Generator())
        with pytest.raises(AssertionError, match="CPU"):
            there.numpy()
        assert there.cpu().numpy().shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("unet", {"precision": "fp32", "ensemble": True}),
        ("unet", {"precision": "bf16"}),
        ("apbsn", {"precision": "fp32", "refine": "none"}),
        ("apbsn", {"precision": "fp16", "refine": "r3", "refine_passes": 2}),
        ("ssbsn", {"precision": "auto", "refine": "once", "strength": 0.5}),
        ("ssbsn", {"precision": "bf16", "refine": "stratified", **SMALL}),
        ("ssbsn", {"precision": "fp32", "refine": "r3", "attention": "exact", **SMALL}),
    ],
)
def test_photos_are_denoised_whole_in_tiles_and_in_batches(name, settings):
    with pretended():
        denoiser = load_denoiser(weights(name), device="cuda:0", tile=48, **settings)
        assert denoiser.device == CUDA
        assert denoiser._engine.detail == (name == "ssbsn")
        images = [noisy(60, 20, 3)]
        if settings == {"precision": "bf16"}:
            images += [noisy(20, 17), noisy(3, 2, 4)]
        for image in images:
            assert denoiser(image).shape == image.shape
        small = [noisy(20, 17, 3)] * 3
        assert denoiser.batch_size(20, 17) > 1
        assert [result.shape for result in denoiser.denoise_batch(small)] == [(20, 17, 3)] * 3
        assert denoiser.describe()["device"] == "cuda:0"


@pytest.mark.parametrize(("name", "optimizer"), [("ssbsn", "adam"), ("unet", "muon")])
def test_a_network_learns_a_step(tmp_path, monkeypatch, name, optimizer):
    options = {
        "training.precision": "fp32",
        "training.compile": "off",
        "optimizer.kind": optimizer,
        "optimizer.ema": 0.9,
        "optimizer.gradient_clip": 1.0,
    }
    config = load_config(str(write_config(tmp_path / "tiny.toml")), options=options)
    crops = np.zeros((2, 3, 60, 60), np.float32)
    with pretended():
        network = weights(name).network

        def backward(loss: Tensor) -> None:
            # PyTorch has no streams to follow gradients on where there is no GPU.
            assert loss.device == CUDA
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)

        monkeypatch.setattr(Tensor, "backward", backward)
        with monkeypatch.context() as patch:
            # A copy of a fake tensor would have a copy of its mode.
            patch.setattr(copy, "deepcopy", lambda _: weights(name).network)
            learner = Learner(network, config, Team(0, 1, CUDA))
        for _ in range(2):
            learner.learn(Batch(crops, crops, 5), 1e-4, 0)
        with learner.result() as result:
            assert {p.device for p in result.parameters()} == {CUDA}
        state = learner.state(0)
    assert state.step == 2


def test_networks_are_evaluated(monkeypatch, tmp_path):
    def load(name: str, **options: Any) -> Any:
        return load_denoiser(weights(name), **options)

    monkeypatch.setattr(runner, "load_denoiser", load)
    with pretended():
        request = EvaluationRequest(
            dataset="demo",
            weights=("unet",),
            limit=1,
            settings=Settings(device="cuda:0", refine=None),
        )
        found = runner.Evaluation(request, pytest.fail).run(lambda _done, _of: None)
    assert "unet" in {row["name"] for row in found["methods"]}
