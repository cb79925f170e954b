"""Compile a network for the processor it runs on, where that is repaid."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.inference.device import is_out_of_memory
from ssbsn_cli.core.kinds import CompileKind
from ssbsn_cli.core.weights.fetch import cache_dir

_Result = TypeVar("_Result")

# Seconds of work from which on it is repaid: it takes up to a minute, and saves a seventh of
# denoising and a third of training.
_WORTH = 300.0


class Compiler:
    """Does work with a network, and compiles the network once there is enough of one kind.

    What was compiled is kept in the cache between runs. Shapes are compiled for one by one; work on
    others goes on as before.

    Parameters
    ----------
    network : nn.Module
        The part of it that most of the time goes into.
    kind : {"auto", "on", "off"}
        "on" compiles at once. "auto" does once there is work for some minutes.
    pays : bool
        Whether work is known to be faster compiled; "auto" leaves it alone if not.
    notify : callable
        Told, in a sentence, what a user should know.

    Raises
    ------
    DeviceError
        If it is "on", and what it takes is missing.

    References
    ----------
    .. [1] Ansel et al., "PyTorch 2", ASPLOS 2024.
    """

    def __init__(
        self, network: nn.Module, kind: CompileKind, *, pays: bool, notify: Callable[[str], None]
    ) -> None:
        missing = _missing() if kind == "on" or (kind == "auto" and pays) else None
        if kind == "on" and missing:
            raise DeviceError(
                f"The network cannot be compiled: {missing}.", "Install it, or use --compile auto."
            )
        self.compiled = False
        self._network = network
        self._kind = kind
        self._wanted = kind == "on" or (kind == "auto" and pays and not missing)
        self._notify = notify
        self._begun = False
        self._ready: set[Hashable] = set()
        self._spent: defaultdict[Hashable, float] = defaultdict(float)
        self._last: dict[Hashable, float] = {}

    def run(self, work: Callable[[], _Result], shape: Hashable, pieces: float = 1) -> _Result:
        """Do a piece of work.

        Parameters
        ----------
        work : callable
            Calls the network. It may be called twice.
        shape : hashable
            The same for pieces that call the network with the same shapes.
        pieces : float
            How many of that shape are known to come, this one included.

        Returns
        -------
        object
            What the work returns.

        Raises
        ------
        DeviceError
            If compiling is "on" and fails.
        """
        if self._wanted and shape not in self._ready and self._repaid(shape, pieces):
            return self._compile(work, shape)
        start = time.perf_counter()
        result = self._do(work)
        self._last[shape] = time.perf_counter() - start
        self._spent[shape] += self._last[shape]
        return result

    def _repaid(self, shape: Hashable, pieces: float) -> bool:
        # What was done is the best guess of what comes beyond the pieces that are known.
        work = self._spent[shape] + pieces * self._last.get(shape, 0)
        return self._kind == "on" or work > _WORTH

    def _do(self, work: Callable[[], _Result]) -> _Result:
        if not self._begun:
            return work()
        with torch.compiler.set_stance("eager_on_recompile" if self._wanted else "force_eager"):
            return work()

    def _compile(self, work: Callable[[], _Result], shape: Hashable) -> _Result:
        try:
            with warnings.catch_warnings():
                # That PyTorch uses what it advises against is no news to the user.
                warnings.simplefilter("ignore")
                if not self._begun:
                    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "compiled"))
                    self._network.compile(dynamic=False)
                    self._begun = True
                result = work()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0][:200]
            if self._kind == "on":
                raise DeviceError(
                    f"The network cannot be compiled: {reason}", "Use --compile off."
                ) from None
            self._notify(f"The network cannot be compiled, and goes on as it is: {reason}")
            self._wanted = False
            return self._do(work)
        self._ready.add(shape)
        self.compiled = True
        return result


def _missing() -> str | None:
    """Return what is not here of what compiling takes."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        return f"there is no C++ compiler, {compiler}"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are not installed"
    return None
