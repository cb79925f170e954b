"""Photographs for training: finding them, keeping them decoded, drawing crops from them.

A data set of noisy photographs goes through three steps: `find_photos` tells its layout,
`open_cache` decodes it once into a memory-mapped file, and `CropSampler` draws from that file. For
training with clean photographs there are `find_pairs` and `PairSampler`, or `SyntheticPairs`, which
puts noise of `ssbsn_cli.core.noise` on what a `CropSampler` draws. Nothing here imports torch.
"""

from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.layouts import Found, find_photos
from ssbsn_cli.core.data.pair_sampler import PairSampler, SyntheticPairs
from ssbsn_cli.core.data.pairs import Pair, find_pairs
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.data.store import CropCache

__all__ = [
    "CropCache",
    "CropSampler",
    "Found",
    "Pair",
    "PairSampler",
    "SyntheticPairs",
    "find_pairs",
    "find_photos",
    "open_cache",
]
