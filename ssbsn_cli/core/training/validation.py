"""Scores and previews of a network during training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssbsn_cli.core.data.layouts import find_pairs
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import Photo, encode_photo
from ssbsn_cli.core.imaging.photo import middle_of
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.batches import Batch, distance
from ssbsn_cli.core.training.config import LossKind
from ssbsn_cli.core.types import Notify, count_of, from_unit, to_unit

_CROPS_AT_ONCE = 4
_CENTRE = 256
_GAP = 8
# SSIM's window.
_LEAST_SIDE = 7
# Blotches are what lies between Gaussians of these deviations, in pixels.
_FINE, _COARSE = 6, 30
# How much stronger blotches may become, relative to what they were and a grey level. Adapting that
# helps changes them by a twentieth at most.
_MOST_BLOTCHES, _UNSEEN = 1.1, 1 / 255
# Added to the rating of networks that fail; it outweighs any loss.
_FAILED = 1e6

_Picture = NDArray[np.float32]


class Score(NamedTuple):
    """How good a network is: figures by name, and a rating to compare by, where lower is better."""

    figures: dict[str, float]
    rating: float


# Scores a network on its device, without changing it.
Validation = Callable[[Network], Score]


def score_loss(
    draws: Sequence[tuple[float, Batch]], kind: LossKind, device: torch.device, network: Network
) -> Score:
    """Score by the mean training loss over fixed batches, weighted by their shares."""
    losses = sum(share * _loss(draw, kind, device, network) for share, draw in draws)
    loss = losses / sum(share for share, _ in draws)
    return Score({"loss": loss}, loss)


@torch.no_grad()
def _loss(draw: Batch, kind: LossKind, device: torch.device, network: Network) -> float:
    total = 0.0
    for first in range(0, len(draw.noisy), _CROPS_AT_ONCE):
        part = slice(first, first + _CROPS_AT_ONCE)
        noisy = to_device(draw.noisy[part], device)
        target = to_device(draw.target[part], device)
        loss = distance(network(noisy, draw.stride), target, kind)
        total += loss.item() * len(noisy)
    return total / len(draw.noisy)


def score_pairs(
    pairs: Sequence[tuple[_Picture, _Picture]], device: torch.device, network: Network
) -> Score:
    """Score by PSNR and SSIM over noisy and clean pictures, without refinement."""
    psnrs, ssims = [], []
    for noisy, clean in pairs:
        out = _denoise(network, noisy, device)
        psnrs.append(psnr(clean, out))
        ssims.append(
            structural_similarity(  # type: ignore[no-untyped-call]
                clean, out, channel_axis=2, data_range=1.0, win_size=_LEAST_SIDE
            )
        )
    figures = {
        "psnr": float(np.mean(psnrs)),
        "ssim": float(np.mean(ssims)),
        "psnr_noisy": float(np.mean([psnr(clean, noisy) for noisy, clean in pairs])),
    }
    return Score(figures, -figures["psnr"])


def refuse_blotches(
    validation: Validation,
    pictures: Sequence[_Picture],
    before: Network,
    device: torch.device,
) -> Validation:
    """Make a validation fail networks that leave more blotches of colour than another one.

    Noise that varies over more than a dozen pixels is not measured. So a network that learns from
    measured noise may forget to remove it, and no loss on such noise shows that.

    Parameters
    ----------
    validation : Validation
        Gives the score. Networks that fail are rated worse than all others.
    pictures : sequence of array
        (H, W, 3) float32 in [0, 1], noisy.
    before : Network
        The network to compare with.
    device : torch.device
        The device of the networks.
    """

    def left_by(network: Network) -> float:
        squares = [_blotches(_denoise(network, each, device)) for each in pictures]
        return float(np.sqrt(np.mean(squares))) + _UNSEEN

    normal = left_by(before)

    def validate(network: Network) -> Score:
        score = validation(network)
        ratio = left_by(network) / normal
        figures = {**score.figures, "blotches": ratio}
        return Score(figures, score.rating + (_FAILED if ratio > _MOST_BLOTCHES else 0))

    return validate


def _blotches(picture: _Picture) -> float:
    """Return the mean square of what varies slowly in the colours of a picture."""
    colours = picture[..., ::2] - picture[..., 1:2]
    fine, coarse = (cv2.GaussianBlur(colours, (0, 0), sigma) for sigma in (_FINE, _COARSE))
    return float(np.square(fine - coarse).mean())


def read_pairs(
    path: Path, count: int, say: Notify, warn: Notify
) -> list[tuple[_Picture, _Picture]]:
    """Read the centres of a folder's pairs, at most `count` of them, for `score_pairs`.

    Raises
    ------
    OptionError
        No pair can be read.
    """
    pairs = find_pairs(path)
    pictures: list[tuple[_Picture, _Picture]] = []
    for pair in pairs:
        try:
            noisy, clean = read_pixels(pair.noisy), read_pixels(pair.clean)
        except ImageError as error:
            warn(str(error))
            continue
        if noisy.shape != clean.shape:
            warn(f"{pair.noisy} and {pair.clean} differ in size and are left out.")
            continue
        if min(noisy.shape[:2]) < _LEAST_SIDE:
            warn(f"{pair.noisy} is smaller than {_LEAST_SIDE}x{_LEAST_SIDE} pixels: left out.")
            continue
        pictures.append((centre(noisy), centre(clean)))
        if len(pictures) == count:
            break
    if not pictures:
        raise OptionError(f"No pair in {path} can be read.", "Give readable photos.")
    say(f"{path}: {count_of(len(pairs), 'pair')}, {len(pictures)} to score on.")
    return pictures


def centre(pixels: NDArray[Any]) -> _Picture:
    """Return the middle of a photo, at most 256 x 256, (H, W, 3) float32 in [0, 1]."""
    return to_unit(middle_of(pixels, _CENTRE))


def preview(network: Network, picture: _Picture, device: torch.device) -> bytes:
    """Return a PNG of a picture, (H, W, 3) float32 in [0, 1], before and after."""
    after = _denoise(network, picture, device)
    gap = np.ones((len(after), _GAP, 3), np.float32)
    both = np.hstack([picture, gap, after])
    return encode_photo(Photo(from_unit(both, np.dtype(np.uint8))), "png")


@torch.no_grad()
def _denoise(network: Network, picture: _Picture, device: torch.device) -> _Picture:
    """Denoise a small picture, (H, W, 3) float32 in [0, 1], without refinement."""
    x = to_device(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]), device)
    y = network.denoise(x)[0].clamp(0, 1)
    result: _Picture = y.permute(1, 2, 0).float().cpu().numpy()
    return result


def to_device(batch: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """Move (B, 3, H, W) to a device, channels_last in memory."""
    return torch.from_numpy(batch).to(device).contiguous(memory_format=torch.channels_last)


def psnr(clean: _Picture, picture: _Picture) -> float:
    """Return the PSNR in dB of pictures in [0, 1], at most 100."""
    with np.errstate(divide="ignore"):
        value = peak_signal_noise_ratio(clean, picture, data_range=1.0)  # type: ignore[no-untyped-call]
    return min(100.0, float(value))
