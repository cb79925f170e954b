"""Call a network on tiles, which are converted from arrays to tensors and back."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssbsn_cli.core.errors import DeviceError
from ssbsn_cli.core.inference.settings import MIN_TILE, Settings
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.pd import mirror_pad
from ssbsn_cli.core.model.refine import eightfold
from ssbsn_cli.core.runtime.compiling import Compiler
from ssbsn_cli.core.runtime.convolution import use_channels_last, use_winograd
from ssbsn_cli.core.runtime.operations import winograd_is_fast
from ssbsn_cli.core.types import Notify, RefineKind


def prepare_network(
    network: Network, settings: Settings, device: torch.device, dtype: torch.dtype
) -> bool:
    """Move a network to its device, in the fastest form there.

    Returns
    -------
    bool
        Whether its convolutions use Winograd's algorithm.
    """
    network.use_attention(settings.attention)
    network.to(device).use_dtype(dtype)
    # Compilers do not know Winograd's algorithm.
    fitting = device.type == "cpu" and dtype == torch.float32 and settings.compile != "on"
    winograd = fitting and winograd_is_fast() and use_winograd(network)
    if not winograd:
        use_channels_last(network)
    return winograd


@dataclass
class Predictor:
    """A network on its device, to be called on tiles from any thread.

    Parameters
    ----------
    network : Network
        Takes and returns images in [0, 1]; already on its device.
    device : torch.device
        The network's device.
    refine, passes
        As for `Network.denoise`.
    ensemble : bool
        Whether to average the results of the eight flips and rotations.
    fall_back : bool
        Whether to continue in float32 if the network's precision is too low.
    winograd : bool
        Whether its convolutions use Winograd's algorithm, which needs channels first.
    compiler : Compiler, optional
        Of the network.
    notify : callable
        Called with sentences that a user should read.
    """

    network: Network
    device: torch.device
    refine: RefineKind = "none"
    passes: int | None = None
    ensemble: bool = False
    fall_back: bool = False
    winograd: bool = False
    compiler: Compiler | None = None
    notify: Notify = lambda _: None

    def __post_init__(self) -> None:
        self.fell_back = False
        self._lock = threading.Lock()

    def for_network(self, network: Network, settings: Settings, dtype: torch.dtype) -> Predictor:
        """Return one like this for another network, which is moved to the same device."""
        winograd = prepare_network(network, settings, self.device, dtype)
        return replace(self, network=network, winograd=winograd, compiler=None)

    def __call__(self, tiles: NDArray[np.float32], seed: int, pixels: float) -> NDArray[np.float32]:
        """Denoise tiles of one size.

        Parameters
        ----------
        tiles : array
            (N, h, w, C) with C = 1 or 3, white at 1.
        seed : int
            Of the network's random numbers.
        pixels : float
            The number of pixels in the whole image; if it is large, the network is compiled.

        Returns
        -------
        array
            Same shape, not clipped.

        Raises
        ------
        DeviceError
            If the precision is too low for the network's values.
        """
        x = torch.from_numpy(tiles).permute(0, 3, 1, 2).to(self.device)
        grey = x.shape[1] == 1
        height, width = x.shape[-2:]
        # With the zero pads of PD, sub-images of a few pixels would come out dark.
        x = mirror_pad(x, 0, max(MIN_TILE - width, 0), 0, max(MIN_TILE - height, 0))
        channels_first = self.winograd and torch.get_num_threads() == 1
        form = torch.contiguous_format if channels_first else torch.channels_last
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=form)
        with torch.inference_mode():
            y = self._views(x, seed, pixels)
            if not torch.isfinite(y).all():
                y = self._more_precisely(x, seed, pixels)
            for tile, result in zip(tiles, y, strict=True):
                if _is_grey(tile):
                    result[:] = result.mean(dim=0)
            if grey:
                y = y[:, :1]
            y = y[..., :height, :width]
            return y.permute(0, 2, 3, 1).cpu().contiguous().numpy()

    def _more_precisely(self, x: Tensor, seed: int, pixels: float) -> Tensor:
        """Repeat in float32, after an overflow in half precision."""
        with self._lock:
            if self.fall_back and not self.fell_back:
                self.fell_back = True
                # Other threads may still be using the old network.
                self.network = copy.deepcopy(self.network).float()
                self.notify("The network's values need more precision: continuing in fp32.")
        if self.fell_back:
            y = self._views(x, seed, pixels)
            if torch.isfinite(y).all():
                return y
        raise DeviceError(
            "The network's values are not finite.", "Use --precision fp32 or other --weights."
        )

    def _views(self, x: Tensor, seed: int, pixels: float) -> Tensor:
        if not self.ensemble:
            return self._pass(x, seed, pixels)

        def denoise(view: Tensor, k: int) -> Tensor:
            # The next numbers are the seeds of other tiles.
            own = np.random.SeedSequence((seed, k)).generate_state(1, np.uint64)[0]
            return self._pass(view, int(own >> np.uint64(1)) if k else seed, pixels)

        return eightfold(denoise, x)

    def _pass(self, x: Tensor, seed: int, pixels: float) -> Tensor:
        def denoise() -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            return self.network.denoise(
                x, refine=self.refine, passes=self.passes, generator=generator
            )

        return self.compiler.run(denoise, x.shape, pixels) if self.compiler else denoise()


def _is_grey(tile: NDArray[np.float32]) -> bool:
    """Return whether (h, w, C) is grey, also if it is stored as three equal channels."""
    # The first row tells most colours at once.
    return all((rows == rows[..., :1]).all() for rows in (tile[:1], tile))
