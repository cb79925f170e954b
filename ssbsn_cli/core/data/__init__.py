"""Photographs for training: finding them, keeping them decoded, drawing crops from them.

A data set of noisy photographs goes through three steps: `find_photos` tells its layout,
`open_cache` decodes it once into a memory-mapped file, and `CropSampler` draws from that file. For
pairs of a noisy and a clean photograph there are `find_pairs` and `PairSampler`. Nothing here
imports torch.
"""
