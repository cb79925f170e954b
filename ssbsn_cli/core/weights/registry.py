"""The registry of named weights, ``weights.toml``."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssbsn_cli.core.errors import WeightsError, explain_unreadable
from ssbsn_cli.core.runtime.parsing import parse_toml
from ssbsn_cli.core.types import RefineKind

_OVERRIDE = "SSBSN_WEIGHTS_TOML"
PACKAGE = Path(__file__).parents[2]

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
# It becomes a path in the cache folder, so it has no separators and is not hidden.
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Paper(_Table):
    """The publication of a network: title, conference and year, arXiv number."""

    title: str
    venue: str
    arxiv: str


class _Score(_Table):
    """A result that weights are expected to reach, and its source.

    `protocol` says how photos were denoised and compared. PSNR is in dB, SSIM is 0 to 1.
    """

    dataset: str
    protocol: str
    psnr: float
    ssim: float | None = None
    psnr_noisy: float | None = None
    source: str


class Entry(_Table):
    """Weights with a name: a table in ``weights.toml``, whose keys docs/weights.md explains.

    The file is inside the package or in the cache. `urls` start with the preferred one, and `page`
    is for downloads by hand. `size` is in bytes. For `value_range` and `refine` see `Descriptor`.
    """

    name: _Name
    filename: _FileName
    bundled: bool = False
    urls: tuple[_Url, ...] = ()
    page: _Url | None = None
    sha256: _Digest | None = None
    size: Annotated[int, Field(gt=0)] | None = None
    parameters: Annotated[int, Field(gt=0)]
    architecture: str
    value_range: Annotated[float, Field(gt=0)]
    refine: RefineKind
    training_data: str
    licence: str
    paper: _Paper | None = None
    scores: tuple[_Score, ...] = ()
    note: str | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Entry:
        if self.bundled == bool(self.urls):
            raise ValueError("either bundled is true or urls are given")
        if self.bundled and self.sha256 is None:
            raise ValueError("a bundled file needs its sha256")
        return self

    @property
    def largest_size(self) -> int:
        """The most bytes of the file; with room for an optimiser's state if its size is unknown."""
        return self.size or 32 * self.parameters + (1 << 20)

    @property
    def usage(self) -> dict[str, Any]:
        """Fields of a `Descriptor`, for a file without one."""
        return {"value_range": self.value_range, "refine": self.refine}


def entries() -> dict[str, Entry]:
    """Return all weights by name, from the package's and the user's own registry.

    Raises
    ------
    WeightsError
        If a registry cannot be read or makes no sense.
    """
    return _read_all()[1]


def default_name() -> str:
    """Return the name of the default weights; raises as `entries` does."""
    return _read_all()[0]


def read_registry(path: Path) -> tuple[str | None, dict[str, Entry]]:
    """Read a TOML file with a ``default``, which may be missing, and a table for each entry.

    Raises
    ------
    WeightsError
        If the file cannot be read or makes no sense.
    """
    hint = "Correct the file; docs/weights.md says what belongs in it."
    try:
        with path.open("rb") as file:
            tables = parse_toml(file.read())
        default = tables.pop("default", None)
        if not isinstance(default, str | None):
            raise WeightsError(f"{path}: default should be a name.", hint)
        found = {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise WeightsError(f"{path}: {name} should be a table.", hint)
            found[name] = Entry.model_validate({**table, "name": name})
    except OSError as error:
        message, _ = explain_unreadable(path, error)
        raise WeightsError(message, f"Check {_OVERRIDE}, or install ssbsn again.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        where = f"{name}.{field}" if field else name
        reason = first["msg"].removeprefix("Value error, ")
        raise WeightsError(f"{path}: {where}: {reason}.", hint) from None
    except ValueError as error:
        raise WeightsError(f"{path} is not TOML: {error}.", hint) from None
    return default, found


# The package's own file does not change.
_read_once = cache(read_registry)


def _read_all() -> tuple[str, dict[str, Entry]]:
    inside = PACKAGE / "weights.toml"
    own = inside if inside.exists() else PACKAGE.parent / "weights.toml"
    default, found = _read_once(own)
    if override := os.environ.get(_OVERRIDE):
        own = Path(os.path.expanduser(override))
        their_default, theirs = read_registry(own)
        default, found = their_default or default, {**found, **theirs}
    filename, uses = Counter(entry.filename for entry in found.values()).most_common(1)[0]
    if uses > 1:
        raise WeightsError(f"{own}: two entries use the file name {filename}.", "Rename one.")
    if default is None or default not in found:
        raise WeightsError(f"{own}: the default {default!r} is not an entry.", "Correct the file.")
    return default, found
