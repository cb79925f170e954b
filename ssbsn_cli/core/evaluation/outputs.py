"""What an evaluation leaves in files: submissions, pictures, tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.evaluation.dnd_submission import bundle_dnd, write_dnd_crop
from ssbsn_cli.core.evaluation.quality import reference_of, to_picture
from ssbsn_cli.core.evaluation.rounding import WHITE, quantise
from ssbsn_cli.core.evaluation.scoring import Result
from ssbsn_cli.core.evaluation.sidd_blocks import Block
from ssbsn_cli.core.evaluation.sidd_submission import write_sidd_csv, write_sidd_mat
from ssbsn_cli.core.imaging import Photo, encode_photo
from ssbsn_cli.core.report.evaluation import Pictures
from ssbsn_cli.core.runtime.storage import atomic_output

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
        The data set takes none, not all of it is evaluated, the method is not one, or the name of
        the file says no format.
    """
    if dataset not in (_SIDD, _DND):
        raise OptionError(
            f"The data set {dataset} takes no submissions.",
            f"Those that do are {_SIDD} and {_DND}.",
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
            f"{path} says no format of SIDD's submissions.",
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
        Whose results to take; others are passed over.
    overwrite : bool
        Whether files that are there already may be replaced.

    Raises
    ------
    SsbsnError
        It cannot be written.
    """
    if dataset == _DND:
        _write_dnd(path, results, method, overwrite)
    elif path.suffix.lower() == ".csv":
        write_sidd_csv(path, _blocks(results, method), overwrite=overwrite)
    else:
        taken: list[Result] = []
        blocks = list(_blocks(_remembered(results, taken), method))
        seconds = sum(r.seconds or 0 for r in taken if r.method == method)
        pixels = sum(pixels.shape[0] * pixels.shape[1] for _, _, pixels in blocks)
        write_sidd_mat(
            path,
            blocks,
            seconds_per_megapixel=seconds / (pixels / 1024**2),
            about={"MethodName": method},
            overwrite=overwrite,
        )


def _blocks(results: Iterable[Result], method: str) -> Iterator[Block]:
    for result in results:
        if result.method == method and result.sample.place and result.pixels is not None:
            image, block = result.sample.place
            yield image - 1, block - 1, result.pixels


def _remembered(results: Iterable[Result], taken: list[Result]) -> Iterator[Result]:
    for result in results:
        taken.append(result)
        yield result


def _write_dnd(path: Path, results: Iterable[Result], method: str, overwrite: bool) -> None:
    crops, bundled = path / "crops", path / "bundled"
    for folder in (crops, bundled):
        folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        if result.method == method and result.sample.place and result.pixels is not None:
            # Crops of an evaluation that was interrupted are there already.
            write_dnd_crop(crops, *result.sample.place, result.pixels, overwrite=True)
    bundle_dnd(crops, bundled, overwrite=overwrite)


def save_picture(folder: Path, result: Result, overwrite: bool) -> Path:
    """Write a result as a PNG of 8 bits: ``METHOD/SAMPLE.png``.

    Parameters
    ----------
    folder : Path
        It and the one of the method are made if missing.
    result : Result
        With pixels.
    overwrite : bool
        Whether a file with other content may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImageError
        It cannot be written.
    """
    assert result.pixels is not None
    pixels = result.pixels
    if pixels.dtype != np.uint8:
        pixels = quantise(pixels * np.float32(WHITE))
    content = encode_photo(Photo(pixels), "png")
    path = folder / result.method / f"{result.sample.name}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # So that an evaluation that was interrupted goes on.
        if path.is_file() and path.read_bytes() == content:
            return path
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror}.", "Choose another --save-images."
        ) from error
    write_file(path, content, overwrite)
    return path


def write_file(path: Path, content: bytes, overwrite: bool) -> None:
    """Write a file whole or not at all; raise `ImageError` if that fails or it exists."""
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(content)


def to_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows that have the same keys as a CSV table, UTF-8, with a header."""
    rows = list(rows)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8", "backslashreplace")


CLEAN = "clean"
# With all methods, a page of about 30 MB.
_MOST = 40
_SIDE = 384


class PictureBook:
    """Collects the middles of some samples in all their versions.

    Parameters
    ----------
    count : int
        How many samples there will be; at most 40 of them, evenly spread, are shown.
    """

    def __init__(self, count: int) -> None:
        shown = min(count, _MOST)
        self._numbers = {round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)}
        self._seen: dict[str, bool] = {}
        self._views: dict[str, dict[str, NDArray[np.uint8]]] = {}

    def wants(self, name: str) -> bool:
        """Tell whether a sample is shown; samples must be asked for in their order."""
        return self._seen.setdefault(name, len(self._seen) in self._numbers)

    def add(self, result: Result) -> None:
        """Take what is to be shown of a result."""
        name = result.sample.name
        if not self.wants(name) or result.pixels is None:
            return
        views = self._views.setdefault(name, {})
        if not views and result.sample.references:
            views[CLEAN] = _middle(quantise(reference_of(result.sample).astype(np.float64)))
        pixels = result.pixels
        views[result.method] = _middle(pixels if pixels.dtype == np.uint8 else to_picture(pixels))

    def pictures(self) -> list[Pictures]:
        """Return all that was taken."""
        return [Pictures(name, views) for name, views in self._views.items()]


def _middle(picture: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(length - _SIDE, 0) // 2 for length in picture.shape[:2])
    # A copy, or the whole picture would stay in memory.
    return picture[top : top + _SIDE, left : left + _SIDE].copy()
