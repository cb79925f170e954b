"""The classical denoisers, by name. To add one, write its file and list its class here."""

from __future__ import annotations

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.baselines.bm3d import Bm3d
from ssbsn_cli.core.evaluation.baselines.classical import Classical
from ssbsn_cli.core.evaluation.baselines.nlm import Nlm
from ssbsn_cli.core.evaluation.baselines.tv import Tv
from ssbsn_cli.core.evaluation.baselines.wavelet import Wavelet
from ssbsn_cli.core.weights.registry import suggest

#: The denoisers that `open_baseline` knows.
BASELINES: dict[str, type[Classical]] = {each.name: each for each in (Nlm, Wavelet, Tv, Bm3d)}


def open_baseline(name: str) -> Classical:
    """Return a classical denoiser.

    Parameters
    ----------
    name : str
        One of `BASELINES`.

    Raises
    ------
    OptionError
        There is no such denoiser, or its library is not installed.
    """
    if name not in BASELINES:
        raise OptionError(f"There is no baseline called {name!r}.", suggest(name, BASELINES))
    return BASELINES[name]()
