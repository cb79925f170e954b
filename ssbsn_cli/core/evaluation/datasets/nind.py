"""The Natural Image Noise Dataset: scenes taken at several ISOs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssbsn_cli.core.data.layouts import absolute, survey
from ssbsn_cli.core.data.pairs import find_pairs
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.datasets.folder import Files, Photos

NEEDS = (
    "Give --data a folder of files such as NIND_scene_ISO200.jpg and NIND_scene_ISO6400.jpg, at "
    "least two ISOs of a scene, from "
    "https://commons.wikimedia.org/wiki/Natural_Image_Noise_Dataset."
)


def open_nind(data: Sequence[Path]) -> Photos:
    """Open NIND: every photo but those of the lowest ISO, which are the references.

    Parameters
    ----------
    data : sequence of Path
        Folders that hold whole scenes.

    Raises
    ------
    OptionError
        A folder holds something else, or only one ISO of each scene.

    References
    ----------
    .. [1] B. Brummer and C. De Vleeschouwer, "Natural Image Noise Dataset", CVPR Workshops 2019.
    """
    files: list[Files] = []
    for path in data:
        if not path.is_dir():
            raise OptionError(f"There is no folder {path}.", NEEDS)
        if survey(path)[0] != "nind":
            raise OptionError(f"There are no photos of NIND in {path}.", NEEDS)
        root = absolute(path)
        files += [Files(root, pair.noisy, (pair.clean,)) for pair in find_pairs(path)]
    protocol = "Every photo as a whole against the one of its scene at the lowest ISO."
    return Photos("nind", "NIND", protocol, tuple(files))
