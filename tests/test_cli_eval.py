"""``ssbsn eval`` as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from submission_files import read_dnd_submission, read_sidd_csv, read_sidd_mat
from test_evaluation_data import write_dnd
from typer.testing import CliRunner
from weights_files import tiny_checkpoint

from ssbsn_cli.cli.app import app
from ssbsn_cli.core.evaluation import runner as evaluation
from ssbsn_cli.core.evaluation.datasets import sidd


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pairs of two kinds, noisy photos, and small weights."""
    place = tmp_path_factory.mktemp("eval")
    rng = np.random.default_rng(0)
    for group in ("cats", "dogs"):
        for name in ("a", "b"):
            ramp = np.add.outer(np.arange(40), np.arange(44)) * 2.0
            clean = np.stack([ramp + 30, ramp + 40, ramp + 50], axis=2)
            noisy = clean + rng.normal(0, 12, clean.shape)
            for side, picture in (("noisy", noisy), ("clean", clean)):
                path = place / "sets" / group / side / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8)).save(path)
    tiny_checkpoint(place / "tiny.pth")
    (place / "circle").symlink_to("circle")
    os.mkfifo(place / "pipe")
    return place


def start(python, place, *arguments):
    words = [*python, "-m", "ssbsn_cli", "eval", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SSBSN_CACHE": str(place / "cache")}
    return subprocess.Popen(
        words,
        cwd=place,
        env=environment | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def run(place, forked):
    def call(*arguments, code=0):
        process = start(forked, place, *arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return out, err

    return call


PAIRS = ("--dataset", "pairs", "--data", "sets", "--weights", "tiny.pth")


def test_one_run_gives_one_table_of_networks_and_baselines(run):
    out, err = run(*PAIRS, "--baseline", "nlm", "--baseline", "wavelet", "--baseline", "tv")
    lines = [line for line in out.splitlines() if line.strip()]
    assert [line.split()[0] for line in lines if "images)" in line] == ["cats", "dogs", "all"]
    for title in ("noisy input", "OpenCV NLM", "wavelet", "TV", "tiny"):
        assert sum(title in line for line in lines) == 3
    assert "several references" in err
    assert "floor" in err
    assert "7x7" in err


def test_json_csv_and_table_agree(place, run):
    out, _ = run(*PAIRS, "--json", "--csv", "figures.csv", "--metric", "psnr")
    found = json.loads(out)
    with (place / "figures.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 2
    for group in ("cats", "dogs", ""):
        scores = [
            float(r["psnr"]) for r in rows if r["method"] == "tiny" and group in ("", r["group"])
        ]
        (row,) = (r for r in found["rows"] if (r["method"], r["group"]) == ("tiny", group))
        assert row["scores"]["psnr"] == pytest.approx(np.mean(scores))
    assert found["dataset"]["samples"] == 4
    assert found["methods"][1]["settings"]["weights"]["sha256"]
    assert set(found) == {
        "dataset", "protocol", "rounding", "metrics", "methods", "rows", "images", "machine",
    }  # fmt: skip


def test_the_demo_needs_nothing(run):
    out, _ = run(
        "--dataset", "demo", "--weights", "none", "--baseline", "nlm", "--limit", 2, "--json"
    )
    found = json.loads(out)
    assert [image["name"] for image in found["images"]] == ["astronaut_weak", "astronaut_medium"]
    assert [method["name"] for method in found["methods"]] == ["noisy", "nlm"]


def test_pictures_are_named_after_their_source_and_saved_again_only_if_asked(place, run):
    options = (*PAIRS, "--save-images", "results")
    run(*options)
    files = sorted(p.relative_to(place / "results").as_posix() for p in place.glob("results/*/*"))
    assert files == [f"tiny/{g}_noisy_{n}.png" for g in ("cats", "dogs") for n in ("a", "b")]
    path = place / "results" / files[0]
    content = path.read_bytes()
    run(*options)
    Image.new("RGB", (4, 4)).save(path)
    _, err = run(*options, code=1)
    assert "already exists" in err
    run(*options, "--overwrite")
    assert path.read_bytes() == content


def test_a_report_is_one_file(place, run):
    run(*PAIRS, "--report", "report.html")
    page = (place / "report.html").read_text()
    assert "cats_noisy_a" in page
    assert page.count("data:image/webp;base64,") == 4 * 3


def test_a_folder_needs_no_clean_photos(place, run):
    options = ("--dataset", "folder", "--data", "sets/cats/noisy", "--weights", "tiny.pth")
    out, _ = run(*options, "--report", "folder.html")
    assert "noise left" in out
    assert "PSNR" not in out
    assert (place / "folder.html").stat().st_size


def test_the_paper_protocol_is_what_it_says(run):
    out, _ = run(*PAIRS, "--protocol", "paper", "--json")
    settings = json.loads(out)["methods"][1]["settings"]
    set_by_it = {"tile": 0, "attention": "exact", "precision": "fp32", "detail": False}
    set_by_it |= {"own_size": False, "multiscale": False, "wiener": False}
    set_by_it |= {"white_noise": False, "impulses": False, "banding": False}
    assert settings | set_by_it == settings


def test_an_interrupted_evaluation_goes_on(place, forked, run, tmp_path):
    words = "--dataset demo --weights none --baseline wavelet --cache"
    options = (*words.split(), tmp_path)
    process = start(forked, place, *options)
    while len(list(tmp_path.rglob("*.npz"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(before) < 40
    run(*options)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(after) == 40
    assert before.items() <= after.items()


def test_added_noise_depends_on_seed_and_clipping(run):
    options = ("--dataset", "synthetic", "--data", "sets/cats/clean", "--noise", "white:80")

    def scores(*more):
        out, _ = run(*options, "--weights", "none", "--baseline", "tv", "--json", *more)
        rows = {row["method"]: row["scores"]["psnr"] for row in json.loads(out)["rows"]}
        return rows["noisy"], rows["tv"]

    first = scores()
    assert scores("--seed", 0) == first
    assert scores("--seed", 1)[0] != first[0]
    # Every picture is clipped before it is scored, but what a method gets is not.
    free = scores("--unclipped")
    assert free[0] == first[0]
    assert free[1] != first[1]


def test_without_a_cache_everything_is_computed_anew(place, run):
    options = ("--dataset", "pairs", "--data", "sets/dogs", "--weights", "none", "--baseline", "tv")
    run(*options)
    kept = list((place / "cache" / "eval").rglob("*.npz"))
    assert kept
    for path in kept:
        path.write_bytes(b"")
    run(*options, "--no-cache")
    assert all(path.read_bytes() == b"" for path in kept)


REFUSALS = {
    "unknown data set": (("--dataset", "sid-val"), "sidd-val", 2),
    "no data": (("--dataset", "sidd-val"), "ValidationGtBlocksSrgb.mat", 2),
    "unknown baseline": (("--dataset", "demo", "--baseline", "nml"), "nlm", 2),
    "all and some": (("--dataset", "demo", "--baseline", "all", "--baseline", "nlm"), "all", 2),
    "unknown weights": (("--dataset", "demo", "--weights", "x"), "no weights", 3),
    "unknown metric": (("--dataset", "demo", "--metric", "psn"), "psnr", 2),
    "limit": (("--dataset", "demo", "--limit", "0"), "limit", 2),
    "protocol": (("--dataset", "demo", "--protocol", "paper", "--tile", "64"), "--tile", 2),
    "none and some": (("--dataset", "demo", "--weights", "none", "--weights", "x"), "none", 2),
    "none and how": (("--dataset", "demo", "--weights", "none", "--ensemble"), "none", 2),
    "caches": (("--dataset", "demo", "--cache", "x", "--no-cache"), "--no-cache", 2),
    "csv exists": (("--dataset", "demo", "--csv", "tiny.pth"), "already exists", 2),
    "report over a photo": (("--dataset", "demo", "--report", "r.png"), "another name", 2),
    "overwrite nothing": (("--dataset", "demo", "--overwrite"), "--overwrite", 2),
    "report in no folder": (("--dataset", "demo", "--report", "no/r.html"), "Make the folder", 2),
    "report into a pipe": (
        ("--dataset", "demo", "--report", "pipe", "--overwrite"),
        "not a regular file",
        2,
    ),
    "one place twice": (
        ("--dataset", "demo", "--csv", "x.csv", "--save-images", "x.csv"),
        "one file",
        2,
    ),
    "pictures among the data": (
        ("--dataset", "folder", "--data", ".", "--save-images", "x"),
        "part of the data set",
        2,
    ),
    "pictures among the data, by a detour": (
        ("--dataset", "folder", "--data", "sets", "--save-images", "new/../sets/x"),
        "part of the data set",
        2,
    ),
    "a circular link": (
        ("--dataset", "folder", "--data", "circle", "--save-images", "x"),
        "does not exist",
        2,
    ),
    "no pictures": (
        ("--dataset", "demo", "--weights", "none", "--save-images", "x"),
        "baseline",
        2,
    ),
    "one file twice": (("--dataset", "demo", "--report", "r", "--csv", "r"), "one file", 2),
    "no submission": (("--dataset", "demo", "--submission", "s.csv"), "takes no submissions", 2),
    "device": (("--dataset", "demo", "--device", "cuda:99"), "--device auto", 3),
    "psnr of nothing": (
        ("--dataset", "folder", "--data", "sets/cats/noisy", "--metric", "psnr"),
        "clean photos",
        2,
    ),
    "fetch and data": (("--dataset", "cc15", "--data", "sets", "--fetch"), "--data", 2),
    "fetch and a wrong baseline": (
        ("--dataset", "cc15", "--fetch", "--baseline", "nml"),
        "nlm",
        2,
    ),
    "fetch and wrong weights": (
        ("--dataset", "cc15", "--fetch", "--weights", "x"),
        "no weights",
        3,
    ),
    "fetch and a wrong metric": (("--dataset", "cc15", "--fetch", "--metric", "x"), "psnr", 2),
    "noise elsewhere": (("--dataset", "demo", "--noise", "white:3"), "--dataset synthetic", 2),
    "synthetic without noise": (("--dataset", "synthetic", "--data", "."), "--noise", 2),
    "nothing to fetch": (("--dataset", "sidd-val", "--fetch"), "abdokamel.github.io", 2),
}


@pytest.fixture
def here(place, monkeypatch):
    """Run commands in this process, which saves the start of PyTorch."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("SSBSN_CACHE", str(place / "cache"))

    def call(*arguments):
        return CliRunner().invoke(app, ["eval", *map(str, arguments)])

    return call


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_says_what_to_do(place, here, name):
    arguments, expected, code = REFUSALS[name]
    before = sorted(place.iterdir())
    result = here(*arguments)
    assert result.exit_code == code, result.output
    assert expected in result.stderr
    assert "Error:" in result.stderr
    assert result.stdout == ""
    assert set(place.iterdir()) - set(before) <= {place / "cache"}


def test_a_broken_photo_is_named(place, here, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    result = here("--dataset", "folder", "--data", tmp_path, "--weights", "none")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr


# Submissions


@pytest.fixture
def small_sidd(tmp_path, monkeypatch):
    """SIDD's benchmark with fewer and smaller blocks."""
    shape = (3, 2, 16, 16, 3)
    monkeypatch.setattr(sidd, "SHAPE", shape)
    blocks = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    name = "BenchmarkNoisyBlocksSrgb"
    savemat(tmp_path / f"{name}.mat", {name: blocks})
    return tmp_path, blocks


@pytest.mark.parametrize("name", ["SubmitSrgb.csv", "SubmitSrgb.mat"])
def test_a_submission_to_sidd_holds_every_block(here, small_sidd, name):
    folder, blocks = small_sidd
    path = folder / name
    options = ("--dataset", "sidd-benchmark", "--data", folder, "--submission", path)
    result = here(*options, "--weights", "tiny.pth")
    assert result.exit_code == 0, result.output
    read = read_sidd_csv if path.suffix == ".csv" else read_sidd_mat
    assert (read(path, blocks.shape) != blocks).any()
    unchanged = here(*options, "--weights", "tiny.pth", "--strength", 0, "--overwrite")
    assert unchanged.exit_code == 0, unchanged.output
    np.testing.assert_array_equal(read(path, blocks.shape), blocks)


def test_submissions_that_could_not_be_complete_are_refused_at_once(here, small_sidd, monkeypatch):
    folder, _ = small_sidd
    monkeypatch.setattr(evaluation, "load_denoiser", pytest.fail)
    options = ("--dataset", "sidd-benchmark", "--data", folder)
    for more, expected in (
        (("--submission", folder / "s.txt"), ".csv"),
        (("--submission", folder / "s.csv", "--limit", 3), "whole data set"),
        (("--submission", folder / "s.csv", "--baseline", "nlm"), "one method"),
        (("--submission", folder / "s.csv", "--weights", "none"), "one method"),
    ):
        result = here(*options, *more)
        assert result.exit_code == 2, result.output
        assert expected in result.stderr


def test_a_submission_to_dnd_holds_every_crop(run, tmp_path):
    root = tmp_path / "dnd_2017"
    boxes = [[1, 1, 8 + (i % 3), 8] for i in range(20)]
    image = write_dnd(root, boxes)
    # An interrupted run leaves the folder behind.
    (tmp_path / "dnd.v2").mkdir()
    options = ("--dataset", "dnd", "--data", root, "--submission", tmp_path / "dnd.v2")
    run(*options, "--weights", "tiny.pth", "--strength", 0)
    assert len(list((tmp_path / "dnd.v2" / "crops").iterdir())) == 1000
    for crops in read_dnd_submission(tmp_path / "dnd.v2" / "bundled"):
        for crop, (_, _, bottom, right) in zip(crops, boxes, strict=True):
            np.testing.assert_allclose(crop, image[:bottom, :right], atol=1e-6)
