"""Results as the benchmarks take them: which data sets take submissions, and in which files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.dnd_submission import bundle_dnd, write_dnd_crop
from ssbsn_cli.core.evaluation.scoring import Result
from ssbsn_cli.core.evaluation.sidd_submission import Block, write_sidd_csv, write_sidd_mat

_SIDD, _DND = "sidd-benchmark", "dnd"


def check_submission(path: Path, dataset: str, limit: int | None, methods: Sequence[str]) -> None:
    """Refuse a submission that could not be written at the end.

    Parameters
    ----------
    path : Path
        A ``.csv`` or ``.mat`` file for SIDD, a folder for DND.
    dataset : str
        The data set's name.
    limit : int, optional
        How many samples of it are evaluated.
    methods : sequence of str
        Those that denoise.

    Raises
    ------
    OptionError
        The data set takes no submissions, not all of it is evaluated, there is not exactly one
        method, or the path does not fit the data set.
    """
    if dataset not in (_SIDD, _DND):
        raise OptionError(
            f"The data set {dataset} takes no submissions.", f"Only {_SIDD} and {_DND} do."
        )
    if limit is not None:
        raise OptionError("A submission needs the whole data set.", "Drop --limit.")
    if len(methods) != 1:
        raise OptionError(
            f"A submission holds the results of one method, not of {len(methods)}.",
            "Give one --weights and no --baseline, or --weights none and one --baseline.",
        )
    if dataset == _SIDD and path.suffix.lower() not in (".csv", ".mat"):
        raise OptionError(
            f"The name {path} does not say which format the submission should have.",
            "End it with .csv (the competition on Kaggle) or .mat (before it).",
        )
    if dataset == _DND and path.exists() and not path.is_dir():
        raise OptionError(f"{path} is a file.", "Give a folder for DND's submission.")


def write_submission(
    path: Path, dataset: str, results: Iterable[Result], method: str, overwrite: bool
) -> None:
    """Write the submission while results come in.

    Parameters
    ----------
    path : Path
        As `check_submission` passed it. For DND, a folder that gets ``crops/0001_01.mat`` and
        ``bundled/0001.mat``; the second is what is submitted.
    dataset : str
        The data set's name.
    results : iterable of Result
        Of all samples, with pixels.
    method : str
        Whose results to take; others are skipped.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    SsbsnError
        It cannot be written.
    """
    mine = (result for result in results if result.method == method)
    if dataset == _DND:
        _write_dnd(path, mine, overwrite)
    elif path.suffix.lower() == ".csv":
        write_sidd_csv(path, map(_block, mine), overwrite=overwrite)
    else:
        kept = list(mine)
        megapixels = sum(_block(result)[2][..., 0].size for result in kept) / 1024**2
        write_sidd_mat(
            path,
            map(_block, kept),
            method=method,
            seconds_per_megapixel=sum(result.seconds or 0 for result in kept) / megapixels,
            overwrite=overwrite,
        )


def _block(result: Result) -> Block:
    assert result.sample.place is not None
    assert result.pixels is not None
    image, block = result.sample.place
    return image - 1, block - 1, result.pixels


def _write_dnd(path: Path, results: Iterable[Result], overwrite: bool) -> None:
    crops, bundled = path / "crops", path / "bundled"
    for folder in (crops, bundled):
        folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        assert result.sample.place is not None
        assert result.pixels is not None
        # An interrupted evaluation has left crops.
        write_dnd_crop(crops, *result.sample.place, result.pixels, overwrite=True)
    bundle_dnd(crops, bundled, overwrite=overwrite)
