"""Scoring a network while it trains, and showing what it does to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssbsn_cli.core.data import find_pairs
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.imaging import Metadata, Photo, encode_photo
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.config import LossKind
from ssbsn_cli.core.training.objectives import distance
from ssbsn_cli.core.training.sources import Draw
from ssbsn_cli.core.types import Notify, to_unit

_CROPS_AT_ONCE = 4
_CENTRE = 256
_GAP = 8

_Picture = NDArray[np.float32]


class Score(NamedTuple):
    """How good a network is.

    Attributes
    ----------
    figures : dict
        By name, for people.
    rating : float
        One number of them to compare networks by; lower is better.
    """

    figures: dict[str, float]
    rating: float


class Validation(Protocol):
    """Scores networks."""

    def score(self, network: Network) -> Score:
        """Score a network, which is on its device and stays as it is."""


class LossValidation:
    """Scores by the ``loss``: the mean training loss over fixed batches.

    Parameters
    ----------
    draws : sequence of (float, Draw)
        Batches and their shares in the mean.
    device : torch.device
        Of the network.
    kind : {"l1", "psnr"}
        Which loss.
    """

    def __init__(
        self, draws: Sequence[tuple[float, Draw]], device: torch.device, kind: LossKind
    ) -> None:
        self._draws = draws
        self._device = device
        self._kind = kind

    def score(self, network: Network) -> Score:
        """Score a network."""
        total = sum(share for share, _ in self._draws)
        loss = sum(share * self._loss(network, draw) for share, draw in self._draws) / total
        return Score({"loss": loss}, loss)

    @torch.no_grad()
    def _loss(self, network: Network, draw: Draw) -> float:
        total = 0.0
        for first in range(0, len(draw.noisy), _CROPS_AT_ONCE):
            part = slice(first, first + _CROPS_AT_ONCE)
            noisy = to_device(draw.noisy[part], self._device)
            target = to_device(draw.target[part], self._device)
            loss = distance(network(noisy, draw.stride), target, self._kind)
            total += loss.item() * len(noisy)
        return total / len(draw.noisy)


class PairValidation:
    """Scores by ``psnr`` (dB), without refinement, and tells ``ssim`` and ``psnr_noisy``.

    Parameters
    ----------
    pairs : sequence of (array, array)
        Noisy and clean pictures, (H, W, 3) float32 in [0, 1].
    device : torch.device
        Of the network.
    """

    def __init__(self, pairs: Sequence[tuple[_Picture, _Picture]], device: torch.device) -> None:
        self._pairs = pairs
        self._device = device
        self._noisy = float(np.mean([psnr(clean, noisy) for noisy, clean in pairs]))

    def score(self, network: Network) -> Score:
        """Score a network."""
        psnrs, ssims = [], []
        for noisy, clean in self._pairs:
            out = denoise_picture(network, noisy, self._device)
            psnrs.append(psnr(clean, out))
            window = min(7, (min(clean.shape[:2]) - 1) // 2 * 2 + 1)
            ssims.append(
                structural_similarity(  # type: ignore[no-untyped-call]
                    clean, out, channel_axis=2, data_range=1.0, win_size=max(window, 3)
                )
            )
        mean, ssim = float(np.mean(psnrs)), float(np.mean(ssims))
        return Score({"psnr": mean, "ssim": ssim, "psnr_noisy": self._noisy}, -mean)


def pair_validation(
    path: Path, count: int, device: torch.device, say: Notify, warn: Notify
) -> PairValidation:
    """Read the pairs of a folder to score on.

    Parameters
    ----------
    path : Path
        See `find_pairs`.
    count : int
        How many of its pairs to use, at most; of each, the centre.
    device : torch.device
        Of the networks to score.
    say, warn : callable
        Told what is found.

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
        pictures.append((centre(noisy), centre(clean)))
        if len(pictures) == count:
            break
    if not pictures:
        raise OptionError(f"No pair in {path} can be read.", "Give readable photos.")
    say(f"{path}: {len(pairs)} pairs, {len(pictures)} of them to score on.")
    return PairValidation(pictures, device)


def centre(pixels: NDArray[Any]) -> _Picture:
    """Return the middle of a photo, at most 256 x 256, (H, W, 3) float32 in [0, 1]."""
    top, left = (max(length - _CENTRE, 0) // 2 for length in pixels.shape[:2])
    return to_unit(pixels[top : top + _CENTRE, left : left + _CENTRE])


def preview(network: Network, picture: _Picture, device: torch.device) -> bytes:
    """Return a PNG of a picture before and after; the arguments are those of `denoise_picture`."""
    after = denoise_picture(network, picture, device)
    gap = np.ones((len(after), _GAP, 3), np.float32)
    both = np.rint(np.hstack([picture, gap, after]) * 255).astype(np.uint8)
    return encode_photo(Photo(both, Metadata(), "png"), "png")


@torch.no_grad()
def denoise_picture(network: Network, picture: _Picture, device: torch.device) -> _Picture:
    """Denoise a small picture without refinement.

    Parameters
    ----------
    network : Network
        On `device`.
    picture : array
        (H, W, 3) float32 in [0, 1].
    device : torch.device
        Of the network.

    Returns
    -------
    array
        (H, W, 3) float32, clipped to [0, 1].
    """
    x = to_device(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]), device)
    y = network.denoise(x, refine="none")[0].clamp(0, 1)
    result: _Picture = y.permute(1, 2, 0).float().cpu().numpy()
    return result


def to_device(batch: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """Move (B, 3, H, W) to a device, with channels last in memory."""
    return torch.from_numpy(batch).to(device).contiguous(memory_format=torch.channels_last)


def psnr(clean: _Picture, picture: _Picture) -> float:
    """Return the PSNR in dB of pictures in [0, 1]; 100 for equal ones."""
    if np.array_equal(clean, picture):
        return 100.0
    value = peak_signal_noise_ratio(clean, picture, data_range=1.0)  # type: ignore[no-untyped-call]
    return float(value)
