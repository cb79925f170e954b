"""The targets of distillation: a teacher's results on noisy photos, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.data.sampler import CropSampler, TooSmallError
from ssbsn_cli.core.data.store import CropCache
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.imaging import Photo, encode_photo
from ssbsn_cli.core.inference.denoiser import Denoiser
from ssbsn_cli.core.inference.settings import UNCHANGING, Settings
from ssbsn_cli.core.runtime.storage import short_digest, write_atomically
from ssbsn_cli.core.runtime.temporary import locked
from ssbsn_cli.core.training.config import Config
from ssbsn_cli.core.types import Notify, count_of, from_unit
from ssbsn_cli.core.weights.locate import load_weights

_SEED = 2**64 - 2


def teach(
    caches: Sequence[CropCache],
    shares: Sequence[float],
    config: Config,
    folder: Path,
    device: str,
    notify: Notify,
) -> Path:
    """Let a teacher denoise parts of noisy photos, or reuse its earlier results in a folder.

    The photos are given as for `CropSampler`. After an interruption, only missing parts are added.

    Returns
    -------
    Path
        A folder of pairs with 16 bits per channel.

    Raises
    ------
    OptionError
        No teacher is named, or no photo is large enough.
    """
    distill, parts = config.distill, config.parts
    if not distill.teacher:
        raise OptionError(
            "Distillation needs a teacher.", "Name its weights with --distill-from NAME|PATH."
        )
    teacher = load_weights(distill.teacher)
    side = max(parts.side, config.training.crop)
    keys = [(each.content, share) for each, share in zip(caches, shares, strict=True)]
    key = short_digest((teacher.digest, distill.refine, side, keys))
    pairs = folder / f"taught-{key}"
    try:
        crops = CropSampler(caches, shares, side, Batching(1, _SEED))
    except TooSmallError as error:
        raise OptionError(
            str(error), "Lower --set parts.side=N and --crop, or add larger photos."
        ) from None
    wait = f"Waiting for another process, whose teacher writes to {pairs}."
    with locked(pairs, lambda: notify(wait)):
        for each in (pairs, pairs / "noisy", pairs / "clean"):
            if each.is_symlink():
                raise OptionError(
                    f"{each} is a link, and nothing is written to where it leads.",
                    "Remove it, or name another place with --cache.",
                )
            each.mkdir(exist_ok=True)
        missing = [n for n in range(parts.count) if not _place(pairs, "clean", n).exists()]
        if not missing:
            count = count_of(parts.count, "part")
            notify(f"Reused {distill.teacher}'s results for {count} of the photos.")
            return pairs
        count = count_of(len(missing), "part")
        notify(f"{distill.teacher} denoises {count} of the photos into {pairs}.")
        settings = Settings(device=device, refine=distill.refine, **UNCHANGING)
        denoiser = Denoiser(teacher, settings)
        for number in missing:
            noisy = np.ascontiguousarray(crops.batch(number)[0].transpose(1, 2, 0))
            # The noisy side is written first, so that a pair with a clean side is complete.
            _write(_place(pairs, "noisy", number), noisy)
            _write(_place(pairs, "clean", number), denoiser(noisy))
    return pairs


def _place(pairs: Path, side: str, number: int) -> Path:
    return pairs / side / f"{number:06d}.png"


def _write(path: Path, picture: NDArray[np.float32]) -> None:
    write_atomically(path, encode_photo(Photo(from_unit(picture, np.dtype(np.uint16))), "png"))
