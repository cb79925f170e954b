"""Find weights by name or path, and load them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssbsn_cli.core.errors import WeightsError, suggest
from ssbsn_cli.core.model.descriptor import ARCHITECTURES, Architecture, Descriptor
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.runtime.storage import file_digest
from ssbsn_cli.core.weights.checkpoints import load_checkpoint, read_about
from ssbsn_cli.core.weights.fetch import verified_path
from ssbsn_cli.core.weights.registry import Entry, default_name, entries

# What other weights are for, and the step that needs them.
_OTHERS = {
    "coarse": ("At half the size and below", "multiscale"),
    "white_noise": ("For white noise", "white_noise"),
}


@dataclass(frozen=True)
class LoadedWeights:
    """A network and its origin.

    The network takes images in [0, 1], and is on the CPU, in float32 and in evaluation mode. `name`
    is its name in the registry or the given path. `digest` is the SHA-256 of the file.
    """

    network: Network
    descriptor: Descriptor
    name: str
    digest: str

    @property
    def architecture(self) -> Architecture:
        """The network's kind."""
        return ARCHITECTURES[self.descriptor.architecture]

    @property
    def origin(self) -> dict[str, str]:
        """Name and digest, for JSON."""
        return {"name": self.name, "sha256": self.digest}


def load_weights(name_or_path: str | os.PathLike[str] | None = None) -> LoadedWeights:
    """Find weights and load their network.

    Parameters
    ----------
    name_or_path : str or path, optional
        A name in the registry, whose file is checked against its digest; a file; or a folder
        with one, such as a training run. By default the default weights.

    Raises
    ------
    WeightsError
        If there are no such weights, or they are not fetched, have a wrong digest, or do not load.
    """
    path, entry = find_weights(name_or_path)
    network, descriptor = load_checkpoint(path, entry.usage if entry else None)
    name = entry.name if entry else str(name_or_path)
    # A digest that the registry states was compared with that of the file.
    digest = (entry and entry.sha256) or file_digest(path)
    return LoadedWeights(network, descriptor, name, digest)


def load_others(
    weights: LoadedWeights, steps: Mapping[str, bool]
) -> dict[str, LoadedWeights | None]:
    """Load the weights that others name for a purpose, by that: "coarse" and "white_noise".

    None stands for those that are not named, or whose step, as in `Settings.steps`, is left out.

    Raises
    ------
    WeightsError
        As by `load_weights`, or the registry does not have them, or they are of another kind.
    """
    return {
        purpose: _load_other(weights, getattr(weights.descriptor, purpose), why, step)
        if steps[step]
        else None
        for purpose, (why, step) in _OTHERS.items()
    }


def _load_other(weights: LoadedWeights, name: str, why: str, step: str) -> LoadedWeights | None:
    if not name:
        return None
    other = load_weights(name) if name in entries() else None
    if other is None or other.architecture != weights.architecture:
        raise WeightsError(
            f"{why}, {weights.name} needs the weights {name[:200]}, but the registry has no such "
            "weights of the same kind.",
            f"Use --{step.replace('_', '-')} off, or the registry with which they were made.",
        )
    return other


def others_when_adapted(name_or_path: str) -> tuple[str, str]:
    """Return `coarse` and `white_noise` for the descriptor of weights adapted from these.

    At half the size and below, they need the original ones. The errors are those of `load_weights`.
    """
    known = entries()
    descriptor = load_weights(name_or_path).descriptor
    original = name_or_path if name_or_path in known else descriptor.coarse
    coarse, white_noise = (
        name if name in known else "" for name in (original, descriptor.white_noise)
    )
    return coarse, white_noise


def lasting_name(name_or_path: str) -> str:
    """Return the name of weights as it is, and a path as one that holds in every folder."""
    if name_or_path in entries():
        return name_or_path
    return os.path.abspath(os.path.expanduser(name_or_path))  # noqa: PTH100 - links stay as they are


def licence_of(name_or_path: str) -> str:
    """Return the licence that the registry or the file states for weights, or ""."""
    try:
        path, entry = find_weights(name_or_path)
    except WeightsError:
        return ""
    if entry:
        return f"{entry.licence} (that of {entry.name})"
    return read_about(path).get("licence", "")


def find_weights(name_or_path: str | os.PathLike[str] | None) -> tuple[Path, Entry | None]:
    """Return the file of some weights, and their entry if they were found by name.

    The errors are those of `load_weights`.
    """
    known = entries()
    given = default_name() if name_or_path is None else name_or_path
    if not isinstance(given, str | os.PathLike):
        raise WeightsError(f"{given!r} is not the name of weights.", suggest("", known))
    name = str(given)
    if name in known:
        return verified_path(known[name]), known[name]
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _file_of_run(path), None
        if path.is_file():
            return path, None
        special = path.exists()
    # RuntimeError: "~" with an unknown user.
    except (OSError, RuntimeError):
        special = False
    if special:
        raise WeightsError(f"{name} is not a regular file.", "Name a file of weights.")
    raise WeightsError(f"There are no weights {name[:200]}.", suggest(name, known))


def _file_of_run(folder: Path) -> Path:
    best = folder / "weights.safetensors"
    if best.is_file():
        return best
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise WeightsError(
            f"{folder} holds no single file of weights; found *.safetensors: {found}.",
            "Name the file itself.",
        )
    return files[0]
