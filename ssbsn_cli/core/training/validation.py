"""Scoring a network while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.training.config import LossKind
from ssbsn_cli.core.training.objectives import distance
from ssbsn_cli.core.training.sources import Draw

_CROPS_AT_ONCE = 4


class Validation(Protocol):
    """Scores a network and tells which of two scores is better."""

    def score(self, network: Network) -> dict[str, float]:
        """Return named figures; the network is on its device, and stays as it is."""

    def rate(self, score: dict[str, float]) -> float:
        """Return one number of a score; lower is better."""


class LossValidation:
    """The mean training loss over fixed batches.

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
        self, draws: Sequence[tuple[float, Draw]], device: torch.device, kind: LossKind = "l1"
    ) -> None:
        self._draws = draws
        self._device = device
        self._kind = kind

    def score(self, network: Network) -> dict[str, float]:
        """Return the ``loss``."""
        total = sum(share for share, _ in self._draws)
        loss = sum(share * self._loss(network, draw) for share, draw in self._draws)
        return {"loss": loss / total}

    def rate(self, score: dict[str, float]) -> float:
        """Return the loss."""
        return score["loss"]

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
    """PSNR and SSIM over pairs of noisy and clean pictures, without refinement.

    Parameters
    ----------
    pairs : sequence of (array, array)
        Noisy and clean, (H, W, 3) float32 in [0, 1].
    device : torch.device
        Of the network.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
        device: torch.device,
    ) -> None:
        self._pairs = pairs
        self._device = device
        self._noisy = float(np.mean([psnr(clean, noisy) for noisy, clean in pairs]))

    def score(self, network: Network) -> dict[str, float]:
        """Return ``psnr`` (dB), ``ssim`` and, of the noisy pictures, ``psnr_noisy``."""
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
        return {
            "psnr": float(np.mean(psnrs)),
            "ssim": float(np.mean(ssims)),
            "psnr_noisy": self._noisy,
        }

    def rate(self, score: dict[str, float]) -> float:
        """Return the PSNR, negated."""
        return -score["psnr"]


@torch.no_grad()
def denoise_picture(
    network: Network, picture: NDArray[np.float32], device: torch.device
) -> NDArray[np.float32]:
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
    y = network.denoise(x)[0].clamp(0, 1)
    result: NDArray[np.float32] = y.permute(1, 2, 0).float().cpu().numpy()
    return result


def to_device(batch: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """Move (B, 3, H, W) to a device, with channels last in memory."""
    return torch.from_numpy(batch).to(device).contiguous(memory_format=torch.channels_last)


def psnr(clean: NDArray[np.float32], picture: NDArray[np.float32]) -> float:
    """Return the PSNR in dB of pictures in [0, 1]; 100 for equal ones."""
    if np.array_equal(clean, picture):
        return 100.0
    value = peak_signal_noise_ratio(clean, picture, data_range=1.0)  # type: ignore[no-untyped-call]
    return float(value)
