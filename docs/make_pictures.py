"""Make the pictures of the README and docs: a noisy sample photo, before and after, crops.

Run it from the top of the checkout: ``python docs/make_pictures.py``. The photo is "coffee"
by Rachel Michetti (CC0), which scikit-image ships. Its noise is made the way a camera makes it:
photons and readout on a Bayer mosaic in linear light, then demosaicing, gamma and JPEG. The crops
are of ``ssbsn eval --dataset demo``. The last picture takes minutes of adapting; it shows
"chelsea" by Stefan van der Walt (CC0), also from scikit-image.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from typer.testing import CliRunner

from ssbsn_cli import load_denoiser
from ssbsn_cli.cli.app import app
from ssbsn_cli.core.evaluation.datasets.added_noise import open_demo
from ssbsn_cli.core.noise.spec import NamedNoise
from ssbsn_cli.core.types import from_unit, to_unit

DOCS = Path(__file__).parent
PHOTONS_AT_WHITE = 60.0
READ_NOISE = 0.012
CROPS = ("astronaut_weak", "chelsea_medium", "coffee_strong", "rocket_strong")
SIDE = 200
# The noise to adapt to, for how many minutes, and what is shown.
ADAPT_TO, MINUTES = "soft:40", "4"
SHOWN = np.s_[80:300, 190:410]


def add_camera_noise(rgb, seed=0):
    """Return a (H, W, 3) uint8 photo as a camera at high ISO would have taken it."""
    rng = np.random.default_rng(seed)
    linear = (rgb / 255.0) ** 2.2
    rows, columns = np.indices(rgb.shape[:2]) % 2
    bayer = np.take_along_axis(linear, (rows + columns)[..., None], axis=2)[..., 0]
    bayer = rng.poisson(bayer * PHOTONS_AT_WHITE) / PHOTONS_AT_WHITE
    bayer = bayer + rng.normal(0, READ_NOISE, bayer.shape)
    raw = np.rint(np.clip(bayer, 0, 1) * 65535).astype(np.uint16)
    demosaiced = cv2.cvtColor(raw, cv2.COLOR_BayerRGGB2RGB) / 65535.0
    return np.rint(demosaiced ** (1 / 2.2) * 255).astype(np.uint8)


def crops():
    """Return rows of crops: before, after `photo`, after `ssbsn-photo`, and without noise.

    The last row has no noise to begin with.
    """
    networks = [load_denoiser(name) for name in ("photo", "ssbsn-photo")]
    samples = {sample.name: sample for sample in open_demo()}
    pairs = [(samples[name].noisy, samples[name].references[0]) for name in CROPS]
    pairs.append((pairs[1][1], pairs[1][1]))
    rows = []
    for noisy, clean in pairs:
        pictures = [noisy, *(network(noisy) for network in networks), clean]
        rows.append(np.hstack([picture[-SIDE:, :SIDE] for picture in pictures]))
    return np.vstack(rows)


def denoise(*options):
    """Run ``ssbsn denoise``."""
    result = CliRunner().invoke(app, ["denoise", *map(str, options)])
    if result.exit_code:
        raise SystemExit(result.output)


def adapting():
    """Return crops of a noisy photo, of the default result, and of the adapted weights' result."""
    noisy, _ = NamedNoise(ADAPT_TO).pair(to_unit(skimage.data.chelsea()), np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("noisy.png", "default.png", "adapted.png")]
        before, default, adapted = paths
        cv2.imwrite(str(before), from_unit(noisy, np.dtype(np.uint8))[..., ::-1])
        denoise(before, "-o", default)
        denoise(before, "-o", adapted, "--adapt", MINUTES)
        return np.hstack([cv2.imread(str(path))[SHOWN] for path in paths])


def main():
    """Write docs/sample.jpg, before_after.jpg, crops.jpg and adapting.jpg."""
    clean = cv2.resize(skimage.data.coffee(), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    sample = DOCS / "sample.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    cv2.imwrite(str(sample), add_camera_noise(clean)[..., ::-1], quality)
    picture = DOCS / "before_after.png"
    denoise(sample, "-o", "-", "--compare", picture, "--overwrite")
    cv2.imwrite(str(picture.with_suffix(".jpg")), cv2.imread(str(picture)), quality)
    picture.unlink()
    cv2.imwrite(str(DOCS / "crops.jpg"), crops()[..., ::-1], quality)
    cv2.imwrite(str(DOCS / "adapting.jpg"), adapting(), quality)


if __name__ == "__main__":
    main()
