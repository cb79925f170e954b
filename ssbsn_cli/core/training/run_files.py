"""The files of a run: where they are, who may write them, and whether it can be resumed."""

from __future__ import annotations

import shlex
import stat
from contextlib import suppress
from itertools import chain
from pathlib import Path

from ssbsn_cli.core.errors import OptionError, SsbsnError, explain_unreadable
from ssbsn_cli.core.runtime.parsing import parse_json
from ssbsn_cli.core.runtime.temporary import claim, give_up_claim


class RunFiles:
    """The paths of a run's files; docs/train.md says what each of them holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.data = folder / "data.json"
        self.metrics = folder / "metrics.jsonl"
        self.state = folder / "state.pt"
        self.weights = folder / "weights.safetensors"
        self.card = folder / "weights.md"
        self.checkpoints = folder / "checkpoints"
        self.previews = folder / "previews"
        self.tensorboard = folder / "tensorboard"
        self._made: list[Path] = []

    @property
    def resumable(self) -> bool:
        """Whether there is something to resume."""
        return self.state.is_file() or self.round(1).state.is_file()

    @property
    def exists(self) -> bool:
        """Whether it is a run, even one that a kill ended before its first state."""
        return self.resumable or any(run._has_record for run in (self, self.round(1)))

    @property
    def _has_record(self) -> bool:
        # Other programs write files of this name, too.
        with suppress(OSError, ValueError):
            record = parse_json(self.data.read_bytes())
            return isinstance(record, dict) and "request" in record
        return False

    @property
    def has_trained_weights(self) -> bool:
        """Whether there are weights from at least one saved step."""
        first = self.checkpoint(0)
        killed = first.exists() or self.round(1).checkpoint(0).exists()
        others = set(self.checkpoints.glob("step-*.safetensors")) - {first}
        return self.weights.exists() and (bool(others) or not killed)

    def round(self, number: int) -> RunFiles:
        """Return the files of a round, from 1, before the last one: a run in a subfolder."""
        return RunFiles(self.folder / f"round-{number}")

    def refuse_links(self) -> None:
        """Raise an OptionError if writing to the run could change anything outside it.

        The run may come from somebody else and contain links. The folder itself may be a link,
        since the user named it.
        """
        rounds = self.folder.glob("round-*")
        folders = (self.checkpoints, self.previews, self.tensorboard, *rounds)
        for path in (*folders, *self._written):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                raise OptionError(
                    f"{self.folder} is a file, not a folder.", "Name another folder."
                ) from None
            except OSError as error:
                raise OptionError(*explain_unreadable(self.folder, error)) from None
            kind = "folder" if path in folders else "file"
            if not (stat.S_ISDIR(mode) if kind == "folder" else stat.S_ISREG(mode)):
                raise OptionError(
                    f"{path} is not a {kind} but a link or something else, and training writes to "
                    f"nothing outside of {self.folder}.",
                    f"Put a real {kind} in its place, or train in another folder.",
                )

    @property
    def _written(self) -> tuple[Path, ...]:
        return self.config, self.data, self.metrics, self.state, self.weights, self.card

    def claim(self) -> None:
        """Make the folder, and keep other processes from training the run until `release`.

        Raises
        ------
        SsbsnError
            Another process has claimed it.
        OSError
            The folder cannot be made or written to.
        """
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        if not claim(self.state):
            raise SsbsnError(
                f"Another process is training {self.folder}.",
                "Wait until it ends, or train in another folder.",
            )

    def release(self) -> None:
        """Let other processes train the run; remove folders that are still empty."""
        give_up_claim(self.state)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def refuse_run(self, way: str = "let ssbsn train --resume go on with it") -> None:
        """Raise an OptionError if the folder holds a run; its hint suggests `way`."""
        if self.resumable or self.weights.exists():
            raise OptionError(
                f"{self.folder} already holds a training run.",
                f"Choose another folder, or {way}.",
            )

    def refuse_others(self) -> None:
        """Raise an OptionError if the folder is no run, but training would replace files in it."""
        if self.exists:
            return
        folders = (self.checkpoints, self.previews, self.tensorboard, self.round(1).folder)
        below = (path for folder in folders for path in folder.rglob("*"))
        for path in chain(self._written, below):
            if path.is_file():
                raise OptionError(
                    f"{path} is not part of a training run, and might be replaced.",
                    "Name another folder.",
                )

    def cannot_go_on(self, why: str) -> OptionError:
        """Make the error for a run that has lost what it needs to be resumed."""
        again = shlex.quote(str(self.folder))
        return OptionError(
            f"{self.folder} has {why}, so it cannot go on.",
            f"Start another run from its weights: ssbsn train --init {again} --out NEW.",
        )

    def checkpoint(self, step: int) -> Path:
        """Return the file of the weights after some steps."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def preview(self, step: int) -> Path:
        """Return the file of the picture after some steps."""
        return self.previews / f"step-{step:08d}.png"
