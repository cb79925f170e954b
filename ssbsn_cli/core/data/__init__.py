"""Noisy photographs for training: finding them, keeping them decoded, drawing crops from them.

A data set goes through here in three steps: `find_photos` tells its layout, `open_cache` decodes
it once into a memory-mapped file, and `CropSampler` draws from that file. Knows no torch.
"""

from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.layouts import Found, find_photos
from ssbsn_cli.core.data.prefetch import prefetch
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.data.store import CropCache, Window

__all__ = [
    "CropCache",
    "CropSampler",
    "Found",
    "Window",
    "find_photos",
    "open_cache",
    "prefetch",
]
