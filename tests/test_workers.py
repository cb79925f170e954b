"""Batches that processes draw ahead."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import Tiny, losses

from ssbsn_cli.core.errors import ImageError, OptionError, SsbsnError
from ssbsn_cli.core.training import workers
from ssbsn_cli.core.training.batches import Batch
from ssbsn_cli.core.training.team import told_number
from ssbsn_cli.core.training.workers import choose_workers, draw_ahead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")

SHAPE = (2, 3, 4, 5)


def draw(step):
    noisy = np.full(SHAPE, step, np.float32)
    return Batch(noisy, noisy if step % 2 else noisy + 0.5, step % 3)


def children():
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return [int(each) for each in found.split()]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("first", [0, 7])
def test_batches_come_in_order_however_many_workers_there_are(count, first):
    before = set(children())
    with contextlib.closing(draw_ahead(draw, first, count)) as batches:
        for step, batch in enumerate(itertools.islice(batches, 20), first):
            expected = draw(step)
            np.testing.assert_array_equal(batch.noisy, expected.noisy)
            np.testing.assert_array_equal(batch.target, expected.target)
            assert (batch.target is batch.noisy) == (expected.target is expected.noisy)
            assert batch.stride == expected.stride
    assert set(children()) <= before


def test_an_error_arrives_at_its_step_as_it_was():
    def fail(step):
        if step == 3:
            raise ImageError("The disk is gone.", "Find it.")
        return draw(step)

    with contextlib.closing(draw_ahead(fail, 0, 2)) as batches:
        assert [int(next(batches).noisy[0, 0, 0, 0]) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ImageError, match=r"The disk is gone\.") as caught:
            next(batches)
    assert caught.value.hint == "Find it."


def test_a_worker_that_is_gone_is_said_in_a_sentence():
    before = set(children())
    with contextlib.closing(draw_ahead(draw, 0, 2)) as batches:
        next(batches)
        for worker in set(children()) - before:
            os.kill(worker, signal.SIGKILL)
        # What was drawn before still comes.
        with pytest.raises(SsbsnError, match="is gone"):
            list(batches)


def test_workers_end_with_a_training_that_is_killed():
    script = (
        "from test_workers import *; batches = draw_ahead(draw, 0, 2); next(batches); "
        "sys.stdout.write(f'{children()}\\n'); sys.stdout.flush(); signal.pause()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent) as training:
        assert training.stdout
        pids = json.loads(training.stdout.readline())
        training.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid):
    try:
        # A process that nobody waited for yet is no more than an entry.
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_training_is_the_same_with_and_without_workers(tmp_path):
    tiny = Tiny(tmp_path)
    seen = []
    for count in (0, 2):
        prepared = tiny.prepare(f"with{count}", changes=[f"training.workers={count}"])
        assert prepared.summary["workers"] == count
        prepared.trainer.train()
        prepared.close()
        seen.append(losses(tiny.place / f"with{count}"))
    assert len(seen[0]) == 6
    assert seen[0] == seen[1]


def test_a_gpu_gets_all_cores_but_one(monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 16)
    assert choose_workers("auto", torch.device("cpu")) == 0
    assert choose_workers("auto", torch.device("cuda")) == 15
    assert choose_workers(3, torch.device("cpu")) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers("auto", torch.device("cuda")) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert choose_workers("auto", torch.device("cuda")) == 0


@pytest.mark.parametrize("name", ["WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK"])
def test_what_torchrun_never_says_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "")
    assert told_number(name, 1) == 1
    for text in ("x", "-1", "0", "1.5"):
        monkeypatch.setenv(name, text)
        with pytest.raises(OptionError, match=name) as caught:
            told_number(name, 1)
        assert caught.value.hint


def test_systems_that_cannot_share_memory_draw_in_a_thread(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert choose_workers("auto", torch.device("cuda")) == 0
    with pytest.raises(OptionError, match="Linux"):
        choose_workers(2, torch.device("cpu"))


LEAVES = """
import sys
sys.path.append({tests!r})
from pathlib import Path
import torch
import torch.distributed as dist
from training_runs import Tiny
from ssbsn_cli.core.training.learner import Learner
from ssbsn_cli.core.training.team import Team

tiny = Tiny(Path.cwd())
trainer = tiny.prepare().trainer
# Threads get Python's lock only when it is let go.
sys.setswitchinterval(100)
for _ in range(200):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    network = trainer.learner._network
    learner = Learner(network, trainer.config, Team(0, 2, torch.device("cpu")))
    dist.all_gather_object([None], 1)
    learner.leave()
    del learner
"""


def test_a_process_that_leaves_never_hangs(tmp_path, forked):
    (tmp_path / "leaves.py").write_text(LEAVES.format(tests=str(Path(__file__).parent)))
    subprocess.run([*forked, "-m", "leaves"], cwd=tmp_path, check=True, timeout=120)
