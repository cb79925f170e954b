"""How much memory something takes beyond what was held before."""

from __future__ import annotations

from pathlib import Path

import torch

from ssbsn_cli.core.heap import give_back_freed_memory

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Measure the peak of memory while inside a ``with`` block.

    On a GPU it is that of PyTorch's allocator there, else that of the process, which Linux alone
    tells.

    Parameters
    ----------
    device : str
        Where most is computed.

    References
    ----------
    .. [1] "clear_refs" and "status" in proc(5), the Linux manual.
    """

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        self._before: int | None = None
        #: Bytes; None if it cannot be told. Set at the end of the block.
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
            return self
        # What was kept would count as held before.
        give_back_freed_memory()
        try:
            _RESET.write_text(_RESET_PEAK)
            self._before = _status("VmRSS")
        except OSError:
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        if self._cuda is not None:
            peak = torch.cuda.max_memory_allocated(self._cuda)
        else:
            peak = _status("VmHWM")
        self.bytes = max(peak - self._before, 0)


def _status(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"there is no {key} in {_STATUS}")
