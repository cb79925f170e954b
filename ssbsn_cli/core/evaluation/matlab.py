"""MATLAB files, as the benchmarks want them: written whole or not at all, read with distrust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.runtime.storage import atomic_output


def write_matlab(path: Path, variables: Mapping[str, object], *, overwrite: bool = False) -> None:
    """Write a MATLAB 5 file, which every MATLAB since 1996 reads.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    variables : mapping
        What scipy can store. Arrays of objects become cell arrays, dicts become structs.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    ImageError
        The file exists and may not be replaced, or cannot be written.
    """
    with atomic_output(path, overwrite) as temporary:
        store_matlab(temporary, variables)


def store_matlab(temporary: Path, variables: Mapping[str, object]) -> None:
    """Write the same to a temporary file of `atomic_output`."""
    # Given a name instead, scipy would append .mat to it.
    with temporary.open("wb") as stream:
        savemat(stream, variables)


def read_matlab(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB 5 file.

    Parameters
    ----------
    path : Path
        Written by MATLAB with ``-v7`` or older, or by scipy.
    names : sequence of str
        Of the variables; all must be there.

    Returns
    -------
    dict
        Name to array of at least two dimensions, as MATLAB has it; of objects if it is a cell
        array.

    Raises
    ------
    OptionError
        There is no such file, it is damaged or of MATLAB 7.3, or a variable is missing.
    """
    try:
        with path.open("rb") as stream:
            stored: dict[str, Any] = loadmat(stream, variable_names=list(names))
    except FileNotFoundError as error:
        raise OptionError(f"{path} does not exist.", "Check the spelling of the path.") from error
    except NotImplementedError as error:
        raise OptionError(
            f"{path} is a MATLAB 7.3 file, which is not understood here.",
            "Load it in MATLAB and save it again with -v7.",
        ) from error
    except (IsADirectoryError, PermissionError) as error:
        raise OptionError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    # Damaged files end scipy's reading with nearly any exception.
    except Exception as error:
        raise OptionError(
            f"{path} cannot be read as a MATLAB file.", "Write or download it again."
        ) from error
    for name in names:
        if not isinstance(stored.get(name), np.ndarray):
            raise OptionError(
                f"{path} has no array {name}.", "Check that it is the file that was meant."
            )
    return {name: stored[name] for name in names}
