"""The memory of a process that a test starts; imports nothing that needs memory itself."""

from __future__ import annotations

import re
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak() -> int:
    """Return the most bytes that this process has used.

    The figure of `resource.getrusage` would include the process that started this one.
    """
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", STATUS.read_text())
    return 1024 * int(kilobytes)
