"""Tell regular patterns, such as fabrics, screens and printed dots, from noise."""

from __future__ import annotations

import torch
from torch import Tensor

from ssbsn_cli.core.inference.tensors import ramp

# The usual power at a frequency is taken from so many along both axes.
_AROUND = 9
# Less than this is no power: a tenth of a grey level.
_NOTHING = (0.1 / 255) ** 2
# A power is surely noise up to the first multiple of the usual one, and none from the second.
_PEAK = 4.0, 7.0
# A pattern's peak spills over into so many frequencies around it, along both axes.
_SPILL = 5
# The share of peaks in the power that was removed: up to the first, frequencies where a peak alone
# proves nothing count as noise, and from the second, as the pattern's.
_SHARE = 0.3, 0.6


def find_patterns(
    powers: Tensor, low: int, certain: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Find frequencies that a network removed as noise, but that are those of a regular pattern.

    The power of noise changes slowly with frequency. A pattern has peaks. Along the axes, so do
    banding and rows of noise, and near zero, so does noise that reaches far. There, patterns are
    found by their peaks elsewhere. Colours have peaks in JPEGs, too, so brightness decides.

    Parameters
    ----------
    powers : Tensor
        (F, rows, columns, F), the mean power of what was removed, at each pair of frequencies, with
        white at 1.
    low : int
        So many frequencies along both axes are near zero.
    certain : Tensor, optional
        The last result for brightness, if these are the powers of a colour.

    Returns
    -------
    Tensor
        How much of each power is that of a pattern, from 0 to 1, same shape.
    Tensor
        What exceeds the usual power there, same shape.
    Tensor
        How much peaks prove, from 0 to 1, (rows, columns, 1).
    """
    at = torch.arange(len(powers), device=powers.device)
    near = ((at[:, None] - at).abs() <= _AROUND // 2).to(powers.dtype)
    near /= near.sum(dim=1, keepdim=True)
    # The mean of fourth roots, which peaks hardly raise.
    roots = torch.tensordot(near, powers.sqrt().sqrt(), dims=1) @ near.T
    usual = roots.square().square() + _NOTHING
    peaks = ramp(powers / usual, *_PEAK)
    excess = (powers - usual).clamp(min=0)
    if certain is None:
        inner = peaks.clone()
        inner[0] = inner[..., 0] = inner[:low, ..., :low] = 0
        pattern = _spread(inner)
        total, found = (_sum(each, 1) - _sum(each, 1, low) for each in (powers, pattern * excess))
        certain = ramp(found / (total + _NOTHING), *_SHARE)
        pattern[0] *= certain
        pattern[1:, ..., 0] *= certain[..., 0]
        pattern = torch.maximum(pattern, certain * _spread(peaks))
    else:
        pattern = certain * _spread(peaks)
    pattern[:low, ..., :low] = certain
    return pattern, pattern * excess, certain


def _spread(pattern: Tensor) -> Tensor:
    """Take the largest value around each frequency."""
    # Much faster than pooling.
    for axis in (0, -1):
        before = pattern.movedim(axis, 0)
        after = before.clone()
        for shift in range(1, _SPILL // 2 + 1):
            after[shift:] = torch.maximum(after[shift:], before[:-shift])
            after[:-shift] = torch.maximum(after[:-shift], before[shift:])
        pattern = after.movedim(0, axis)
    return pattern


def _sum(powers: Tensor, start: int, stop: int | None = None) -> Tensor:
    """Sum frequencies from a first to a last one along both axes, (rows, columns, 1)."""
    return powers[start:stop, ..., start:stop].sum(dim=(0, 3))[..., None]
