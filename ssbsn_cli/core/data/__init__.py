"""Photos for training: find them, keep them decoded, draw crops from them.

A data set of noisy photos goes through three steps: `find_photos` recognises its layout,
`open_cache` decodes it once into a memory-mapped file, and `CropSampler` draws crops from there.
For noisy and clean pairs there are `find_pairs` and `PairSampler`. Nothing here imports torch.
"""
