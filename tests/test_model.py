"""The networks compute what the papers say, and no pixel sees itself."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from conftest import TINY, make_network
from hypothesis import given, settings
from hypothesis import strategies as st

from ssbsn_cli.core.model.attention import exact_attention, linear_attention
from ssbsn_cli.core.model.blocks import CentralMaskedConv2d
from ssbsn_cli.core.model.pd import mirror_pad, pd_down, pd_up
from ssbsn_cli.core.model.refine import random_replacing_refinement
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.weights.locate import load_weights

SIZES = [(12, 10), (13, 11), (10, 15)]


def photo(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height))


def weights_of(network: SSBSN) -> dict[str, np.ndarray]:
    return {key: value.double().numpy() for key, value in network.state_dict().items()}


def as_reference(x: torch.Tensor) -> np.ndarray:
    return x[0].double().numpy()


def greys_apart(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """Largest difference on the 0..255 scale."""
    return float(np.abs(ours.detach()[0].numpy() - theirs).max() * 255)


@pytest.mark.parametrize("size", SIZES)
def test_blind_spot_network_is_the_papers(family, network, size):
    network.use_attention("exact")
    x = photo(*size)
    expected = reference.bsn(as_reference(x), weights_of(network), TINY[family]["blocks"])
    assert greys_apart(network.bsn(x), expected) < 1e-2


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_pd_pass_is_the_papers(family, network, stride):
    network.use_attention("exact")
    x = photo(10, 20)
    expected = reference.through_pd(
        as_reference(x), weights_of(network), TINY[family]["blocks"], stride, 2
    )
    assert greys_apart(network(x, stride), expected) < 1e-2


def test_r3_is_the_papers(family, network):
    network.use_attention("exact")
    x, blocks, weights = photo(10, 12), TINY[family]["blocks"], weights_of(network)
    generator = torch.Generator().manual_seed(1234)
    masks = [(torch.rand(x.shape, generator=generator) < 0.16)[0].numpy() for _ in range(3)]
    y0 = reference.through_pd(as_reference(x), weights, blocks, 2, 2)
    expected = reference.r3(as_reference(x), y0, weights, blocks, masks, 2)
    ours = network.denoise(x, refine="r3", passes=3, generator=torch.Generator().manual_seed(1234))
    assert greys_apart(ours, expected) < 1e-2


def test_no_pixel_influences_its_own_prediction(family):
    network = make_network(family).double()
    size = 9, 8
    for row, column in [(0, 0), (4, 4), (8, 7), (3, 0)]:
        x = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
        network.bsn(x)[0, :, row, column].sum().backward()
        own = x.grad[0, :, row, column]
        assert x.grad.abs().max() > 0
        if family == "apbsn":
            assert torch.all(own == 0)
        else:
            # SS-Attention subtracts a mean over the image, which knows every pixel a little.
            assert own.abs().max() < 2e-3 * x.grad.abs().max()


def test_plain_blocks_are_exactly_blind():
    torch.manual_seed(0)
    network = SSBSN(channels=8, blocks=("plain",) * 3)
    x = torch.rand(1, 3, 20, 20, requires_grad=True)
    network.bsn(x)[0, :, 10, 9].sum().backward()
    assert torch.all(x.grad[0, :, 10, 9] == 0)
    assert torch.any(x.grad[0, :, 10, 10] != 0)


def test_a_stale_centre_tap_stays_blind():
    """The authors' checkpoints carry centre taps that an optimiser has moved off zero."""
    conv = CentralMaskedConv2d(4, 5)
    torch.nn.init.ones_(conv.weight)
    x = torch.rand(1, 4, 9, 9, requires_grad=True)
    conv(x)[0, :, 4, 4].sum().backward()
    assert torch.all(x.grad[0, :, 4, 4] == 0)
    assert torch.all(x.grad[0, :, 4, 5] != 0)


@pytest.mark.parametrize("width", [16, 48, 128])
def test_linear_attention_stays_within_its_bound(width):
    """exp(z) = 1 + z with |z| <= 1/sqrt(d) is wrong by less than z^2 (at d >= 4)."""
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(2, 300, width, generator=generator)
    e = e / e.norm(dim=-1, keepdim=True)
    v = torch.rand(2, 300, 8, generator=generator)
    error = (linear_attention(e, v) - exact_attention(e, v)).abs().max()
    # Both the weighted sum and the sum of the weights are off by 1/d at most, and v <= 1.
    assert error < 2 / width
    assert (exact_attention(e, v) - v.mean(dim=1, keepdim=True)).abs().max() > 3 * error


def test_linear_attention_hardly_moves_a_network():
    network = make_network("ssbsn")
    x = photo(24, 24)
    network.use_attention("exact")
    exact = network.bsn(x)
    network.use_attention("linear")
    linear = network.bsn(x)
    for block in network.modules():
        if hasattr(block, "wqk"):
            torch.nn.init.zeros_(block.wqk)
    without_similarity = network.bsn(x)
    assert (linear - exact).abs().max() < 0.2 * (without_similarity - exact).abs().max()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 5), (13, 9)])
@pytest.mark.parametrize("refine", ["none", "once", "r3"])
def test_every_size_comes_back_at_its_own(network, size, refine):
    x = photo(*size)
    y = network.denoise(x, refine=refine)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


def test_an_odd_size_is_the_even_one_but_for_its_mirrored_border():
    network = make_network("apbsn")
    x = photo(41, 45)
    even = mirror_pad(x, 0, 1, 0, 1)
    assert torch.equal(
        network.denoise(x, refine="none"), network.denoise(even, refine="none")[..., :41, :45]
    )


def test_r3_depends_on_its_seed_alone(network):
    x = photo(12, 12)
    one = network.denoise(x, refine="r3", generator=torch.Generator().manual_seed(1))
    torch.rand(1000)
    again = network.denoise(x, refine="r3", generator=torch.Generator().manual_seed(1))
    other = network.denoise(x, refine="r3", generator=torch.Generator().manual_seed(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("passes", "probability"), [(4, 0.16), (6, 0.16), (4, 0.25), (7, 0.4)])
def test_stratified_masks_replace_all_elements_equally_often(passes, probability):
    x, y0 = torch.ones(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)

    def shares(stratified):
        """The mean of what was put into the network, which is how often each was replaced."""
        seen = []
        replaced = random_replacing_refinement(
            lambda mixed: seen.append(mixed.mean().item()) or mixed,
            y0,
            x,
            pad=0,
            passes=passes,
            probability=probability,
            generator=torch.Generator().manual_seed(0),
            stratified=stratified,
        )
        # Each single mask replaces as many elements as those of R3.
        assert all(abs(share - probability) < 0.02 for share in seen)
        return replaced * passes

    often = shares(stratified=True)
    assert often.max() - often.min() <= 1
    assert often.var() < shares(stratified=False).var()


def test_half_precision_weights_keep_images_in_float32(network):
    x = photo(16, 16)
    expected = network.denoise(x, refine="once")
    out = network.to(torch.bfloat16).denoise(x, refine="once")
    assert out.dtype == torch.float32
    assert (out - expected).square().mean() < 0.1**2 * expected.square().mean()


@pytest.mark.parametrize(
    "name",
    ["photo", "photo-next", "photo-large", pytest.param("ssbsn-photo", marks=pytest.mark.slow)],
)
def test_bf16_keeps_brightness_and_detail(name):
    # Rounding k/255 to bf16 alone makes a photo brighter by up to half a grey level.
    network = load_weights(name).network.eval()
    rows, columns = torch.meshgrid(torch.linspace(0, 0.6, 48), torch.arange(48.0), indexing="ij")
    scene = rows + 0.1 * torch.sin(columns / 3)
    noise = 0.03 * torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    x = ((scene + 0.2 + noise).clamp(0, 1) * 255).round() / 255
    how = {"refine": "once"} if network.blind else {}
    with torch.inference_mode():
        exact = network.denoise(x, **how)
        network.use_dtype(torch.bfloat16)
        apart = 255 * (network.denoise(x, **how) - exact)
    assert apart.mean().abs() < 0.1
    assert apart.std() < 0.25


@pytest.mark.slow
def test_bf16_keeps_the_brightness_of_flat_areas():
    # There, all pixels' features are rounded the same way.
    network = load_weights("ssbsn-photo").network.eval()
    levels = torch.linspace(0.1, 0.9, 3)[:, None, None, None]
    noise = 0.03 * torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    x = ((levels + noise).clamp(0, 1) * 255).round() / 255
    with torch.inference_mode():
        exact = network.denoise(x, refine="once")
        network.use_dtype(torch.bfloat16)
        apart = 255 * (network.denoise(x, refine="once") - exact)
    assert apart.mean(dim=(1, 2, 3)).abs().max() < 0.15


@given(stride=st.integers(1, 5), pad=st.integers(0, 3), h=st.integers(1, 4), w=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_pd_up_undoes_pd_down(stride, pad, h, w):
    x = torch.rand(2, 3, h * stride, w * stride)
    mosaic = pd_down(x, stride, pad)
    assert mosaic.shape[-2:] == ((h + 2 * pad) * stride, (w + 2 * pad) * stride)
    assert torch.equal(pd_up(mosaic, stride, pad), x)


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    pads=st.tuples(*[st.integers(0, 9)] * 4),
)
@settings(max_examples=50, deadline=None)
def test_mirror_pad_reflects_however_small_the_image(size, pads):
    x = torch.rand(1, 1, *size)
    left, right, top, bottom = pads
    expected = np.pad(x[0, 0].numpy(), ((top, bottom), (left, right)), mode="reflect")
    assert np.array_equal(mirror_pad(x, *pads)[0, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": 7}, "even"),
        ({"channels": 0}, "even"),
        ({"blocks": ()}, "blocks"),
        ({"blocks": ("x",)}, "blocks"),
        ({"pd_b": 0}, "strides"),
    ],
)
def test_senseless_parameters_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        SSBSN(**{"channels": 8, **wrong})
