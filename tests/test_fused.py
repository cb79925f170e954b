"""Fused and separate convolutions, sums and ReLUs give the same results."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssbsn_cli.core.runtime import operations
from ssbsn_cli.core.runtime.convolution import Conv2d, Layers

needed = pytest.mark.skipif(
    not operations.fusing_is_offered(), reason="PyTorch does not offer it here"
)


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    kernel=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    images=st.integers(1, 3),
    last=st.booleans(),
    bias=st.booleans(),
    relu=st.booleans(),
    summed=st.booleans(),
)
def test_what_follows_is_done_whatever_the_shape(
    inputs, outputs, kernel, dilation, height, width, images, last, bias, relu, summed
):
    padding = kernel // 2 * dilation
    conv = Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=bias)
    x = torch.rand(images, inputs, height, width) - 0.5
    plus = torch.rand(images, outputs, height, width) - 0.5 if summed else None
    if last:
        x = x.to(memory_format=torch.channels_last)
        conv.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = nn.functional.conv2d(
            x, conv.weight, conv.bias, padding=padding, dilation=dilation
        )
        expected = expected + plus if summed else expected
        expected = expected.relu() if relu else expected
        before = (x.clone(), plus.clone() if summed else None)
        torch.testing.assert_close(conv(x, relu=relu, plus=plus), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(x, before[0])
    if summed:
        assert torch.equal(plus, before[1])


@needed
def test_bf16_in_one_go_is_no_further_from_float32_than_in_several():
    torch.manual_seed(0)
    conv = Conv2d(64, 64, 3, padding=1).bfloat16()
    x, plus = torch.randn(2, 1, 64, 30, 30).bfloat16()
    exact = torch.nn.functional.conv2d(x.float(), conv.weight.float(), conv.bias.float(), padding=1)
    exact += plus.float()
    with torch.inference_mode():
        together, apart = conv(x, plus=plus).float(), (conv(x) + plus).float()
    error = (together - exact).square().mean()
    assert 0 < error <= 1.02 * (apart - exact).square().mean()


def test_layers_are_those_of_a_sequential():
    torch.manual_seed(0)
    layers = Layers(
        Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        Conv2d(8, 8, 1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        Conv2d(8, 4, 1),
        nn.ReLU(),
    )
    plain = nn.Sequential(*layers)
    with torch.no_grad():
        layers[2].bias.sub_(1)
    x = torch.randn(2, 3, 12, 16)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            torch.testing.assert_close(layers(x), plain(x), atol=1e-6, rtol=1e-5)
    assert (plain(x) == 0).any()
