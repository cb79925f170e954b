"""Noise measured by what a denoiser removed and what it left."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ssbsn_cli.core.noise.flat import cut
from ssbsn_cli.core.noise.measured import measure_noise


def textured(side, rng):
    """A photograph without a flat part: soft texture everywhere, (H, W, 3) in [0, 1]."""
    texture = ndimage.gaussian_filter(rng.standard_normal((side, side, 3)), (1.5, 1.5, 0))
    return 0.5 + 0.02 * texture / texture.std()


@pytest.mark.parametrize("passed", [0.1, 0.4])
def test_what_a_denoiser_leaves_counts_and_texture_does_not(passed):
    rng = np.random.default_rng(0)
    scene = textured(512, rng)
    noise = rng.normal(0, 10 / 255, scene.shape)
    found = measure_noise(cut(scene + noise), cut(scene + passed * noise))
    added = found.whole.add(np.full((256, 256, 3), 0.5, np.float32), rng, factor=1) - 0.5
    assert added.std() * 255 == pytest.approx(10, rel=0.1)
    # By the flattest parts of the noisy photograph alone, it would be a tenth more.
    neighbours = (added[1:] * added[:-1]).mean() / added.var()
    assert abs(neighbours) < 0.1


def test_the_cautious_estimate_is_no_stronger_than_what_is_seen():
    rng = np.random.default_rng(1)
    scene = textured(512, rng)
    noise = rng.normal(0, 10 / 255, scene.shape)
    found = measure_noise(cut(scene + noise), cut(scene + 0.4 * noise))
    added = found.cautious.add(np.full((256, 256, 3), 0.5, np.float32), rng, factor=1) - 0.5
    assert 6 < added.std() * 255 < 11


def test_a_photograph_without_noise_has_none():
    scene = textured(256, np.random.default_rng(2))
    assert measure_noise(cut(scene), cut(scene)) is None


def test_black_and_white_show_no_noise():
    black = np.zeros((256, 256, 3), np.float32)
    assert measure_noise(cut(black), cut(black)) is None
