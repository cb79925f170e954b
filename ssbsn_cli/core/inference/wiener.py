"""Filter the noisy image again, now that a result tells which frequencies it has where."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor

from ssbsn_cli.core.inference.patterns import find_patterns
from ssbsn_cli.core.inference.tensors import blur, ramp, to_array, to_tensor
from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.noise.kinds import Floats

# Spectra are taken in windows of this size, this far apart.
_SIDE, _STEP = 16, 8
# The power of the noise is averaged over blocks of so many windows, then blurred by a Gaussian,
# whose deviation is in blocks.
_BLOCK, _WINDOW = 4, 1.5
# Networks leave a larger share of mild noise than of strong noise. So to the deviation of what was
# removed, about the first figure is added. If it is less than the second, there may be no noise.
_LEFT, _LEAST = 12 / 255, 2.6 / 255
# Four figures tell whether what was removed is fine grain: its deviation; how much its brightness
# correlates with that at one and two pixels, together; how much its colours correlate with those at
# one; and their deviation relative to that of brightness. It is none at the first of two limits.
_GRAIN = (4 / 255, 2 / 255), (0.15, 0.05), (0.2, 0.4), (0.2, 0.35)
# So many frequencies along both axes stay as they are. Networks know better what is under noise
# that was cut off at black.
_LOW = 3


def filter_again(noisy: Floats, denoised: Floats, device: torch.device) -> None:
    """Move a result towards that of Wiener's filter, whose model of the image is the result itself.

    In overlapping windows, each cosine coefficient ``y`` of the noisy image is multiplied by
    ``x^2 / (x^2 + s)``, where ``x`` is that of the result and ``s`` is the power of the noise. It
    follows from the local mean of ``(y - x)^2``, and is larger, since networks leave noise. This
    gives back detail where the result has much, and removes the rest of the noise where it has
    little. The mean of both results is better than either. But if hardly anything was removed,
    there may be no noise, and the filter's result is taken. And if what was removed is fine grain,
    as in clean photos, or a regular pattern, it is given back.

    Parameters
    ----------
    noisy : array
        (N, h, w, C) with C = 1 or 3, white at 1.
    denoised : array
        A result, same shape. It is changed in place.
    device : torch.device
        Where this is computed.

    References
    ----------
    .. [1] K. Dabov, A. Foi, V. Katkovnik & K. Egiazarian, "Image Denoising by Sparse 3-D
       Transform-Domain Collaborative Filtering", IEEE Transactions on Image Processing 16, 2007,
       for Wiener's filter with a first result in its second step.
    """
    height, width = noisy.shape[1:3]
    # Windows begin a step before the image, and there are whole blocks of them.
    below, right = (
        _STEP * _BLOCK * math.ceil((length / _STEP + 1) / _BLOCK) - length
        for length in (height, width)
    )

    def split(images: Floats) -> list[Tensor]:
        planes = _split_colors(to_tensor(images, device))
        return [mirror_pad(plane[:, None], _STEP, right, _STEP, below) for plane in planes]

    planes = list(zip(split(noisy), split(denoised), strict=True))
    share = _share_of_noise(torch.stack([(y - x)[:, 0] for y, x in planes]))
    changes = [
        # One image at a time, because spectra are several times as large.
        _change([(y[image], x[image]) for y, x in planes], share[image, ..., None])
        for image in range(len(noisy))
    ]
    colors = [torch.stack(each)[:, :height, :width] for each in zip(*changes, strict=True)]
    denoised += to_array(_join_colors(colors))


def _share_of_noise(removed: Tensor) -> Tensor:
    """Return how much of what was removed, (1 or 3, N, H, W), is not fine grain.

    There is one value from 0 to 1 for each block, (N, rows, columns).
    """
    side = _STEP * _BLOCK
    if len(removed) == 1:
        # Without colours, grain cannot be told from noise.
        _, count, height, width = removed.shape
        return removed.new_ones(count, height // side, width // side)

    def local_mean(x: Tensor) -> Tensor:
        return blur(F.avg_pool2d(x, side), _WINDOW)

    here = removed[..., :-2, :-2]

    def products(distance: int) -> Tensor:
        """Multiply each value by that to the right and by that below."""
        end = distance - 2 or None
        right, below = removed[..., :-2, distance:end], removed[..., distance:end, :-2]
        return local_mean(here * (right + below) / 2)

    powers = local_mean(here.square()) + torch.finfo(removed.dtype).tiny
    near, brightness, colors = products(1), powers[0], powers[1] + powers[2]
    figures = (
        powers.mean(dim=0).sqrt(),
        (near[0] + products(2)[0]) / brightness,
        (near[1] + near[2]) / colors,
        (colors / brightness / 2).sqrt(),
    )
    grain = torch.ones_like(brightness)
    for figure, (none, all_of_it) in zip(figures, _GRAIN, strict=True):
        grain *= ramp(figure, none, all_of_it)
    return 1 - grain


def _change(planes: list[tuple[Tensor, Tensor]], share: Tensor) -> list[Tensor]:
    """Return what to add to a result, (H, W) for brightness and each colour.

    Each noisy plane and its result are (1, H, W). Of what was removed, `share` is noise,
    (rows, columns, 1).
    """
    changes: list[Tensor] = []
    certain = None
    for noisy, denoised in planes:
        spectra = _spectra(noisy)
        certain = _change_spectra(spectra, _spectra(denoised), share, certain)
        changes.append(_overlap(spectra))
    return changes


def _change_spectra(y: Tensor, x: Tensor, share: Tensor, certain: Tensor | None) -> Tensor:
    """Overwrite the spectra `y` of a noisy plane by what to add to those of its result, `x`.

    `certain` is what this returned for brightness, if this is a colour.
    """
    # Memory that was just used is much faster than new memory.
    spare = y - x
    spare *= spare
    # Both axes at once would be much slower.
    rows = reduce(spare, "f (r i) c g -> f r c g", "mean", i=_BLOCK)
    removed = reduce(rows, "f r (c j) g -> g f r c", "mean", j=_BLOCK)
    removed = rearrange(blur(removed, _WINDOW), "g f r c -> f r c g").contiguous()
    pattern, excess, certain = find_patterns(removed, _LOW, certain)
    removed -= excess
    sure = removed / (removed + _LEAST**2)
    noise = removed + 2 * _LEFT * removed.sqrt() * sure + torch.finfo(x.dtype).tiny
    # s / (x^2 + s), of which y keeps the rest: exactly y where there is no noise.
    lost = torch.mul(x, x, out=spare)
    blocks = _in_blocks(lost).add_(_per_window(noise + excess))
    torch.div(_per_window(share * noise), blocks, out=blocks)
    y.addcmul_(y, lost, value=-1)
    y -= x
    weight = 1 - share * sure / 2
    weight[:_LOW, ..., :_LOW] = 0
    _in_blocks(y).mul_(_per_window(torch.maximum(weight, pattern)))
    return certain


def _spectra(x: Tensor) -> Tensor:
    """Return the cosine coefficients of (1, H, W), as (16, rows, columns, 16)."""
    basis = _cosines(x.device)
    x = F.conv2d(x, basis.view(_SIDE, 1, _SIDE, 1), stride=(_STEP, 1))
    return x.unfold(-1, _SIDE, _STEP).contiguous() @ basis.T


def _overlap(spectra: Tensor) -> Tensor:
    """Undo `_spectra` but for half a window at each border: sum windows that fade out."""
    # Windows fade out by squared sines, so that two neighbours sum to 1.
    fade = torch.sin(math.pi / _SIDE * (torch.arange(_SIDE, device=spectra.device) + 0.5)).square()
    functions = _cosines(spectra.device) * fade
    # Two windows make up each pixel, by their second and first halves.
    x = spectra @ functions
    x = (x[:, :, :-1, _STEP:] + x[:, :, 1:, :_STEP]).flatten(2)
    x = torch.einsum("fi,frw->irw", functions, x)
    return rearrange(x[_STEP:, :-1] + x[:_STEP, 1:], "i r w -> (r i) w")


def _cosines(device: torch.device) -> Tensor:
    """Return the basis, (16, 16): one function in each row."""
    at = torch.arange(_SIDE, dtype=torch.float32, device=device)
    basis = torch.cos(math.pi / _SIDE * (at + 0.5) * at[:, None]) * math.sqrt(2 / _SIDE)
    basis[0] /= math.sqrt(2)
    return basis


def _in_blocks(spectra: Tensor) -> Tensor:
    """View (16, rows, columns, 16) as (16, rows / 4, 4, columns, 16)."""
    return rearrange(spectra, "f (r i) c g -> f r i c g", i=_BLOCK)


def _per_window(values: Tensor) -> Tensor:
    """Repeat one value for each block, to be combined with the result of `_in_blocks`."""
    return repeat(values, "f r c g -> f r 1 (c j) g", j=_BLOCK)


def _split_colors(x: Tensor) -> list[Tensor]:
    """Split (N, C, H, W) into brightness and, unless it is grey, two differences of colours."""
    # Grey is treated like three equal channels.
    brightness = math.sqrt(3) * x.mean(dim=1)
    if x.shape[1] == 1:
        return [brightness]
    red, green, blue = x.unbind(dim=1)
    return [
        brightness,
        (red - blue) / math.sqrt(2),
        ((red + blue) / 2 - green) * math.sqrt(2 / 3),
    ]


def _join_colors(planes: list[Tensor]) -> Tensor:
    """Undo `_split_colors`."""
    grey = planes[0] / math.sqrt(3)
    if len(planes) == 1:
        return grey[:, None]
    across, green = planes[1] / math.sqrt(2), planes[2] * math.sqrt(2 / 3)
    return torch.stack([grey + across + green / 2, grey - green, grey - across + green / 2], dim=1)
