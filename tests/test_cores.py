"""Threads and tiles by the cores and the memory that a container is given."""

from __future__ import annotations

import pytest
import torch

from ssbsn_cli.core.runtime import device


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Two cgroups, one in the other, on a machine of 16 cores."""
    monkeypatch.setattr(device, "_GROUPS", tmp_path)
    monkeypatch.setattr(device, "_MINE", tmp_path / "mine")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    (tmp_path / "mine").write_text("1:name=x:/other\n0::/outer/inner\n")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("max 100000", "max 100000", 16),
        ("max 100000", "400000 100000", 4),
        ("250000 100000", "400000 100000", 3),
        ("max 100000", "10000 100000", 1),
        ("max 100000", "9900000 100000", 16),
        ("nonsense", "", 16),
    ],
)
def test_the_smallest_quota_decides(groups, outer, inner, expected):
    (groups / "outer" / "cpu.max").write_text(outer)
    (groups / "outer" / "inner" / "cpu.max").write_text(inner)
    assert device.available_cores() == expected


def test_a_containers_own_group_is_the_root_it_sees(groups):
    (groups / "mine").write_text("0::/not/seen/from/inside\n")
    (groups / "cpu.max").write_text("200000 100000")
    assert device.available_cores() == 2


def test_without_cgroups_affinity_decides(groups):
    (groups / "mine").unlink()
    assert device.available_cores() == 16


def test_the_smallest_limit_of_memory_decides(groups):
    inner = groups / "outer" / "inner"
    whole = device.free_memory(torch.device("cpu"))
    (groups / "outer" / "memory.max").write_text("max\n")
    (inner / "memory.max").write_text("100000\n")
    (inner / "memory.current").write_text("90000\n")
    assert device.free_memory(torch.device("cpu")) == 10000 < whole
    (inner / "memory.stat").write_text("anon 50000\ninactive_file 40000\n")
    assert device.free_memory(torch.device("cpu")) == 50000
    (groups / "outer" / "memory.max").write_text("70000\n")
    (groups / "outer" / "memory.current").write_text("90000\n")
    assert device.free_memory(torch.device("cpu")) == 0


def test_threads_become_fewer_and_never_more(groups):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        device.use_available_cores()
        assert torch.get_num_threads() == 2
        (groups / "outer" / "cpu.max").write_text("100000 100000")
        device.use_available_cores()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
