"""Nothing temporary stays for long, whatever happens to the process that made it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys

import pytest

from ssbsn_cli.core.runtime import temporary
from ssbsn_cli.core.runtime.storage import (
    CACHE,
    atomic_output,
    cache_dir,
    write_atomically,
    write_together,
)
from ssbsn_cli.core.runtime.temporary import claim, give_up_claim, temporary_file, temporary_folder

MAKE_AND_WAIT = """
import sys, time
from pathlib import Path
from ssbsn_cli.core.runtime.temporary import claim, temporary_file, temporary_folder
here = Path(sys.argv[1])
with temporary_file(here) as file, temporary_folder(here) as folder:
    (folder / "inside").write_text("some")
    assert claim(here / "photo.png")
    print("made", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which has made one of everything in the folder."""
    command = [sys.executable, "-c", MAKE_AND_WAIT, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture(autouse=True)
def next_run(monkeypatch):
    """Let each test search a folder again, like a new process."""
    monkeypatch.setattr(temporary, "_swept", set())


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, other):
    assert len(list(tmp_path.iterdir())) == 3
    other.kill()
    other.wait()
    (tmp_path / ".ssbsn-mine").touch()
    write_atomically(tmp_path / "new.txt", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {".ssbsn-mine", "new.txt"}


def test_files_that_belong_together_change_together(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_together({one: b"1", two: b"2"})
    with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
        write_together({one: b"3", tmp_path / "missing/two": b"4"})
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    assert set(tmp_path.iterdir()) == {one, two}


def test_what_a_living_process_needs_stays(tmp_path, other):
    before = set(tmp_path.iterdir())
    write_atomically(tmp_path / "new.txt", b"new")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "new.txt"}


def test_one_process_makes_a_photo_and_another_goes_on_once_it_is_dead(tmp_path, other):
    photo = tmp_path / "photo.png"
    assert not claim(photo)
    assert claim(tmp_path / "another.png")
    other.kill()
    other.wait()
    assert claim(photo)
    assert not claim(photo)
    give_up_claim(photo)
    give_up_claim(tmp_path / "another.png")
    temporary.remove_all()
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".claim"]


def test_a_claim_that_another_process_sweeps_away_is_made_again(tmp_path, monkeypatch):
    hold, held = temporary._hold, []

    def swept_away_at_first(path, descriptor):
        if not held:
            path.unlink()
        held.append(path)
        return hold(path, descriptor)

    monkeypatch.setattr(temporary, "_hold", swept_away_at_first)
    assert claim(tmp_path / "photo.png")
    assert len(list(tmp_path.iterdir())) == 1
    give_up_claim(tmp_path / "photo.png")


def test_without_locks_a_leftover_claim_keeps_nobody_waiting(tmp_path, other, monkeypatch):
    other.kill()
    other.wait()

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert claim(tmp_path / "photo.png")


def test_others_may_see_whether_a_claim_is_held(tmp_path):
    before = os.umask(0o022)
    try:
        assert claim(tmp_path / "photo.png")
    finally:
        os.umask(before)
    (claimed,) = tmp_path.iterdir()
    assert stat.S_IMODE(claimed.stat().st_mode) == 0o644
    give_up_claim(tmp_path / "photo.png")


def test_a_link_that_is_named_like_a_claim_keeps_nobody_waiting(tmp_path):
    assert claim(tmp_path / "photo.png")
    (announced,) = tmp_path.iterdir()
    give_up_claim(tmp_path / "photo.png")
    announced.symlink_to("nowhere")
    assert claim(tmp_path / "photo.png")


def test_a_link_that_is_named_like_a_leftover_leads_nowhere(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "photo.png").touch()
    (tmp_path / ".ssbsn-0123456789ab.part").symlink_to(kept)
    with temporary_file(tmp_path):
        pass
    assert (kept / "photo.png").exists()


def test_everything_goes_when_the_process_is_about_to_end(tmp_path):
    with temporary_file(tmp_path), temporary_folder(tmp_path) as folder:
        (folder / "inside").touch()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        temporary.remove_all()
        assert not list(tmp_path.iterdir())


def test_a_private_photo_is_private_while_it_is_replaced(tmp_path):
    path = tmp_path / "private.png"
    path.touch(mode=0o600)
    with atomic_output(path, overwrite=True) as half:
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        half.write_bytes(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_photo_keeps_its_owner(tmp_path):
    path = tmp_path / "theirs.png"
    path.touch()
    path.chmod(0o640)
    os.chown(path, 12345, 23456)
    with atomic_output(path, overwrite=True):
        pass
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (12345, 23456)
    assert stat.S_IMODE(status.st_mode) == 0o640


def test_the_cache_is_for_the_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "new" / "cache"))
    assert stat.S_IMODE(cache_dir().stat().st_mode) == 0o700
