"""What a run consists of on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFiles:
    """The files of a run.

    Parameters
    ----------
    directory : Path
        The run.
    """

    directory: Path

    @property
    def config(self) -> Path:
        """The whole configuration, TOML."""
        return self.directory / "config.toml"

    @property
    def data(self) -> Path:
        """Which photos were found, JSON."""
        return self.directory / "data.json"

    @property
    def metrics(self) -> Path:
        """Losses and scores, one JSON object a line."""
        return self.directory / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """What a resumed training goes on from."""
        return self.directory / "state.pt"

    @property
    def weights(self) -> Path:
        """The best weights so far."""
        return self.directory / "weights.safetensors"

    @property
    def card(self) -> Path:
        """What they are, for people."""
        return self.directory / "weights.md"

    @property
    def checkpoints(self) -> Path:
        """The directory of the last weights."""
        return self.directory / "checkpoints"

    @property
    def previews(self) -> Path:
        """The directory of pictures before and after."""
        return self.directory / "previews"

    def checkpoint(self, step: int) -> Path:
        """Return where the weights after some steps go."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def preview(self, step: int) -> Path:
        """Return where the picture after some steps goes."""
        return self.previews / f"step-{step:08d}.png"
