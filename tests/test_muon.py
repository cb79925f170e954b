"""Muon takes steps of one size in every direction, learns, and goes on where it stopped."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.training.muon import Muon, orthogonalised


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 24),
    more=st.integers(0, 60),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_singular_values_end_near_one_whatever_the_scale(rows, more, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    # Well conditioned: tiny singular values are left behind, by design.
    matrix = torch.randn(2, rows, 2 * rows + more, generator=generator)
    values = torch.linalg.svdvals(orthogonalised(scale * matrix))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_no_gradient_means_no_step():
    network = UNet((8, 12), (1, 1))
    before = copy.deepcopy(network.state_dict())
    optimizer = Muon(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    optimizer.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def learn(network, optimizer, steps):
    """Take steps on fixed data; return the loss of each."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 16, 16, generator=generator)
    target = x.flip(1)
    losses = []
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3
        optimizer.zero_grad()
        loss = (network(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet((8, 12), (1, 1)).to(memory_format=torch.channels_last)


def test_it_learns(network):
    losses = learn(network, Muon(network), 40)
    assert losses[-1] < 0.5 * losses[0]


def test_it_goes_on_where_it_stopped(network):
    optimizer = Muon(network)
    learn(network, optimizer, 3)
    other = copy.deepcopy(network)
    resumed = Muon(other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert learn(other, resumed, 3) == learn(network, optimizer, 3)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs PyTorch 2.9")
def test_steps_are_those_of_pytorchs_muon_and_adam():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 3, 3))
    rate = 1e-2
    inner = network[1].weight
    matrix = nn.Parameter(inner.detach().flatten(1).clone())
    others = [parameter for parameter in network.parameters() if parameter is not inner]
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in others]
    optimizer = Muon(network)
    references = [
        torch.optim.Muon(
            [matrix], lr=rate, weight_decay=0, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.Adam(copies, lr=0.4 * rate),
    ]
    for group in optimizer.param_groups:
        group["lr"] = rate
    for _ in range(6):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        matrix.grad = inner.grad.flatten(1).clone()
        for parameter, twin in zip(others, copies, strict=True):
            twin.grad = parameter.grad.clone()
        optimizer.step()
        for reference in references:
            reference.step()
    for parameter, twin in zip(others, copies, strict=True):
        torch.testing.assert_close(parameter, twin)
    # Both multiply in bf16, in another order.
    torch.testing.assert_close(inner.flatten(1), matrix, atol=0.05 * rate, rtol=0)
