"""The built wheel works on its own, outside the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_registry_and_the_bundled_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "ssbsn_cli/weights.toml" in names
    assert "ssbsn_cli/py.typed" in names
    bundled = {path.name for path in (ROOT / "ssbsn_cli/core/weights/bundled").iterdir()}
    assert bundled
    assert bundled <= {Path(name).name for name in names}
    assert not [name for name in names if "test" in name]
    assert wheel.stat().st_size < 30e6


@pytest.fixture
def python(tmp_path):
    """Run Python where the package is the one in `site`."""
    noisy = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(tmp_path / "photo.png")

    def run(*arguments):
        site = str(tmp_path / "site")
        environment = {**os.environ, "PYTHONPATH": site, "SSBSN_CACHE": str(tmp_path)}
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return result.stdout

    return run


def test_the_wheel_denoises_outside_the_checkout(wheel, python, tmp_path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True)
    assert str(site) in python("-c", "import ssbsn_cli; print(ssbsn_cli.__file__)")
    record = json.loads(python("-m", "ssbsn_cli", "denoise", "photo.png", "--json"))
    assert record["output"] == "photo_denoised.png"
    assert (tmp_path / "photo_denoised.png").exists()
    assert "photo" in python("-m", "ssbsn_cli", "fetch-weights", "--list")


def test_weights_that_forbid_commercial_use_can_be_left_out(wheel, python, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    registry = site / "ssbsn_cli/weights.toml"
    head, *tables = re.split(r"^(?=\[[a-z])", registry.read_text(), flags=re.MULTILINE)
    kept = [table for table in tables if "commercial" not in table]
    assert len(kept) == len(tables) - 2
    registry.write_text("".join([head.replace('"photo"', '"photo-next"'), *kept]))
    for name in ("photo", "photo-white"):
        (site / f"ssbsn_cli/core/weights/bundled/{name}.safetensors").unlink()
    record = json.loads(python("-m", "ssbsn_cli", "denoise", "photo.png", "--json"))
    assert record["weights"]["name"] == "photo-next"
