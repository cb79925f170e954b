"""Compile a network for its processor if that saves time."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
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

# Compiling takes up to a minute. It pays beyond this many multiplications: on two cores, it saves a
# seventh of their time, and a third in training. If measured time decided, the same command could
# give results that differ in the last bit.
_WORTH = 1e14
_PLACE = "TORCHINDUCTOR_CACHE_DIR"
# Read before PyTorch's compiler is imported, which sets it to a folder that anybody could create.
_CHOSEN = os.environ.get(_PLACE)


class Compiler:
    """Runs work that calls a network, and compiles the network if there is enough work.

    Compiled code is cached between runs. It is executed, so nobody else may write to its folder.

    Parameters
    ----------
    network : nn.Module
        The part that takes most of the time.
    kind : {"auto", "on", "off"}
        "on" compiles at once, "auto" if it saves time.
    pays : bool
        Whether compiled work is known to be faster; if not, "auto" compiles nothing.
    passes : int
        How often the network runs for each pixel.
    notify : callable
        Called with sentences that a user should read.

    Raises
    ------
    DeviceError
        If `kind` is "on", and a C++ compiler or Python's headers are missing.

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
        """Do a piece of work, and return its result.

        Parameters
        ----------
        work : callable
            Calls the network. It may be called twice.
        shape : hashable
            Identical for pieces that call the network with the same shapes.
        pixels : float
            The number of pixels of all pieces with this shape.

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
        """Run the network uncompiled inside this block."""
        if not self._begun:
            return contextlib.nullcontext()
        stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance

    def _compile(self, work: Callable[[], _Result], shape: Hashable) -> _Result:
        try:
            with warnings.catch_warnings(), compile_every_shape():
                # PyTorch uses its own deprecated features, which need not concern the user.
                warnings.simplefilter("ignore")
                if not self._begun:
                    os.environ[_PLACE] = _CHOSEN or str(_private_folder(cache_dir() / "compiled"))
                    self._network.compile(dynamic=False)
                    self._begun = True
                result = work()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0][:200]
            self._wanted = False
            with self.as_it_is():
                # If the work itself is at fault, this raises.
                result = work()
            if self._kind == "on":
                raise DeviceError(
                    f"The network cannot be compiled: {reason}", "Use --compile off."
                ) from None
            self._notify(f"The network cannot be compiled and runs uncompiled: {reason}")
            return result
        self._ready.add(shape)
        self.compiled = True
        return result


def _private_folder(path: Path) -> Path:
    """Make a folder if it is missing; raise PermissionError if others could add files to it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform == "win32":
        return path
    folder = path.resolve()
    others = stat.S_IWGRP | stat.S_IWOTH
    for each in (folder, *folder.parents):
        status = each.stat()
        # Anybody may write to /tmp, but nobody can rename other users' files there.
        open_to = 0 if status.st_mode & stat.S_ISVTX and each != folder else others
        if status.st_uid not in (0, os.getuid()) or status.st_mode & open_to:
            raise PermissionError(f"others may write to {each}")
        # Further up, the user is assumed to trust groups.
        others = stat.S_IWOTH
    return path


def _missing() -> str | None:
    """Return what this machine lacks for compiling, if anything."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        return f"there is no C++ compiler, {compiler}"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are not installed"
    return None
