"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from ssbsn_cli.core.runtime.storage import write_atomically


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_ends_a_write_is_told_and_changes_nothing(tmp_path, monkeypatch, trouble):
    def fail(_):
        raise trouble

    path = tmp_path / "kept"
    write_atomically(path, b"before")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(trouble)):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
