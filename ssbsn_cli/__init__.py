"""Remove noise from real photos with SS-BSN, a self-supervised blind-spot network.

References
----------
.. [1] Han & Yu, "SS-BSN: Attentive Blind-Spot Network for Self-Supervised Denoising with Nonlocal
   Self-Similarity", IJCAI 2023. https://arxiv.org/abs/2305.09890
"""

# Importing typing would take longer than everything else before signals are handled.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssbsn_cli.core.inference.denoiser import Denoiser as Denoiser
    from ssbsn_cli.core.inference.denoiser import denoise_image as denoise_image
    from ssbsn_cli.core.inference.denoiser import load_denoiser as load_denoiser

__version__ = "0.1.0"
__all__ = ["Denoiser", "__version__", "denoise_image", "load_denoiser"]


def __getattr__(name: str) -> "Any":
    # torch takes seconds to import, so this waits until something needs it.
    if name in {"Denoiser", "denoise_image", "load_denoiser"}:
        from ssbsn_cli.core.inference import denoiser

        return getattr(denoiser, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
