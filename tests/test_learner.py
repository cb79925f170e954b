"""A step of training: what limits it, and what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_network

from ssbsn_cli.core.training.batches import Batch
from ssbsn_cli.core.training.config import OptimizerConfig, load_config
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.loop import learning_rate
from ssbsn_cli.core.training.team import Team

ALONE = Team(0, 1, torch.device("cpu"))


def learner_of(*changes):
    network = make_network("ssbsn")
    settings = ["training.precision=fp32", "training.compile=off", *changes]
    return network, Learner(network, load_config("small", settings), ALONE)


def batch(seed=0):
    noisy = np.random.default_rng(seed).random((2, 3, 20, 20), np.float32)
    return Batch(noisy, noisy, 5)


def weights_of(network):
    return torch.cat([value.detach().flatten().clone() for value in network.parameters()])


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_gradients_are_no_longer_than_the_limit(limit):
    network, learner = learner_of(f"optimizer.gradient_clip={limit}")
    learner.learn(batch(), 1e-3, 0)
    length = torch.cat([value.grad.flatten() for value in network.parameters()]).norm()
    assert length == pytest.approx(limit) if limit else length > 0.1


def test_the_result_is_a_mean_that_follows_the_weights():
    lags = []
    for decay in (0.5, 0.99):
        network, learner = learner_of(f"optimizer.ema={decay}")
        before = weights_of(network)
        for step in range(20):
            learner.learn(batch(step), 1e-3, 0)
        with learner.result() as result:
            lag = (weights_of(network) - weights_of(result)).norm()
        lags.append(lag / (weights_of(network) - before).norm())
    assert 0 < lags[0] < lags[1] < 1


def test_without_a_mean_the_result_is_the_weights():
    network, learner = learner_of("optimizer.ema=0")
    learner.learn(batch(), 1e-3, 0)
    with learner.result() as result:
        assert torch.equal(weights_of(result), weights_of(network))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_fall_from_the_whole_rate_to_a_part_of_it(schedule):
    config = OptimizerConfig(learning_rate=1.0, schedule=schedule, factor=0.2, warmup_steps=0)
    rates = [learning_rate(config, 10**5, progress) for progress in (0, 0.5, 1, 2)]
    assert rates == pytest.approx([1, 0.6, 0.2, 0.2])
