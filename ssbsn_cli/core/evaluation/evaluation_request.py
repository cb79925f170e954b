"""A request for an evaluation; requests that cannot work are refused before any computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.added_noise import SYNTHETIC_NEEDS, AddedNoise
from ssbsn_cli.core.inference.placing import refuse_report
from ssbsn_cli.core.inference.settings import Settings
from ssbsn_cli.core.runtime.storage import real_path

NO_WEIGHTS = "none"
ALL_BASELINES = "all"


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """An evaluation.

    Parameters
    ----------
    dataset, data, limit, added
        See `open_dataset`.
    weights : sequence of str
        Names or paths; empty means the default weights, and "none" no network.
    baselines : sequence of str
        Names, or "all" for all that are installed.
    metrics : sequence of str
        Names; empty means the usual ones.
    protocol : str
        How the images are run, for the record.
    settings : Settings
        How networks are run.
    cache : Path, optional
        Folder of earlier and new results; without it, no results are kept.
    csv, report, submission, pictures : Path, optional
        The outputs: two files, a file or a folder, and a folder of pictures.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    OptionError
        The limit leaves nothing; the data set and the noise do not fit; a file to be written
        exists, is a photo, or its folder does not exist; two files are the same; pictures would lie
        among the data; there is nothing to overwrite; or "none" is combined with other weights or
        settings.
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
    csv: Path | None = None
    report: Path | None = None
    pictures: Path | None = None
    submission: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"A limit of {self.limit} leaves no photo.", "Give a number above 0.")
        if (self.added is None) == (self.dataset == "synthetic"):
            raise OptionError(
                "--dataset synthetic and --noise need each other.",
                SYNTHETIC_NEEDS
                if self.added is None
                else "Add --dataset synthetic, or drop --noise.",
            )
        if NO_WEIGHTS in self.weights and len(self.weights) > 1:
            raise OptionError("--weights none excludes all other weights.", "Drop one.")
        if ALL_BASELINES in self.baselines and len(set(self.baselines)) > 1:
            raise OptionError("--baseline all includes all others.", "Drop the others.")
        # Added noise needs the seed, too.
        if NO_WEIGHTS in self.weights and self.settings != Settings(seed=self.settings.seed):
            raise OptionError(
                "Options for networks have no effect with --weights none.",
                "Drop them, or name weights.",
            )
        if self.pictures and list(self.weights) == [NO_WEIGHTS] and not self.baselines:
            raise OptionError("--save-images has nothing to save.", "Name weights or a baseline.")
        pictures = real_path(self.pictures) if self.pictures else None
        if pictures and any(pictures.is_relative_to(real_path(path)) for path in self.data):
            raise OptionError(
                f"Results in {self.pictures} would become a part of the data set.",
                "Name a folder elsewhere with --save-images.",
            )
        files = [path for path in (self.csv, self.report) if path]
        # The name of a folder, which some submissions are, may have a dot.
        if self.submission and self.submission.suffix and not self.submission.is_dir():
            files.append(self.submission)
        # Refuse these before hours are spent on their contents.
        for path in files:
            refuse_report(path, self.overwrite, self.data)
        places = [*files, *([self.pictures] if self.pictures else [])]
        if len({real_path(path) for path in places}) < len(places):
            raise OptionError("Two results would go into one file.", "Name different files.")
        if self.overwrite and not (files or self.pictures or self.submission):
            raise OptionError("--overwrite needs a file to write.", "Name one, or drop it.")
