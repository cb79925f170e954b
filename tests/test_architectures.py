"""What holds for every architecture: list the arguments of its constructor here."""

from __future__ import annotations

import pytest
import torch

from ssbsn_cli.core.inference.settings import MIN_TILE
from ssbsn_cli.core.model.descriptor import ARCHITECTURES, Descriptor, deduce_descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.device import DTYPES
from ssbsn_cli.core.weights.checkpoints import encode_checkpoint, load_checkpoint

CONSTRUCTORS = [
    ("ssbsn", {"channels": 8, "blocks": ["plain", "ss"]}),
    ("ssbsn", {"channels": 6, "blocks": ["ss"], "pd_b": 1, "r3_passes": 2}),
    ("apbsn", {"channels": 8, "blocks": ["light", "light"]}),
    ("unet", {"widths": [8, 12, 16], "depths": [1, 1, 2]}),
    ("unet", {"widths": [8], "depths": [1]}),
]


@pytest.fixture(params=CONSTRUCTORS, ids=lambda each: each[0])
def descriptor(request):
    name, parameters = request.param
    return Descriptor(name, parameters, refine="none")


@pytest.fixture
def network(descriptor):
    torch.manual_seed(0)
    return descriptor.build().eval()


def photo(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))


def test_every_architecture_is_listed():
    assert {name for name, _ in CONSTRUCTORS} == set(ARCHITECTURES)


def test_what_is_stated_makes_sense(descriptor, network):
    architecture = ARCHITECTURES[descriptor.architecture]
    assert isinstance(network, Network)
    assert architecture.name == descriptor.architecture
    assert architecture.best_tile >= MIN_TILE
    assert network.size_multiple > 0
    assert network.live_features > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 50), (16, 16), (33, 47)])
@torch.inference_mode()
def test_every_size_comes_back_at_its_own(network, size):
    x = photo(*size)
    y = network.denoise(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


@torch.inference_mode()
def test_no_result_depends_on_what_else_is_in_the_batch(network):
    x = photo(24, 36)
    alone = torch.cat([network.denoise(each[None]) for each in x])
    torch.testing.assert_close(network.denoise(x), alone, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_every_precision_keeps_images_in_float32(descriptor, network):
    x = photo(24, 36)
    exact = network.denoise(x)
    for dtype in DTYPES.values():
        network.use_dtype(dtype)
        y = network.denoise(x)
        assert y.dtype == torch.float32
        assert (y - exact).square().mean() <= 0.02**2 * exact.square().mean()


def test_it_can_be_trained(network):
    x = photo(30, 60)[..., : 30 // network.size_multiple * network.size_multiple, :]
    stride = network.size_multiple
    x = x[..., : x.shape[-1] // stride * stride]
    network(x, stride).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_seed_decides_the_initial_weights(descriptor):
    first, same, other = (descriptor.build() for _ in range(3))
    for network, seed in ((first, 1), (same, 1), (other, 2)):
        network.initialise(seed)
    weights = [torch.cat([p.flatten() for p in each.parameters()]) for each in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.isfinite(first.denoise(photo(24, 36))).all()


def test_weights_go_to_a_file_and_come_back(descriptor, network, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(encode_checkpoint(network.state_dict(), descriptor, {}))
    loaded, same = load_checkpoint(path)
    assert same == descriptor
    state = network.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_its_weights_are_taken_for_no_other_architecture(descriptor, network):
    try:
        deduced = deduce_descriptor(network.state_dict())
    except ValueError:
        # Only files with a descriptor hold its weights.
        return
    assert deduced.architecture == descriptor.architecture
    assert deduced.parameters.items() <= descriptor.parameters.items()
