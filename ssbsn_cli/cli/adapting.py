"""``ssbsn denoise --adapt``: fine-tune the weights before they are used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import OptionError

if TYPE_CHECKING:
    from ssbsn_cli.core.inference.settings import Settings
    from ssbsn_cli.core.weights.locate import LoadedWeights

STREAM = "-"


def check_adapting(minutes: float | None, keep: Path | None, inputs: Sequence[str]) -> None:
    """Refuse options of adapting that make no sense.

    Raises
    ------
    OptionError
        They contradict each other or the inputs.
    """
    if keep and minutes is None:
        raise OptionError("--keep-adapted needs --adapt.", "Say for how many minutes to adapt.")
    if minutes is None:
        return
    if not 0 < minutes < math.inf:
        raise OptionError(
            f"Adapting for {minutes:g} minutes makes no sense.", "Give a number above 0."
        )
    if STREAM in inputs:
        raise OptionError("A photo from a pipe cannot be adapted to.", "Save it to a file first.")


def run_adapting(
    out: Output,
    photos: Sequence[Path],
    weights: str | None,
    minutes: float,
    settings: Settings,
    keep: Path | None,
) -> LoadedWeights:
    """Adapt weights to photos, see `adapt_weights`, and show how far it is."""
    from ssbsn_cli.core.training.adapt import adapt_weights

    with out.progress(counted=False) as progress:
        bar = progress.add_task("adapting", total=1)
        return adapt_weights(
            photos,
            weights,
            minutes,
            settings,
            keep,
            say=out.say,
            warn=out.warn,
            listen=lambda done: progress.update(bar, completed=done.progress),
        )
