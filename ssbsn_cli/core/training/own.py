"""Learning from one's own photos: their noise is added to the network's results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import ceil

import numpy as np

from ssbsn_cli.core.data.draws import Batching, Shares
from ssbsn_cli.core.noise.kinds import Floats
from ssbsn_cli.core.noise.measured import Measured
from ssbsn_cli.core.training.batches import Batch
from ssbsn_cli.core.training.parts import Part
from ssbsn_cli.core.types import to_unit

# The fraction of pairs that are recorrupted (two noisy versions of a photo), and how much noise is
# added to the first version, relative to the measured noise.
_RECORRUPTED = 0.6
_ALPHA = np.float32(0.5)
# How often each pixel is in a pair to score on at most, on average.
_SCORED = 16


class OwnSource:
    """Pairs made only from one's own noisy photos.

    Some pairs are the network's result with and without the photo's noise, added again at half to
    twice its strength. These contain the network's own errors. The other pairs are two copies of a
    noisy photo with more noise of the measured kind, added so that the noise of the two is
    independent [1]_. So their mean error equals that towards the unknown clean photo, up to a
    constant.

    Parameters
    ----------
    parts, noises
        From `denoise_splits` and `measure_parts`. The results for photos whose noise is unknown get
        the noise of others.
    shares : sequence of float
        How often each cache is drawn, relative to the others.
    crop : int
        Height and width of the pairs.
    batching : Batching
        Decides which pairs are drawn.

    Raises
    ------
    OptionError
        The shares make no sense.

    References
    ----------
    .. [1] T. Pang et al., "Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image
       Denoising", CVPR 2021.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        noises: dict[tuple[int, int], Measured],
        shares: Sequence[float],
        crop: int,
        batching: Batching,
    ) -> None:
        self._parts = parts
        of_photo = Counter(part.photo for part in parts)
        photos = Counter(cache for cache, _ in of_photo)
        self._shares = Shares(
            [shares[at[0]] / photos[at[0]] / of_photo[at] for at in (part.photo for part in parts)]
        )
        self._noises, self._any = noises, list(noises.values())
        self._crop, self._batching = crop, batching

    def draw(self, step: int) -> Batch:
        """Draw the batch of one step."""
        return self._batch(step, recorrupted=_RECORRUPTED)

    def validation(self) -> list[Batch]:
        """Draw one batch of photos with more noise and with independent noise.

        On these, copying the network's own errors does not score well. The batch is smaller if the
        photos are so small that all its pairs would show the same.
        """
        pixels = sum(part.noisy[..., 0].size for part in self._parts)
        return [self._batch(0, recorrupted=1, most=ceil(_SCORED * pixels / self._crop**2))]

    def _batch(self, step: int, recorrupted: float, most: int | None = None) -> Batch:
        generators = islice(self._batching.generators(step), most)
        pairs = [self._pair(rng, recorrupted) for rng in generators]
        noisy, target = (np.stack(side) for side in zip(*pairs, strict=True))
        return Batch(noisy, target)

    def _pair(self, rng: np.random.Generator, recorrupted: float) -> tuple[Floats, Floats]:
        part = self._parts[self._shares.pick(int(rng.bit_generator.random_raw()))]
        known = self._noises.get(part.photo)
        noise = known or self._any[rng.integers(len(self._any))]
        top, left = (int(rng.integers(size - self._crop + 1)) for size in part.noisy.shape[:2])
        turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
        place = slice(top, top + self._crop), slice(left, left + self._crop)
        clean = to_unit(part.denoised[place])
        # Only noise as strong as the photo's own makes the two versions independent.
        if rng.random() < recorrupted and known:
            noisy = to_unit(part.noisy[place])
            # Noise changes the mean in proportion to its variance. The target has none of this.
            mean = noise.cautious.mean(clean)
            more = noise.cautious.add(clean, rng, factor=1) - mean
            change = mean - clean
            more_noisy = noisy + _ALPHA * more + _ALPHA**2 * change
            pair = np.clip(more_noisy, 0, 1), noisy - more / _ALPHA - change
        else:
            pair = noise[int(rng.integers(2))].add(clean, rng), clean
        # Noise is added before, since it may differ across and down.
        one, other = (_turned(side, turns, mirrored) for side in pair)
        return one, other


def _turned(pixels: Floats, turns: int, mirrored: bool) -> Floats:
    """Turn and mirror (H, W, 3), and put the channels first."""
    if mirrored:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, turns).transpose(2, 0, 1))
