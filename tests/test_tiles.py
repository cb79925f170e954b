"""Tiles cover every pixel, blend without seams, and keep within memory."""

from __future__ import annotations

import weakref
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.inference.engine import Engine
from ssbsn_cli.core.inference.predictor import Predictor
from ssbsn_cli.core.inference.tiles import Tiling
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.types import from_unit, to_unit
from ssbsn_cli.core.weights.locate import LoadedWeights


class Local:
    """A stand-in network that looks `radius` pixels far and treats each place alike."""

    def __init__(self, radius: int = 2) -> None:
        self.radius = radius
        self.kernel = torch.rand(1, 1, 2 * radius + 1, 2 * radius + 1).repeat(3, 1, 1, 1)
        self.kernel /= self.kernel[0].sum()
        self.largest = 0
        self.calls = 0

    def float(self):
        return self

    def denoise(self, x, **_):
        self.calls += 1
        self.largest = max(self.largest, *x.shape[-2:])
        x = F.pad(x, (self.radius,) * 4, mode="reflect")
        return F.conv2d(x, self.kernel, groups=3)


def plan_axis(length, tile, overlap, **how):
    return Tiling(tile=tile, overlap=overlap, **how).along(length)


def engine(network, **settings):
    """Make an engine; settings may be of its predictor or tiling, too."""
    parts = [
        {key: settings.pop(key) for key in keys if key in settings}
        for keys in (
            ("ensemble", "fall_back"),
            ("tile", "overlap", "multiple", "halo", "workers"),
        )
    ]
    notify = settings.get("notify", lambda _: None)
    predictor = Predictor(network, torch.device("cpu"), notify=notify, **parts[0])
    return Engine(predictor, Tiling(**parts[1]), **settings)


def photo(height, width, channels=3, dtype=np.float32):
    values = np.random.default_rng(height).random((height, width, channels), np.float32)
    return from_unit(values, np.dtype(dtype))


def run(network, image, **settings):
    out = np.empty_like(image)
    engine(network, **settings).run(image, out)
    return out


@given(
    length=st.integers(1, 400),
    tile=st.integers(8, 120),
    overlap=st.integers(0, 60),
    multiple=st.integers(1, 5),
    halo=st.integers(0, 12),
)
@settings(max_examples=300, deadline=None)
def test_weights_sum_to_one_everywhere(length, tile, overlap, multiple, halo):
    overlap = min(overlap, tile // 2)
    spans = plan_axis(length, tile, overlap, multiple=multiple, halo=halo)
    total = np.zeros(length)
    for span in spans:
        assert 0 <= span.start < span.stop <= length
        assert span.stop - span.start <= max(tile, length if len(spans) == 1 else 0)
        assert span.start % multiple == 0
        assert span.window.min() >= 0
        total[span.start : span.stop] += span.window
    assert np.allclose(total, 1, atol=1e-6)


@given(
    length=st.integers(50, 400),
    tile=st.integers(24, 120),
    overlap=st.integers(0, 60),
    halo=st.integers(0, 12),
)
@settings(max_examples=200, deadline=None)
def test_halos_carry_no_weight_and_neighbours_overlap(length, tile, overlap, halo):
    overlap = min(max(overlap, 2 * halo), tile // 2)
    halo = min(halo, overlap // 4)
    spans = plan_axis(length, tile, overlap, halo=halo)
    for left, right in pairwise(spans):
        assert left.stop - right.start >= overlap
        assert np.all(left.window[len(left.window) - halo :] == 0)
        assert np.all(right.window[:halo] == 0)


def test_tiles_fade_into_each_other_however_large_the_halo():
    for halo in (0, 8, 16, 100):
        left, right = plan_axis(300, 200, 32, halo=halo)
        shared = right.window[: left.stop - right.start]
        assert np.count_nonzero((shared > 0) & (shared < 1)) >= 16
        assert np.abs(np.diff(shared)).max() < 0.07


def test_the_papers_protocol_is_a_plain_grid():
    spans = plan_axis(1024, 256, 0, multiple=2, halo=8)
    assert [(span.start, span.stop) for span in spans] == [
        (0, 256), (256, 512), (512, 768), (768, 1024)
    ]  # fmt: skip
    assert all(np.all(span.window == 1) for span in spans)


def test_no_pixel_is_computed_more_often_than_the_overlap_asks_for():
    for length in range(257, 2000, 13):
        spans = plan_axis(length, 256, 32, multiple=2, halo=8)
        computed = sum(span.stop - span.start for span in spans)
        assert computed <= length + (len(spans) - 1) * (32 + 2)


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    tile=st.integers(64, 100),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=60, deadline=None)
def test_a_tiled_result_equals_the_untiled_one(height, width, tile, channels):
    network = Local(radius=2)
    image = photo(height, width, channels)
    whole = run(network, image)
    network.largest = 0
    tiled = run(network, image, tile=tile, overlap=8, halo=3, multiple=2)
    assert np.allclose(tiled, whole, atol=2e-6)
    assert network.largest <= tile


def test_the_result_may_go_where_the_image_was():
    network = Local(radius=2)
    image = photo(130, 70, dtype=np.uint16)
    expected = run(network, image, tile=32, overlap=8, halo=3)
    engine(network, tile=32, overlap=8, halo=3).run(image, image)
    assert np.array_equal(image, expected)


def test_the_ensemble_of_an_even_handed_network_changes_nothing():
    network = Local(radius=1)
    network.kernel[:] = 1 / 9
    image = photo(20, 31)
    assert np.allclose(run(network, image, ensemble=True), run(network, image), atol=1e-6)
    assert network.calls == 9


def test_the_ensemble_averages_all_eight_views():
    class Shift(Local):
        def denoise(self, x, **_):
            return torch.roll(x, (1, 0), (-2, -1)) + torch.roll(x, (0, 2), (-2, -1))

    image = photo(32, 40)
    x = torch.from_numpy(image).permute(2, 0, 1)
    shifts = [(s, 0) for s in (1, -1, 2, -2)] + [(0, s) for s in (1, -1, 2, -2)]
    # Each view turns the two shifts into one along an axis of length 1 and one of length 2.
    expected = sum(torch.roll(x, s, (-2, -1)) for s in shifts) / 4
    out = run(Shift(), image, ensemble=True)
    assert np.allclose(out, expected.permute(1, 2, 0).numpy(), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_strength_blends_with_the_original(dtype):
    class White(Local):
        def denoise(self, x, **_):
            return torch.ones_like(x)

    image = photo(40, 33, dtype=dtype)
    assert np.array_equal(run(White(), image, strength=0, tile=16), image)
    half = to_unit(run(White(), image, strength=0.5, tile=16))
    assert np.allclose(half, to_unit(image) / 2 + 0.5, atol=1 / 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_survives_the_way_to_unit_range_and_back(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    assert np.array_equal(from_unit(to_unit(values), values.dtype), values)


def test_float_highlights_above_white_are_kept():
    class Same(Local):
        def denoise(self, x, **_):
            return x

    image = photo(8, 8) * 4
    assert np.array_equal(run(Same(), image), image)


class Small(Local):
    """A network on a device whose memory holds only tiles up to `limit`."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.limit = limit
        self.error = error

    def denoise(self, x, **_):
        if max(x.shape[-2:]) > self.limit:
            raise self.error
        return super().denoise(x)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
@pytest.mark.parametrize("tile", [0, 128])
def test_running_out_of_memory_halves_the_tile_and_goes_on(error, tile):
    network, said = Small(70, error), []
    image = photo(200, 150)
    overlap = 16 if tile else 0
    settings = {"tile": tile, "overlap": overlap, "halo": 4, "multiple": 2, "notify": said.append}
    assert np.allclose(run(network, image, **settings), run_whole(network, image), atol=2e-6)
    assert said
    assert "pixels" in said[0]


def test_running_out_of_memory_halves_the_tile_of_an_enlarged_image():
    small = np.random.default_rng(0).integers(90, 160, (200, 170, 3), np.uint8)
    image = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    settings = {"tile": 128, "overlap": 16, "halo": 4, "multiple": 2, "own_size": True}
    network, results = Small(70, MemoryError()), []
    for _ in range(2):
        made = engine(network, **settings)
        results.append(np.empty(image.shape, np.float32))
        made.run(image, results[-1])
        # In pixels that the network sees.
        assert made.enlargements == [2]
        assert (made.current.tile < 128) == (network.limit < 128)
        network.limit = 10**9
    assert np.abs(results[0] - results[1]).max() < 0.02


def test_what_memory_forces_on_one_image_does_not_bind_the_next():
    network = Small(70, MemoryError())
    one = engine(network, tile=128, overlap=16)
    image = photo(200, 150)
    one.run(image, np.empty_like(image))
    assert one.current.tile < 128
    network.limit = 10**9
    one.run(image, np.empty_like(image))
    assert one.current.tile == 128


def test_no_two_tiles_have_the_same_random_numbers_where_memory_runs_out():
    seeds = []

    class Remembering(Small):
        def denoise(self, x, *, generator, **_):
            y = super().denoise(x)
            seeds.append(generator.initial_seed())
            return y

    run(Remembering(70, MemoryError()), photo(200, 150), tile=128, overlap=16)
    assert len(seeds) > 8
    assert len(set(seeds)) == len(seeds)
    seeds.clear()
    run(Remembering(200, None), photo(200, 150), tile=128, overlap=16, ensemble=True)
    assert len(set(seeds)) == len(seeds) == 4 * 8


def test_holes_and_levels_return_to_their_rows_in_a_photo_of_several_bands():
    image = photo(300, 64) - np.float32(0.5)
    image[7, 5], image[250, 9] = np.nan, np.inf
    network = Local()
    result = run(network, image, tile=64, overlap=16, halo=4)
    holes = ~np.isfinite(image)
    assert np.array_equal(~np.isfinite(result), holes)
    assert np.array_equal(result[holes], image[holes], equal_nan=True)
    assert np.abs(result[~holes] - run(network, image)[~holes]).max() < 1e-5


def test_small_photos_together_are_blended_like_one_alone():
    images = [photo(40, 56, dtype=np.uint8) for _ in range(3)]
    network = Local()
    together = engine(network, strength=0.3).run_batch(images)
    for image, result in zip(images, together, strict=True):
        alone = run(network, to_unit(image), strength=0.3)
        assert np.abs(result - alone).max() < 1e-6
        assert np.abs(result - to_unit(image)).max() > 1e-3


def run_whole(network, image):
    network.limit = 10**9
    return run(network, image)


def test_a_device_too_small_for_any_tile_is_an_error():
    with pytest.raises(DeviceError, match="memory"):
        run(Small(8, MemoryError()), photo(64, 64))


def test_no_tile_is_smaller_than_what_the_network_divides_it_into():
    with pytest.raises(DeviceError, match="memory"):
        run(Small(40, MemoryError()), photo(200, 150), tile=128, multiple=64)
    deep = Descriptor("unet", {"widths": [8] * 6, "depths": [1] * 6}, refine="none")
    weights = LoadedWeights(deep.build(), deep, "deep", "0" * 64)
    denoiser = load_denoiser(weights, device="cpu", tile=32)
    assert denoiser.tile == 64
    assert denoiser(photo(150, 70)).shape == (150, 70, 3)


def test_what_did_not_fit_into_memory_is_gone_before_the_next_try():
    class FullError(MemoryError):
        pass

    class Forgetful(Small):
        """Fails unless the failures before are forgotten."""

        failures: ClassVar[list[weakref.ref[FullError]]] = []

        def denoise(self, x, **_):
            assert not any(failure() for failure in self.failures)
            if len(x) > 1:
                raise self.noted(FullError())
            return super().denoise(x)

        def noted(self, error):
            self.failures.append(weakref.ref(error))
            return error

    network = Forgetful(100, MemoryError())
    assert len(engine(network).run_batch([photo(40, 56)] * 3)) == 3
    assert network.failures


def test_other_errors_are_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="sizes"):
        run(Small(8, RuntimeError("sizes do not match")), photo(64, 64))


class Overflowing(Local):
    """A network whose values overflow until it is converted to float32."""

    def __init__(self) -> None:
        super().__init__()
        self.precise = False

    def float(self):
        self.precise = True
        return self

    def denoise(self, x, **_):
        y = super().denoise(x)
        return y if self.precise else y * float("inf")


def test_automatic_precision_falls_back_loudly():
    said = []
    image = photo(20, 20)
    out = run(Overflowing(), image, fall_back=True, notify=said.append)
    assert np.isfinite(out).all()
    assert "fp32" in said[0]


def test_a_precision_asked_for_by_name_does_not_fall_back():
    with pytest.raises(DeviceError, match="finite"):
        run(Overflowing(), photo(20, 20))


def test_each_tile_draws_its_own_masks_and_each_image_the_same():
    class Random(Local):
        def denoise(self, x, *, generator, **_):
            return torch.rand(x.shape, generator=generator)

    image = photo(64, 64)
    first, again, other = (run(Random(), image, tile=32, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:32, :32], first[32:, 32:])
    assert not np.array_equal(first, other)


def test_progress_counts_every_tile():
    seen = []
    engine(Local(), tile=32).run(photo(64, 90), photo(64, 90), lambda *at: seen.append(at))
    assert seen == [(i, 6) for i in range(7)]
