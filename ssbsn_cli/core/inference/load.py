"""From the name of weights to a denoiser."""

from __future__ import annotations

from typing import Any

from ssbsn_cli.core.imaging.photo import Pixels
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.settings import Settings
from ssbsn_cli.core.runtime.device import resolve_device
from ssbsn_cli.core.types import Notify
from ssbsn_cli.core.weights.locate import LoadedWeights, load_weights


def load_denoiser(
    weights: str | LoadedWeights | None = None,
    *,
    notify: Notify = lambda _: None,
    **settings: Any,
) -> Denoiser:
    """Load weights and make a denoiser, to be called on arrays.

    Parameters
    ----------
    weights : str or LoadedWeights, optional
        A name of ``ssbsn fetch-weights --list`` or a path; the default weights if not given.
    notify : callable, optional
        Told, in a sentence, what a user should know.
    **settings
        Fields of `Settings`: device, precision, attention, compile, refine, refine_passes, tile,
        overlap, ensemble, strength, seed.

    Raises
    ------
    OptionError
        If a setting makes no sense.
    WeightsError
        If the weights are missing or damaged.
    DeviceError
        If the device does not exist.
    """
    checked = Settings(**settings)
    # A missing device is noticed before the weights are read.
    resolve_device(checked.device)
    if not isinstance(weights, LoadedWeights):
        weights = load_weights(weights)
    return Denoiser(weights, checked, notify)


def denoise_image(image: Pixels, weights: str | None = None, **settings: Any) -> Pixels:
    """Denoise one image; for several, make a denoiser once with `load_denoiser`.

    See `Denoiser.__call__` for the image and the result, and `load_denoiser` for the rest.
    """
    return load_denoiser(weights, **settings)(image)
