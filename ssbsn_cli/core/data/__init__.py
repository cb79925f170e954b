"""Photographs for training: finding them, keeping them decoded, drawing crops from them.

`find_photos` tells how a data set is laid out, `open_cache` decodes it once, and `CropSampler`
draws from that. For pairs there are `find_pairs` and `PairSampler`.
"""
