"""Compile a network for the processor it runs on, where that is repaid."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.runtime.device import is_out_of_memory
from ssbsn_cli.core.runtime.operations import compile_every_shape
from ssbsn_cli.core.runtime.storage import cache_dir
from ssbsn_cli.core.types import CompileKind, Notify

_Result = TypeVar("_Result")

# Multiplications from which on it is repaid: it takes up to a minute, and saves a seventh of the
# minutes that so many take two cores, or a third in training. It is not for measured time to
# decide, or the same command would not always give the same result to the last bit.
_WORTH = 1e14


class Compiler:
    """Does work with a network, and compiles the network if there is enough work.

    What was compiled is kept in the cache between runs.

    Parameters
    ----------
    network : nn.Module
        The part of it that most of the time goes into.
    kind : {"auto", "on", "off"}
        "on" compiles at once, "auto" where it is repaid.
    pays : bool
        Whether work is known to be faster compiled; "auto" leaves it alone if not.
    passes : int
        How often the network is gone through for each pixel.
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
        self,
        network: nn.Module,
        kind: CompileKind,
        *,
        pays: bool,
        passes: int,
        notify: Notify,
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
        self._per_pixel = passes * sum(p.numel() for p in network.parameters())
        self._notify = notify
        self._begun = False
        self._ready: set[Hashable] = set()

    def run(self, work: Callable[[], _Result], shape: Hashable, pixels: float) -> _Result:
        """Do a piece of work.

        Parameters
        ----------
        work : callable
            Calls the network. It may be called twice.
        shape : hashable
            The same for pieces that call the network with the same shapes.
        pixels : float
            Of all pieces of this shape together.

        Returns
        -------
        object
            What the work returns.

        Raises
        ------
        DeviceError
            If compiling is "on" and fails.
        """
        repaid = self._kind == "on" or pixels * self._per_pixel > _WORTH
        if not (self._wanted and repaid):
            with self.as_it_is():
                return work()
        if shape not in self._ready:
            return self._compile(work, shape)
        with torch.compiler.set_stance("eager_on_recompile"):
            return work()

    def as_it_is(self) -> contextlib.AbstractContextManager[object]:
        """Leave the network, while inside, as if it had not been compiled."""
        if not self._begun:
            return contextlib.nullcontext()
        stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance

    def _compile(self, work: Callable[[], _Result], shape: Hashable) -> _Result:
        try:
            with warnings.catch_warnings(), compile_every_shape():
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
            self._wanted = False
            with self.as_it_is():
                # What is wrong with the work itself is raised here.
                result = work()
            if self._kind == "on":
                raise DeviceError(
                    f"The network cannot be compiled: {reason}", "Use --compile off."
                ) from None
            self._notify(f"The network cannot be compiled, and goes on as it is: {reason}")
            return result
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
