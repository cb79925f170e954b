"""What a user can choose about how results are written; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How results are written.

    Parameters
    ----------
    format : str, optional
        Format of the result; by default that of its name, or of the photograph.
    quality : int
        Of JPEG and WebP, 1 to 100.
    overwrite : bool
        Whether files may be replaced, the photograph itself included.
    strip_metadata : bool
        Whether to leave out EXIF, XMP and ICC.
    """

    format: str | None = None
    quality: int = 95
    overwrite: bool = False
    strip_metadata: bool = False
