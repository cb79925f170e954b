"""SS-BSN and AP-BSN as their papers describe them, and a U-Net: tensors in, tensors out."""

from ssbsn_cli.core.model.attention import exact_attention, linear_attention
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.pd import mirror_pad, pd_down, pd_up
from ssbsn_cli.core.model.refine import random_replacing_refinement, refine_once
from ssbsn_cli.core.model.ssbsn import SSBSN, BlindSpotNetwork
from ssbsn_cli.core.model.unet import UNet

__all__ = [
    "SSBSN",
    "BlindSpotNetwork",
    "Network",
    "UNet",
    "exact_attention",
    "linear_attention",
    "mirror_pad",
    "pd_down",
    "pd_up",
    "random_replacing_refinement",
    "refine_once",
]
