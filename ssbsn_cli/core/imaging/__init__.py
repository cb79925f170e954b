"""Photos: read and write them without losing depth, alpha or metadata.

Bytes become a `Photo`, and a `Photo` becomes bytes. Nothing here knows about networks.
"""

from ssbsn_cli.core.imaging.formats import (
    PHOTO_EXTENSIONS,
    format_of_path,
    result_extension,
    result_format,
    stored_dtype,
)
from ssbsn_cli.core.imaging.names import is_photo_name
from ssbsn_cli.core.imaging.photo import Metadata, Photo
from ssbsn_cli.core.imaging.reading import read_photo
from ssbsn_cli.core.imaging.writing import check_writable, encode_photo, list_losses, write_photo

__all__ = [
    "PHOTO_EXTENSIONS",
    "Metadata",
    "Photo",
    "check_writable",
    "encode_photo",
    "format_of_path",
    "is_photo_name",
    "list_losses",
    "read_photo",
    "result_extension",
    "result_format",
    "stored_dtype",
    "write_photo",
]
