"""What is asked of an evaluation; requests that cannot work are refused before any computing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.added_noise import AddedNoise
from ssbsn_cli.core.inference.settings import Settings

NO_WEIGHTS = "none"
ALL_BASELINES = "all"


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """An evaluation.

    Parameters
    ----------
    dataset : str
        One of `ssbsn_cli.core.evaluation.datasets.catalogue.DATASETS`.
    data : sequence of Path
        Where it is.
    added : AddedNoise, optional
        What the clean photographs of "synthetic" get.
    limit : int, optional
        How many samples of it to take at most.
    weights : sequence of str
        Names or paths; the default weights if empty, no network if "none".
    baselines : sequence of str
        Names, or "all" for all that are installed.
    metrics : sequence of str
        Names; the usual ones if empty.
    protocol : str
        How the images are run, for the record.
    settings : Settings
        How networks are run.
    cache : Path, optional
        Folder of results from before; by default it is in the user's cache.
    use_cache : bool
        Whether results are taken from that folder and kept there.
    csv, report, submission : Path, optional
        Files to write; `submission` may be a folder.
    pictures : Path, optional
        Folder for the results as pictures.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    OptionError
        A file that is to be written exists or its folder does not, two files are the same, or
        "none" stands beside other weights.
    """

    dataset: str
    data: Sequence[Path] = ()
    added: AddedNoise | None = None
    limit: int | None = None
    weights: Sequence[str] = ()
    baselines: Sequence[str] = ()
    metrics: Sequence[str] = ()
    protocol: str = "tiled"
    settings: Settings
    cache: Path | None = None
    use_cache: bool = True
    csv: Path | None = None
    report: Path | None = None
    pictures: Path | None = None
    submission: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if NO_WEIGHTS in self.weights and len(self.weights) > 1:
            raise OptionError("--weights none excludes all other weights.", "Drop one.")
        files = [path for path in (self.csv, self.report) if path]
        if self.submission and self.submission.suffix:
            files.append(self.submission)
        for path in files:
            _check_free(path, self.overwrite)
        if len({path.absolute() for path in files}) < len(files):
            raise OptionError("Two results would go into one file.", "Name different files.")


def _check_free(path: Path, overwrite: bool) -> None:
    """Refuse a file before hours are spent on what goes into it."""
    if path.is_dir():
        raise OptionError(f"{path} is a folder.", "Name a file in it.")
    if path.exists() and not overwrite:
        raise OptionError(f"{path} exists already.", "Choose another name, or add --overwrite.")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"The folder of {path} does not exist.", "Make it first.")
