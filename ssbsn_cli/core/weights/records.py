"""Digests of files: computed, recorded beside the file, read back."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

HALF_WRITTEN = ".write-"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, whatever happens meanwhile.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    content : bytes
        All of the file.
    """
    # Not in a temporary folder: an interrupt while that is removed can come out as an OSError.
    new = path.with_name(f"{HALF_WRITTEN}{secrets.token_hex(6)}")
    try:
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            # Or a power cut could leave the new name with nothing behind it.
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def record_path(path: Path) -> Path:
    """Return where the digest of `path` is recorded; ``sha256sum -c`` reads such files."""
    return path.with_name(path.name + ".sha256")


def read_record(path: Path) -> str | None:
    """Return the recorded digest of `path`; None if there is none that makes sense."""
    try:
        text = record_path(path).read_text("ascii")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    match = re.match(r"([0-9a-f]{64})\s", text)
    return match[1] if match else None


def write_record(path: Path, digest: str) -> None:
    """Record the digest of `path`."""
    # One record a file: two processes that fetch different files never write the same one.
    write_atomically(record_path(path), f"{digest}  {path.name}\n".encode("ascii"))
