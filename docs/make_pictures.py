"""Make the pictures of the README: a noisy sample photo, and before and after.

Run it from the top of the checkout: ``python docs/make_pictures.py``. The photograph is "coffee"
by Rachel Michetti (CC0), which scikit-image ships. Its noise is made the way a camera makes it:
photons and readout on a Bayer mosaic in linear light, then demosaicing, gamma and JPEG.
"""

from pathlib import Path

import cv2
import numpy as np
import skimage.data
from typer.testing import CliRunner

from ssbsn_cli.cli.app import app

DOCS = Path(__file__).parent
PHOTONS_AT_WHITE = 60.0
READ_NOISE = 0.012


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


def main():
    """Write docs/sample.jpg and docs/before_after.jpg."""
    clean = cv2.resize(skimage.data.coffee(), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    sample = DOCS / "sample.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    cv2.imwrite(str(sample), add_camera_noise(clean)[..., ::-1], quality)
    picture = DOCS / "before_after.png"
    result = CliRunner().invoke(
        app, ["denoise", str(sample), "-o", "-", "--compare", str(picture), "--overwrite"]
    )
    if result.exit_code:
        raise SystemExit(result.output)
    cv2.imwrite(str(picture.with_suffix(".jpg")), cv2.imread(str(picture)), quality)
    picture.unlink()


if __name__ == "__main__":
    main()
