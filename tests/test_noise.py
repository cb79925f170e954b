"""Pairs of noisy and clean crops: the same for the same crop, whoever draws it."""

from __future__ import annotations

import numpy as np
import pytest
from test_data import noise, save

from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.noise.edits import Edits
from ssbsn_cli.core.noise.scenes import Scenes
from ssbsn_cli.core.noise.wide import SHARES, Wide
from ssbsn_cli.core.training.batches import synthetic_pairs

NO_EDITS = Edits(0, 0, 0, 0, 0, 0, 0, 0)


def only(kind, scenes=None, edits=NO_EDITS, lifted=(), odds=None):
    """A recipe with one kind of noise."""
    shares = dict.fromkeys(SHARES, 0.0) | {kind: 1.0}
    return Wide(scenes or Scenes(), edits, shares, lifted, odds)


def photo(height=64, width=64, seed=0):
    """Random pixels, (H, W, 3) in [0, 1]."""
    return (noise(height, width, seed) / 255).astype(np.float32)


def grey(level, side=256):
    return np.full((side, side, 3), level, np.float32)


def correlation(values, lag):
    """Of (3, H, W) values with mean 0, down and across."""
    down = (values[:, lag:] * values[:, :-lag]).mean()
    across = (values[:, :, lag:] * values[:, :, :-lag]).mean()
    return np.array([down, across]) / (values**2).mean()


@pytest.fixture
def cache(tmp_path):
    paths = [save(tmp_path / f"photos/{i}.png", noise(40 + i, 50, i)) for i in range(3)]
    return open_cache(paths, tmp_path / "cache")


def test_the_clean_crops_are_those_of_the_sampler(cache):
    sampler = CropSampler([cache], [1], 16, Batching(4, seed=3))
    noisy, clean = synthetic_pairs(sampler, only("white"), 2)
    np.testing.assert_array_equal(clean, sampler.batch(2)[..., :8, :8])
    assert noisy.dtype == np.float32
    assert noisy.shape == clean.shape
    assert all(np.abs(a - b).max() > 0.005 for a, b in zip(noisy, clean, strict=True))


def test_a_resumed_or_split_training_sees_the_same_noise(cache):
    recipe = Wide(Scenes(0.5, 0.5, 0.5, 0.2), Edits())
    sampler = CropSampler([cache], [1], 16, Batching(4, seed=3))
    run = [synthetic_pairs(sampler, recipe, step) for step in range(4)]
    np.testing.assert_array_equal(synthetic_pairs(sampler, recipe, 3)[0], run[3][0])
    for rank in (0, 1):
        half = CropSampler([cache], [1], 16, Batching(2, seed=3, rank=rank, world=2))
        for step, (noisy, _) in enumerate(run):
            part, _ = synthetic_pairs(half, recipe, step)
            np.testing.assert_array_equal(part, noisy[2 * rank : 2 * rank + 2])


def test_every_crop_has_noise_of_its_own(tmp_path):
    flat = open_cache([save(tmp_path / "p.png", np.full((18, 18, 3), 128, np.uint8))], tmp_path)
    sampler = CropSampler([flat], [1], 18, Batching(8, seed=0))
    noisy, _ = synthetic_pairs(sampler, only("white"), 0)
    assert len({crop.tobytes() for crop in noisy}) == 8
    sampler = CropSampler([flat], [1], 18, Batching(8, seed=1))
    other, _ = synthetic_pairs(sampler, only("white"), 0)
    assert not np.array_equal(other, noisy)
