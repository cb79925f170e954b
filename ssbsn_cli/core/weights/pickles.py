"""PyTorch's pickles, read in bounded time and memory and without running anything in them.

A pickle is a program for a small virtual machine. PyTorch's ``weights_only`` limits what it may
call, but not the cost: a hundred bytes can make tuples whose hash takes years, and a zip archive
can inflate to a thousand times its size. So this module only allows what weights need.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from ssbsn_cli.core.errors import WeightsError

# Pickles of large checkpoints, with the state of an optimiser, have a tenth of this.
_LARGEST = 1 << 20
_MOST_PARTS = 10_000
_PART = re.compile(r"[^/]+/(data\.pkl|data/\d+|version|byteorder)")
_HEADER = b"PK\x01\x02"
# Magic number, version, system, content, order of the storages.
_LEGACY_PICKLES = 5

_CALLABLE = re.compile(
    r"collections OrderedDict|torch \w+Storage"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter Parameter"
)
_GET = {"BINGET", "LONG_BINGET"}
_PUT = {"BINPUT", "LONG_BINPUT"}
# PUT keeps an object for later. After these opcodes, the object is cheap to hash.
_PLAIN = {"BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "GLOBAL", "REDUCE", "BINPERSID"}
# Tuples may be reused this many times; 3 ** (16 / 3) is harmless.
_MOST_SHARED = 16


class _ForbiddenError(Exception):
    """A pickle calls something that weights do not need."""


def load_pickle(path: Path) -> Any:
    """Load what `torch.save` wrote, if it only holds tensors and plain values.

    The file is a zip archive, or a pickle from before PyTorch 1.6. The tensors are on the CPU. With
    strides of zero, they may claim to be larger than the file.

    Raises
    ------
    WeightsError
        If the file is damaged, holds anything else, or would take far more memory than its size.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"PK"):
            content = _copy_archive(content)
        else:
            start = io.BytesIO(content[:_LARGEST])
            for _ in range(_LEGACY_PICKLES):
                _check(start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _ForbiddenError:
        raise WeightsError(
            f"{path} holds more than weights; nothing in it was run.",
            "Loading it could run somebody's code: get it from a source you trust, as plain "
            "tensors.",
        ) from None
    # Damaged bytes can make the unpickler raise anything.
    except Exception:
        raise WeightsError(f"{path} is damaged.", "Fetch or copy it again.") from None


def _copy_archive(content: bytes) -> bytes:
    """Copy only the parts of a zip archive that PyTorch needs to a new archive.

    PyTorch's own reader inflates everything it finds, and may find other parts than Python's.
    """
    if content.count(_HEADER) > _MOST_PARTS:
        raise ValueError("too many parts")
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(copy, "w") as clean:
        parts = archive.infolist()
        # torch.save does not compress, so no genuine archive holds more than its size.
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("compressed")
        if sum(part.file_size for part in parts) > len(content):
            raise ValueError("larger inside than outside")
        for part in parts:
            if match := _PART.fullmatch(part.filename):
                data = archive.read(part)
                if match[1] == "data.pkl":
                    _check(io.BytesIO(data[:_LARGEST]))
                clean.writestr(f"archive/{match[1]}", data)
    return copy.getvalue()


def _check(stream: IO[bytes]) -> None:
    """Read a pickle to its end, and refuse it if it calls or builds what weights do not need."""
    tuples: set[Any] = set()
    shared = 0
    before = ""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL" and not _CALLABLE.fullmatch(str(argument)):
            raise _ForbiddenError
        if opcode.name in _PUT and before not in _PLAIN:
            tuples.add(argument)
        # Nested tuples: hashes are not cached, so each level takes twice as long.
        shared += opcode.name in _GET and argument in tuples
        if shared > _MOST_SHARED:
            raise ValueError("tuples that hold each other")
        before = opcode.name
