"""Decoding photographs once, so that training never does."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ssbsn_cli.core.data.build import HALF_BUILT, build
from ssbsn_cli.core.data.store import VERSION, CropCache, load
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.runtime.storage import locked
from ssbsn_cli.core.types import Notify


def open_cache(
    photos: Sequence[Path],
    directory: Path,
    *,
    side: int = 512,
    limit_bytes: int = 4 << 30,
    notify: Notify = lambda _message: None,
) -> CropCache:
    """Open the crop cache of some photographs; build it if it is not there or not whole.

    A cache appears whole or not at all, and one process builds it while others wait. It belongs
    to the photographs as they were (path, size and time of change), `side` and `limit_bytes`.

    Parameters
    ----------
    photos : sequence of Path
        Photographs, or DND's ``images_srgb/*.mat``.
    directory : Path
        Where caches are kept; made if it is missing.
    side : int
        Size of the windows that stand for photographs if `limit_bytes` is too little for all of
        them. It must be no less than the crops to be drawn.
    limit_bytes : int
        The most that the pixels may take. Photographs larger than their share of what is left
        are represented by windows at random places, always the same ones; if there is not even
        room for one of each, by some of the photographs.
    notify : callable, optional
        Called with sentences about what is done.

    Returns
    -------
    CropCache
        With all that could be read; the rest is in its `skipped`.

    Raises
    ------
    OptionError
        No photograph can be read or fits the limit, or the cache cannot be written.
    """
    if not photos:
        raise OptionError("There are no photos to train on.", "Name a folder of noisy photos.")
    if side < 1 or limit_bytes < 1:
        raise OptionError(
            f"A cache of {limit_bytes} bytes in windows of {side} pixels holds nothing.",
            "Give numbers above zero.",
        )
    sizes, key = _identify(photos, side, limit_bytes)
    path = directory / f"crops-{key}"
    cache = load(path, key, reused=True)
    if cache is None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            wait = f"Waiting for another process that builds a crop cache in {directory}."
            with locked(directory, lambda: notify(wait)) as alone:
                # It may have been built by another process meanwhile.
                cache = load(path, key, reused=True)
                if cache is None:
                    if alone:
                        for leftover in directory.glob(f"{HALF_BUILT}*"):
                            shutil.rmtree(leftover, ignore_errors=True)
                    if path.exists():
                        notify(f"The crop cache {path} is damaged and is built anew.")
                    notify(f"Decoding {len(photos)} photos into the crop cache {path}.")
                    cache = build(photos, sizes, path, key, side, limit_bytes, notify)
        except OSError as error:
            raise _unwritable(directory, error) from error
    state = "Reused" if cache.reused else "Built"
    notify(
        f"{state} the crop cache {path}: {cache.size_bytes / 1e6:.1f} of at most "
        f"{limit_bytes / 1e6:.0f} MB."
    )
    return cache


def _identify(photos: Sequence[Path], side: int, limit_bytes: int) -> tuple[list[int], str]:
    """Return the size of each file, and the digest that tells these photographs from others."""
    digest = hashlib.sha256(f"{VERSION} {side} {limit_bytes}".encode())
    sizes = []
    for photo in photos:
        size, changed = 0, 0
        # What is missing is skipped later, by the same words as everything unreadable.
        with suppress(OSError):
            status = photo.stat()
            size, changed = status.st_size, status.st_mtime_ns
        sizes.append(size)
        digest.update(os.fsencode(os.path.realpath(photo)) + f"\0{size} {changed}\0".encode())
    return sizes, digest.hexdigest()[:32]


def _unwritable(directory: Path, error: OSError) -> OptionError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "the disk is full"
    else:
        reason = error.strerror or str(error)
    return OptionError(
        f"The crop cache in {directory} cannot be written: {reason}.",
        "Free some space, keep the cache on another disk, or allow it less room.",
    )
