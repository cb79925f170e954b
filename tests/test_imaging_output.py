"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from ssbsn_cli.core.errors import ImageError
from ssbsn_cli.core.imaging import Photo, read_photo, write_photo
from ssbsn_cli.core.runtime.storage import atomic_output

PHOTO = Photo(np.full((4, 4, 3), 9, np.uint8))


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_photo(PHOTO, tmp_path / "new.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.png").stat().st_mode) == 0o640


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    path.chmod(0o604)
    with pytest.raises(ImageError, match=r"old\.png already exists") as caught:
        write_photo(PHOTO, path)
    assert "--overwrite" in caught.value.hint
    assert path.read_bytes() == b"old"
    write_photo(PHOTO, path, overwrite=True)
    assert np.array_equal(read_photo(path).pixels, PHOTO.pixels)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert [p.name for p in tmp_path.iterdir()] == ["old.png"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_output(path, overwrite=True) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.name.startswith(".")
            assert temporary.name.endswith(".part")
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageError, match=r"photo\.x cannot be written: the disk is full") as caught:
        write_photo(PHOTO, tmp_path / "photo.x", format=format)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="folder does not exist"):
        write_photo(PHOTO, tmp_path / "no" / "photo.png")
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="is not a folder"):
        write_photo(PHOTO, tmp_path / "file" / "photo.png")


def test_a_folder_is_no_place_for_the_bytes_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "photo.png"
    folder.mkdir()
    for overwrite in (False, True):
        with pytest.raises(ImageError, match="is a folder"):
            write_photo(PHOTO, folder, overwrite=overwrite)


def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(ImageError, match="may not write"):
        write_photo(PHOTO, folder / "photo.png")


def test_devices_and_pipes_are_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="not a regular file"):
        write_photo(PHOTO, pipe, overwrite=True)
    assert pipe.is_fifo()


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_photo(PHOTO, link, overwrite=True)
    assert link.is_symlink()
    assert np.array_equal(read_photo(target).pixels, PHOTO.pixels)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"

    def write() -> None:
        with atomic_output(path, overwrite=False) as temporary:
            temporary.write_bytes(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(ImageError, match="already exists"):
        write()
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Pack who may read a file: tag, permissions and user of each entry."""
    unnamed = 0xFFFFFFFF
    packed = (struct.pack("<HHI", tag, rights, user or unnamed) for tag, rights, user in entries)
    return struct.pack("<I", 2) + b"".join(packed)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the attributes of Linux")
def test_a_replaced_file_keeps_its_attributes_and_readers(tmp_path: Path) -> None:
    # The owner, user 65534, the group, the mask, and others.
    readers = acl((1, 6, 0), (2, 4, 65534), (4, 0, 0), (16, 4, 0), (32, 0, 0))
    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.rating", b"5")
        os.setxattr(path, "system.posix_acl_access", readers)
    except OSError:
        pytest.skip("the disk has no such attributes")
    write_photo(PHOTO, path, overwrite=True)
    assert os.getxattr(path, "user.rating") == b"5"
    assert os.getxattr(path, "system.posix_acl_access") == readers
    # A folder may give all new files readers; a replaced file does not get more of them.
    inherited = acl((1, 6, 0), (2, 7, 65534), (4, 5, 0), (16, 7, 0), (32, 0, 0))
    os.setxattr(tmp_path, "system.posix_acl_default", inherited)
    os.removexattr(path, "system.posix_acl_access")
    write_photo(PHOTO, path, overwrite=True)
    assert "system.posix_acl_access" not in os.listxattr(path)
