"""Memory that the C library has freed: kept for the next use, or given back."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, if it is glibc.

    By default, it returns large arrays to the system at once, and the system clears each page
    before the next use. That takes a third of the time of SS-BSN with 128 channels in bf16.

    References
    ----------
    .. [1] "mallopt(3)", the Linux manual.
    """
    if libc := _glibc():
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _MOST)


def give_back_freed_memory() -> None:
    """Let the C library return freed memory to the system."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
