"""Photographs in files, with or without clean ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbsn_cli.core.data.layouts import absolute, find_photos
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.samples import Sample, number_alike

FOLDER_NEEDS = "Give --data photos or folders of noisy photos."
# Some systems do not allow these in the name of a file.
_UNFIT = re.compile(r'[\\:*?"<>|\x00-\x1f]')


@dataclass(frozen=True)
class Files:
    """The files of a noisy photograph and of clean ones of the same scene.

    Parameters
    ----------
    root : Path
        The folder that the user named; names of samples start below it.
    noisy : Path
        In `root`, or deeper.
    references : tuple of Path
        The clean ones; may be empty.
    """

    root: Path
    noisy: Path
    references: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Photos:
    """Photographs that are read when their turn comes.

    Parameters
    ----------
    name, title, protocol : str
        As in `Dataset`.
    files : tuple of Files
        In the order of the samples.
    """

    name: str
    title: str
    protocol: str
    files: tuple[Files, ...]

    @property
    def referenced(self) -> bool:
        """Whether there are clean photographs."""
        return any(files.references for files in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Sample]:
        for name, files in zip(flat_names(self.files), self.files, strict=True):
            noisy = read_pixels(files.noisy)
            references = tuple(read_pixels(path) for path in files.references)
            for path, reference in zip(files.references, references, strict=True):
                if reference.shape != noisy.shape:
                    sizes = [f"{p.shape[1]}x{p.shape[0]}" for p in (noisy, reference)]
                    raise OptionError(
                        f"{files.noisy} has {sizes[0]} pixels, but {path} has {sizes[1]}.",
                        "Give both the same size, or take them out of the data set.",
                    )
            yield Sample(name, noisy, references, group=_group(files))


def _group(files: Files) -> str:
    """Return the folder right below the root: each is a data set of its own."""
    folders = files.noisy.relative_to(files.root).parent.parts
    return folders[0] if folders else ""


def flat_names(files: Sequence[Files]) -> list[str]:
    """Name the samples of a data set by their files.

    Returns
    -------
    list of str
        The folders below the root and the name without extension, joined by "_". If several come
        out alike, they get their extensions, and if that is not enough, numbers.
    """
    plain = [
        _UNFIT.sub("_", "_".join(file.noisy.relative_to(file.root).with_suffix("").parts))
        for file in files
    ]
    # Some file systems do not tell upper from lower case.
    alike = Counter(name.casefold() for name in plain)
    return number_alike(
        name + file.noisy.suffix.lower().replace(".", "_") if alike[name.casefold()] > 1 else name
        for file, name in zip(files, plain, strict=True)
    )


def open_folder(data: Sequence[Path]) -> Photos:
    """Open noisy photographs that have no clean counterparts.

    Parameters
    ----------
    data : sequence of Path
        Photographs, or folders as `find_photos` takes them.

    Raises
    ------
    OptionError
        There are none.
    """
    files = []
    for path in data:
        root = absolute(path) if path.is_dir() else path.parent
        files += [Files(root, photo) for photo in find_photos(path).photos]
    protocol = "Every photo as a whole; there is nothing to compare it with."
    return Photos("folder", "Noisy photos", protocol, tuple(files))
