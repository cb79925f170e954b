"""Every command and every Python snippet of the README and docs works as it stands."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from test_evaluation_data import write_dnd
from weights_files import Server, tiny_checkpoint, tiny_facts

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.inference import denoiser
from ssbsn_cli.core.weights.fetch import local_path
from ssbsn_cli.core.weights.registry import entries

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONTRIBUTING = ROOT / "docs" / "CONTRIBUTING.md"
INSTALLS = "python3 -m venv"
# What is adapted holds crops of 120 pixels, what is taught from windows of 256, and what is halved
# first, crops of 160.
PHOTOS = {
    "photo.png": 20,
    "photo.jpg": 20,
    "photos/a.png": 20,
    "photos/b.jpg": 20,
    "photos/sub/c.png": 122,
    "my_photos/a.png": 122,
    "clean_photos/a.png": 324,
    "bsds500/a.png": 324,
    "urban100/a.png": 324,
    "polyu/mean/a.png": 324,
    "polyu/noisy/a.png": 260,
    "renoir/a.png": 260,
    "noisy/a.png": 260,
    "dev/cc15/noisy/a.png": 20,
    "dev/cc15/clean/a.png": 20,
    "pairs/noisy/a.png": 20,
    "pairs/clean/a.png": 20,
    "SIDD_Medium/SIDD_Medium_Srgb/Data/0001_001_S6/0001_NOISY_SRGB_010.PNG": 122,
    "SIDD_Medium/SIDD_Medium_Srgb/Data/0001_001_S6/0001_GT_SRGB_010.PNG": 122,
}
# SIDD's files, whose blocks are smaller here.
SIDD = ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb", "BenchmarkNoisyBlocksSrgb")
BLOCKS = 40, 32, 16, 16, 3
START = f"""
from ssbsn_cli.core.evaluation.datasets import sidd
sidd.SHAPE = {BLOCKS}
from ssbsn_cli.__main__ import main
main()
"""
# Trainings end after a small step instead of hours, and evaluations after an image. Submissions
# have to be complete, so little is computed for them.
SHIM = """#!{start[0]}
import os, sys
words = sys.argv[1:]
if "train" in words and "--report" not in words:
    if "--max-minutes" in words:
        at = words.index("--max-minutes")
        del words[at : at + 2]
    words = ["parts.count=2" if word.startswith("parts.count=") else word for word in words]
    words += ["--steps", "1", "--batch-size", "2"]
    # Multiples of what the U-Net and SS-BSN need.
    words += ["--crop", "48" if "photo" in words else "40"]
    words += ["--set", "training.validation_crops=1", "--set", "parts.side=64"]
if "--adapt" in words:
    words[words.index("--adapt") + 1] = "0.01"
if "eval" in words:
    whole = ["--strength", "0", "--metric", "change"]
    words += whole if "--submission" in words else ["--limit", "1"]
    words += ["--no-cache"]
    # Several commands of the page may write the same file.
    if set(words).intersection(("--report", "--csv", "--save-images", "--submission")):
        words += ["--overwrite"]
os.execv("{start[0]}", {start} + words)
"""
# A stand-in for BM3D, which takes 20 s and has tests of its own.
BM3D = """
class BM3DProfile:
    pass


def bm3d_rgb(image, *_):
    return image.copy()
"""
# Stand-ins for what starts commands on many machines: they start all of them here.
STARTERS = {
    "srun": """#!/bin/bash -e
test "$1" = --ntasks
export SLURM_NTASKS=$2
shift 2
for ((id = 0; id < SLURM_NTASKS; id++)); do SLURM_PROCID=$id "$@"; done
""",
    "sbatch": """#!/bin/bash -e
read -r first last < <(sed -n 's/^#SBATCH --array=\\([0-9]*\\)-\\([0-9]*\\)$/\\1 \\2/p' "$1")
for ((id = first; id <= last; id++)); do SLURM_ARRAY_TASK_ID=$id sh "$1"; done
""",
    "parallel": """#!/bin/bash -e
while [ "$1" != ::: ]; do command+=("$1"); shift; done
shift
for value; do "${command[@]//\\{\\}/$value}"; done
""",
}


def blocks(language, pages=PAGES):
    """Return each fenced block of that language as a test parameter.

    A block without a new line is left out.
    """
    fence = re.compile(rf"^ *```{language}\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    found, known = [], set()
    for page in pages:
        for number, block in enumerate(fence.findall(page.read_text())):
            lines = {line.split(" # ")[0].strip() for line in block.splitlines()}
            if lines - known:
                found.append(pytest.param(block, id=f"{page.stem}-{number}"))
            known |= lines
    return found


def before(block):
    """Return what an earlier block has done: the run that this block continues."""
    if "--out run --resume" in block or "--report run" in block:
        return "ssbsn train --data my_photos/ --config small --out run"
    return ""


@pytest.fixture(scope="session")
def benchmarks(tmp_path_factory):
    """Folders of SIDD and DND, the real layout with little in it."""
    sidd, dnd = (tmp_path_factory.mktemp(name) for name in ("SIDD", "dnd_2017"))
    for name in SIDD:
        savemat(sidd / f"{name}.mat", {name: np.zeros(BLOCKS, np.uint8)})
    write_dnd(dnd, [[1, 1, 8, 8]] * 20)
    return {"SIDD": sidd, "dnd_2017": dnd, "cache/datasets/sidd-val": sidd}


@pytest.fixture
def world(request, tmp_path, monkeypatch, forked, worker):
    """A user's home with photos, and a server that publishes the named weights."""
    teacher = "--distill-from" in request.node.callspec.params["block"]
    for name, size in PHOTOS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if teacher and name == "my_photos/a.png":
            size = 260
        noise = np.random.default_rng(len(name)).integers(0, 128, (size, size + 5, 3), np.uint8)
        # Not white, or two networks would denoise it.
        Image.fromarray(noise[:, 1:] + noise[:, :-1]).save(path)
    if "ssbsn eval" in request.node.callspec.params["block"]:
        (tmp_path / "cache" / "datasets").mkdir(parents=True)
        for name, folder in request.getfixturevalue("benchmarks").items():
            (tmp_path / name).symlink_to(folder)
    (tmp_path / "bm3d.py").write_text(BM3D)
    (tmp_path / "bin").mkdir()
    starts = {
        "ssbsn": [*forked, "-c", START],
        "torchrun": [*forked, "-m", "torch.distributed.run"],
        # It is killed.
        "dask": [sys.executable, "-m", "dask"],
    }
    for name, start in starts.items():
        shim = tmp_path / "bin" / name
        shim.write_text(SHIM.format(start=start))
        shim.chmod(0o755)
    for name, script in STARTERS.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)

    downloads = tmp_path / "Downloads"
    downloads.mkdir()
    weights = tiny_checkpoint(downloads / "SSBSN_SIDD.pth")
    with Server().running() as server:
        server.answers["/weights"] = weights.read_bytes()
        lines = []
        for name, entry in entries().items():
            if not entry.bundled:
                facts = tiny_facts(filename=entry.filename, urls=[server.url("/weights")])
                lines += [f"[{name}]", *(f"{key} = {value!r}" for key, value in facts.items())]
        (tmp_path / "registry.toml").write_text("\n".join(lines))
        environment = {
            "HOME": tmp_path,
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": 1,
            "PYTHON_EXEC": worker,
            "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": ROOT,
            "SSBSN_CACHE": tmp_path / "cache",
            "SSBSN_WEIGHTS_TOML": tmp_path / "registry.toml",
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, str(value))
        monkeypatch.chdir(tmp_path)
        yield tmp_path


@pytest.mark.skipif(shutil.which("bash") is None, reason="the docs speak to a Unix shell")
@pytest.mark.parametrize("block", blocks("sh", [page for page in PAGES if page != CONTRIBUTING]))
def test_commands_work(world, block):
    if block.startswith(INSTALLS):
        assert "run_readme" in (ROOT / ".ci" / "run").read_text()
        return
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{before(block)}\n{block}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "--device cuda" in block and not torch.cuda.is_available():
        assert result.returncode == 3
        assert "CUDA" in result.stderr
    else:
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("block", blocks("sh", [CONTRIBUTING]))
def test_commands_for_developers_name_what_exists(block):
    # They take minutes or change the checkout, so only what they name is checked.
    for line in block.splitlines():
        if line.startswith(INSTALLS):
            assert line in (ROOT / "README.md").read_text().splitlines()
            continue
        command, *words = shlex.split(line)
        tool = command.removeprefix(".venv/bin/")
        assert (ROOT / command).exists() or Path(sys.executable).with_name(tool).exists()
        for word in words:
            assert "/" not in word or (ROOT / word).exists()
        if words[:1] == ["-m"]:
            assert find_spec(words[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:ssbsn_cli|tests|docs|\.github|\.ci)/[\w./-]+)`", page.read_text())
    missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("block", blocks("python"))
def test_snippets_work(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "next").mkdir()
    for name in ("before.safetensors", "next/weights.safetensors"):
        shutil.copy(local_path(entries()["photo"]), name)
    noisy = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    names = {"noisy": noisy}
    exec(block, names)
    clean = names["clean"] if "clean" in names else load_denoiser("mean.safetensors")(noisy)
    assert clean.shape == noisy.shape


def test_examples_in_docstrings_work():
    result = doctest.testmod(denoiser)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for link, section in links:
        there = page.parent / link if link else page
        assert there.exists(), link
        assert not section or section in sections(there), f"{link}#{section}"


def sections(page):
    titles = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
