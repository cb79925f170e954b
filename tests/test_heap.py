"""Freed memory: kept for what is needed next, and given back when asked."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from pathlib import Path

import numpy as np

from ssbsn_cli.core.runtime.heap import give_back_freed_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

keep_freed_memory()
faults()
again = faults()
kept = resident()
give_back_freed_memory()
print(again, kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide themselves")
def test_freed_memory_is_kept_until_it_is_given_back():
    # In a separate process, since the settings apply to the whole process.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page_faults, given_back = map(float, done.stdout.split())
    assert page_faults < 1000
    assert given_back > 32
