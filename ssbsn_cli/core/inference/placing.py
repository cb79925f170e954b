"""Choose where the result of each photo goes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import format_of_path, is_photo_name, result_extension
from ssbsn_cli.core.imaging.names import (
    COMPARE_SUFFIX,
    DEFAULT_SUFFIX,
    alike,
    result_ending,
    split_name,
)
from ssbsn_cli.core.inference.finding import Found, is_same_file, is_special
from ssbsn_cli.core.inference.settings import STREAM
from ssbsn_cli.core.runtime.storage import refuse_output


@dataclass(frozen=True, kw_only=True)
class Naming:
    """The user's options for where results go.

    Parameters
    ----------
    output : str, optional
        A file, a folder, or "-" for standard output. By default, results go into the folders of
        their photos, or to standard output if the photo comes from standard input.
    suffix : str, optional
        Goes between a result's stem and its extension. By default "_denoised" in the folders of the
        photos, and nothing in an output folder.
    format : str, optional
        Format of the results; by default that of the extension.
    compare : str, optional
        A file for the comparison (before and after); a folder if there are several inputs.
    """

    output: str | None = None
    suffix: str | None = None
    format: str | None = None
    compare: str | None = None


class Placing:
    """Names the results of photos: the inputs, and those that a list names.

    A list counts as several inputs, even if it names only one. All results go into the folder
    `into`, if there is one, or to standard output if `to_stdout` is set. Their stems end with
    `suffix`.

    Raises
    ------
    OptionError
        If the options contradict each other.
    """

    def __init__(self, naming: Naming, inputs: Sequence[str], listed: bool) -> None:
        output, suffix, compare = naming.output, naming.suffix, naming.compare
        if STREAM in inputs and (listed or len(inputs) > 1):
            raise OptionError(
                "Standard input cannot be mixed with other inputs.", "Give '-' alone."
            )
        many = listed or len(inputs) > 1 or any(map(os.path.isdir, inputs))
        if many and output == STREAM:
            raise OptionError("Several photos cannot go to one stream.", "Name a folder with -o.")
        self.into = _folder(output, many)
        if output not in (None, STREAM) and not self.into:
            if suffix is not None:
                raise OptionError("--suffix and -o FILE contradict each other.", "Use one.")
            _check_file(Path(str(output)), naming.format, "Use -o - for standard output.")
        self.suffix = suffix if suffix is not None else "" if output else DEFAULT_SUFFIX
        if os.sep in self.suffix or (os.altsep and os.altsep in self.suffix):
            raise OptionError(f"The suffix {suffix!r} names another folder.", "Use -o for that.")
        self.to_stdout = output == STREAM or (output is None and STREAM in inputs)
        if self.to_stdout and suffix is not None:
            raise OptionError("Standard output has no name for a suffix.", "Drop --suffix.")
        self._file = _named(output) if output and not self.into and output != STREAM else None
        self._extension = cache(lambda own: result_extension(f"photo{own}", naming.format))
        self._compare_into = _folder(compare, many)
        self._compare_file = _named(compare) if compare and not self._compare_into else None
        if compare and not self._compare_into:
            _check_file(Path(compare), None, "Name another file with --compare.")

    @property
    def folders(self) -> list[Path]:
        """The folders for results and comparisons, if there are such."""
        return [folder for folder in (self.into, self._compare_into) if folder]

    def check(self, found: Found) -> None:
        """Raise OptionError if a photo has no name that its result could take."""
        if self.to_stdout or self._file:
            return
        if found.path is None:
            raise OptionError("Standard input has no name.", "Name the output file with -o.")
        if found.is_nameless and not self.into:
            raise OptionError(f"{found.path} has no name to call the result by.", "Use -o FILE.")

    def target(self, source: str | None, below: str, keep_extension: bool) -> str | None:
        """Return where a photo's result goes; None is standard output.

        `source` and `below` are from `Found`, and `keep_extension` is from `needs_extension`.
        """
        if self.to_stdout or self._file or source is None:
            return self._file
        folder, name = os.path.split(source)
        if self.into:
            folder = os.path.join(self.into, below)
        return os.path.join(folder, self._name(name, keep_extension))

    def comparison(self, source: str | None, below: str) -> str | None:
        """Return where a photo's comparison goes, if one is requested."""
        if not self._compare_into:
            return self._compare_file
        name = os.path.basename(source) if source else "stdin"
        return os.path.join(self._compare_into, below, f"{name}{COMPARE_SUFFIX}.png")

    def needs_extension(self, found: Found) -> bool:
        """Return whether another photo in the folder would get a result of the same name.

        They differ only by their extensions. With the format "png", b.jpg and b.png become
        b.jpg.png and b.png.png: an existing b.png may be the result of either.
        """
        if found.path is None or self._file:
            return False
        name = os.path.basename(found.path)
        result = self._name(name, False)
        return any(
            other != name and self._name(other, False) == result
            for other in alike(split_name(name)[0], found.beside())
        )

    def is_result(self, found: Found) -> str | None:
        """Return the suffix that marks a photo as the result of another one, if it is one."""
        if found.path is None:
            return None
        return result_ending(os.path.basename(found.path), found.beside(), self.suffix)

    def _name(self, name: str, keep_extension: bool) -> str:
        stem, extension = split_name(name)
        return f"{name if keep_extension else stem}{self.suffix}{self._extension(extension)}"


def _folder(text: str | None, many: bool) -> Path | None:
    """Return an output as a path if it is a folder for results."""
    if text is None or text == STREAM:
        return None
    path = Path(text)
    if os.path.isdir(text) or text.endswith(("/", os.sep)):
        return path
    if not many:
        return None
    if path.is_file() or is_photo_name(path):
        raise OptionError(f"Several photos cannot go to one file, {path}.", "Name a folder.")
    return path


def _check_file(path: Path, format: str | None, instead: str) -> None:
    if is_special(str(path)):
        raise OptionError(f"{path} is not a regular file.", instead)
    try:
        by_name = format_of_path(path)
    except ImageError as error:
        if format:
            return
        if not path.suffix:
            raise OptionError(
                f"{path} is not a folder, and its name does not say how to write a file.",
                f"Write {path}/ to make a folder, or add an extension such as .png.",
            ) from None
        raise OptionError(str(error), error.hint) from None
    if format and format != by_name:
        raise OptionError(
            f"{path} is named as {by_name}, but --format says {format}.", "Leave one of them out."
        )


def refuse_report(path: Path, overwrite: bool, inputs: Iterable[str | Path]) -> None:
    """Raise OptionError if a report cannot be written, or would replace a photo.

    This is called before time is spent on the report. No input may be its file.
    """
    refuse_output(path, overwrite)
    if is_photo_name(path) or any(is_same_file(path, each) for each in inputs):
        raise OptionError(f"{path} is a photo, or named as one.", "Choose another name.")


def _named(output: str) -> str:
    """Return a file that the user named, following links."""
    return str(Path(os.path.realpath(output) if os.path.islink(output) else output))
