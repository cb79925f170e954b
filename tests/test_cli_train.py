"""``ssbsn train`` and ``ssbsn denoise --adapt`` as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from test_data import save
from test_training import wait_for_step
from training_runs import Tiny, assert_same, losses, state

import ssbsn_cli
from ssbsn_cli.core.weights.checkpoints import load_checkpoint
from ssbsn_cli.core.weights.locate import load_weights, others_when_adapted

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
# Adapting to small crops, with few to score on.
SMALL = ("--batch-size", "2", "--crop", "48", "--set", "training.validation_crops=2")
ADAPT = ("--config", "adapt", *SMALL)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, forked):
    return Tiny(tmp_path_factory.mktemp("train"), forked)


@pytest.fixture(scope="module")
def run(tiny):
    """A finished run, and what the command said."""
    result = tiny.ssbsn(
        "train", "--data", tiny.photos, "--config", tiny.config, "--out", "run", "--json"
    )
    assert result.returncode == 0, result.stderr
    return tiny.place / "run", result


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.toml", "mine"),
        ("data.json", '{"mine": 1}'),
        ("data.json", "1"),
        ("weights.md", "mine"),
        ("checkpoints/a.safetensors", "mine"),
    ],
)
def test_a_folder_of_other_files_is_no_place_for_a_run(tiny, name, content):
    mine = tiny.place / "mine" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text(content)
    result = tiny.ssbsn("train", "--data", tiny.photos, "--config", tiny.config, "--out", "mine")
    assert result.returncode == 2
    assert f"{name} is not part of a training run" in result.stderr
    assert [path for path in mine.parent.iterdir() if path.is_file()] == [mine]
    assert mine.read_text() == content
    shutil.rmtree(tiny.place / "mine")


def test_photos_are_not_hidden_by_a_run_among_them(tiny):
    result = tiny.ssbsn(
        "train", "--data", tiny.photos, "--config", tiny.config, "--out", tiny.photos
    )
    assert result.returncode == 2
    assert "folder of the photos" in result.stderr


@pytest.mark.parametrize("lost", ["config.toml", "data.json"])
def test_a_run_that_has_lost_a_file_says_how_to_start_another(tiny, run, lost):
    place = tiny.place / f"without-{lost}"
    shutil.copytree(run[0], place)
    (place / lost).unlink()
    result = tiny.ssbsn("train", "--out", place, "--resume", "--data", tiny.photos)
    assert result.returncode == 2
    assert f"{lost}, so it cannot go on" in result.stderr
    assert f"--init {place}" in result.stderr


def test_a_run_leaves_weights_a_card_and_all_that_it_was(run):
    directory, result = run
    assert "3 noisy photos" in result.stderr
    names = {path.name for path in directory.iterdir()}
    assert names == {
        "checkpoints", "config.toml", "data.json", "metrics.jsonl", "previews", "state.pt",
        "weights.md", "weights.safetensors",
    }  # fmt: skip
    card = (directory / "weights.md").read_text()
    assert "channels = 16" in card
    assert str(directory.name) in card


def test_json_tells_the_start_the_scores_and_the_end(run):
    records = [json.loads(line) for line in run[1].stdout.splitlines()]
    assert [record["event"] for record in records] == ["start", "validation", "validation", "done"]
    assert records[0]["steps"] == 6
    assert records[-1]["weights"].endswith("weights.safetensors")


def test_a_finished_run_says_so(tiny, run):
    result = tiny.ssbsn("train", "--out", "run", "--resume", "--steps", 6)
    assert result.returncode == 0, result.stderr
    assert "It is finished" in result.stderr


def test_denoise_takes_the_run(tiny, run):
    result = tiny.ssbsn("denoise", "photos/photo0.png", "-o", "clean.png", "--weights", "run")
    assert result.returncode == 0, result.stderr
    assert (tiny.place / "clean.png").exists()


def test_a_report_is_drawn(tiny, run):
    result = tiny.ssbsn("train", "--report", "run")
    assert result.returncode == 0, result.stderr
    assert "<svg" in (tiny.place / result.stdout.strip()).read_text()
    assert tiny.ssbsn("train", "--report", "photos").returncode == 2


def test_wrong_use_ends_with_two_and_says_why(tiny, run):
    for arguments, said in (
        (["--data", tiny.photos, "--config", tiny.config, "--out", "run"], "holds a training run"),
        (["--config", tiny.config, "--out", "new"], "--data"),
        (["--data", "nowhere", "--config", tiny.config, "--out", "new"], "nowhere"),
        (["--data", tiny.photos, "--config", "smal", "--out", "new"], "smal"),
        (["--data", tiny.photos, "--steps", 3, "--epochs", 3], "contradict"),
        (["--data", tiny.photos, "--set", "training.colour=1"], "training.colour"),
        (["--data", tiny.photos, "--batch-size", 0], "training.batch_size"),
        (["--report", "run", "--steps", 3], "no other options"),
        (["--out", "new", "--resume"], "no run new to resume"),
        (
            [
                "--data",
                tiny.photos,
                "--config",
                tiny.config,
                "--out",
                "new",
                "--val-data",
                tiny.photos,
            ],
            "no pairs",
        ),
    ):
        result = tiny.ssbsn("train", *arguments)
        assert result.returncode == 2, result.stderr
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert not (tiny.place / "new").exists()


def test_a_missing_gpu_is_an_error(tiny):
    result = tiny.ssbsn(
        "train", "--data", tiny.photos, "--config", tiny.config, "--device", "cuda:7"
    )
    assert result.returncode == 3
    assert "CUDA" in result.stderr or "cuda" in result.stderr


@pytest.mark.parametrize(
    ("length", "value"), [("steps", 1), ("epochs", 0.001), ("max_minutes", 0.001)]
)
def test_every_option_reaches_the_configuration(tiny, length, value):
    asked = {
        "batch_size": 1, "crop": 25, "seed": 7, "precision": "bf16", "compile": "off",
        "device": "cpu", length: value,
    }  # fmt: skip
    run = f"with-{length}"
    words = [word for key, v in asked.items() for word in (f"--{key.replace('_', '-')}", v)]
    done = tiny.ssbsn(
        "train", "--data", "photos", "--config", tiny.config, "--out", run, "--lr", 0.002, *words
    )
    assert done.returncode == 0, done.stderr
    found = tomllib.loads((tiny.place / run / "config.toml").read_text())
    assert asked.items() <= found["training"].items()
    assert len({"steps", "epochs", "max_minutes"} & set(found["training"])) == 1
    assert found["optimizer"]["learning_rate"] == 0.002


def test_denoise_adapts_and_keeps_only_what_is_asked_for(tiny, run):
    arguments = ["denoise", "photos", "--weights", "run", "--adapt", "0.02"]
    small = tiny.ssbsn(*arguments, "-o", "small")
    # The photos are smaller than the crops of this configuration.
    assert small.returncode == 0, small.stderr
    assert "Adapting was given up. No photo is as large as the crops, 120x120" in small.stderr
    assert len(list((tiny.place / "small").iterdir())) == 3

    large = tiny.place / "large"
    large.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (250, 130, 3), dtype=np.uint8)
    cv2.imwrite(str(large / "a.png"), pixels)
    arguments[1] = "large"
    result = tiny.ssbsn(*arguments, "-o", "adapted", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["weights"]["name"] == "run, adapted"
    assert [path.name for path in (tiny.place / "adapted").iterdir()] == ["a.png"]
    kept = tiny.ssbsn(*arguments, "-o", "kept", "--keep-adapted", "mine")
    assert kept.returncode == 0, kept.stderr
    assert tiny.ssbsn("denoise", "large/a.png", "-o", "x.png", "--weights", "mine").returncode == 0
    again = tiny.ssbsn(*arguments, "-o", "again", "--keep-adapted", "mine")
    assert again.returncode == 2
    assert "--skip-existing" in again.stderr
    assert not (tiny.place / "again").exists()
    # As after a kill: the same command with --skip-existing continues from the existing results.
    (tiny.place / "kept" / "a.png").unlink()
    arguments += ["-o", "kept", "--keep-adapted", "mine", "--skip-existing"]
    rest = tiny.ssbsn(*arguments)
    assert rest.returncode == 0, rest.stderr
    assert "Going on after step" in rest.stderr
    assert [path.name for path in (tiny.place / "kept").iterdir()] == ["a.png"]
    foreign = tiny.ssbsn(*arguments[:6], "-o", "c", "--keep-adapted", "large")
    assert foreign.returncode == 2
    assert "folder of the photos" in foreign.stderr
    assert [path.name for path in large.iterdir()] == ["a.png"]
    cv2.imwrite(str(large / "b.png"), pixels)
    other = tiny.ssbsn(*arguments)
    assert other.returncode == 2
    assert "other photos than" in other.stderr


@pytest.mark.slow
def test_the_default_weights_adapt_to_noisy_photos(tiny):
    noisy = np.random.default_rng(0).normal(120, 12, (192, 192, 3))
    save(tiny.place / "grainy/a.png", np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    arguments = ("denoise", "grainy/a.png", "--adapt", "0.05", "-o", "b.png", "--json")
    result = tiny.ssbsn(*arguments, "--keep-adapted", "own")
    assert result.returncode == 0, result.stderr
    assert "the noise of 1 photo" in result.stderr
    # The network must see the noise that it learned, also in enlarged photos.
    assert json.loads(result.stdout)["own_size"] is False
    assert cv2.imread(str(tiny.place / "b.png")).std() < 4
    # Weights that leave more blotches of colour than before would be refused.
    records = map(json.loads, (tiny.place / "own/metrics.jsonl").read_text().splitlines())
    scores = [each for each in records if each["event"] == "validation"]
    assert scores
    assert all("blotches" in each for each in scores)
    (measured,) = json.loads((tiny.place / "own/data.json").read_text())["noise"]["photos"]
    assert measured["input"].endswith("a.png")
    assert measured["noise"]["deviations"]["red"][0] == pytest.approx([120, 12], rel=0.1)
    trained = tiny.ssbsn("train", *ADAPT, "--data", "grainy", "--steps", "2", "--out", "as_said")
    assert trained.returncode == 0, trained.stderr
    settings = [(tiny.place / run / "config.toml").read_text() for run in ("own", "as_said")]
    assert all("own = 1.0" in text for text in settings)


def test_more_of_the_original_weights_stays_where_the_noise_is_milder(tiny):
    noisy = np.random.default_rng(0).normal(120, 4, (192, 192, 3))
    save(tiny.place / "mild/a.png", np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    arguments = ("train", *ADAPT, "--set", "training.half=false", "--out", "half")
    result = tiny.ssbsn(*arguments, "--data", "mild", "--steps", "3")
    assert result.returncode == 0, result.stderr
    more = tiny.ssbsn(*arguments, "--steps", "6", "--resume")
    assert more.returncode == 0, more.stderr
    trust = json.loads((tiny.place / "half/data.json").read_text())["noise"]["trust"]
    assert 0.3 < trust < 0.8
    last = sorted((tiny.place / "half/checkpoints").iterdir())[-1]
    network, descriptor = load_checkpoint(last)
    found, trained = network.state_dict(), state(tiny.place / "half")["average"]
    for name, original in load_weights("photo").network.state_dict().items():
        torch.testing.assert_close(found[name], original.lerp(trained[name], trust))
        assert (found[name] != original).any()
    # At smaller sizes, where they have learned nothing, the original weights go on.
    assert descriptor.coarse == others_when_adapted(str(last))[0] == "photo"


@pytest.mark.slow
def test_the_second_round_denoises_by_the_first_and_can_be_interrupted_between_the_two(tiny):
    noisy = np.random.default_rng(0).normal(120, 12, (192, 192, 3))
    save(tiny.place / "rounds/a.png", np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    arguments = ("train", *ADAPT, "--steps", "4")
    rounded = tiny.ssbsn(*arguments, "--data", "rounds", "--out", "rounded")
    assert rounded.returncode == 0, rounded.stderr
    first, second = tiny.place / "rounded/round-1", tiny.place / "rounded"
    assert state(first)["step"] == state(second)["step"] == 2
    denoisers = [
        json.loads((run / "data.json").read_text())["request"]["denoise_with"]
        for run in (first, second)
    ]
    assert denoisers == [None, "rounded/round-1/weights.safetensors"]

    shutil.copytree(first, tiny.place / "halted/round-1")
    refused = tiny.ssbsn(*arguments, "--data", "rounds", "--out", "halted")
    assert refused.returncode == 2
    assert "already holds a training run" in refused.stderr
    resumed = tiny.ssbsn("train", "--out", "halted", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(state(tiny.place / "halted")["network"], state(second)["network"])

    others = Path(ssbsn_cli.__file__).parent / "core/weights/bundled/photo-next.safetensors"
    shutil.copy(others, tiny.place / "halted/round-1/weights.safetensors")
    changed = tiny.ssbsn("train", "--out", "halted", "--resume", "--steps", "8")
    assert changed.returncode == 2
    assert "have changed since" in changed.stderr
    shutil.copy(first / "weights.safetensors", tiny.place / "halted/round-1")
    shutil.copy(others, tiny.place / "began.safetensors")
    begun = ("train", "--out", "begun", "--steps", "2")
    first = tiny.ssbsn(*begun, *ADAPT, "--data", "rounds", "--init", "began.safetensors")
    assert first.returncode == 0, first.stderr
    shutil.copy(others.with_name("photo.safetensors"), tiny.place / "began.safetensors")
    changed = tiny.ssbsn(*begun, "--resume")
    assert changed.returncode == 2
    assert "began with other weights" in changed.stderr


def test_photos_that_cannot_be_read_fail_alone_where_nothing_else_is_left_to_adapt_to(tiny):
    save(tiny.place / "done/a.png", np.full((8, 8, 3), 90, np.uint8))
    shutil.copytree(tiny.place / "done", tiny.place / "left")
    (tiny.place / "left/b.png").write_text("no photo")
    arguments = ("denoise", "left", "-o", "done", "--adapt", "1", "--skip-existing", "--json")
    result = tiny.ssbsn(*arguments)
    assert result.returncode == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["input"] for each in records] == ["left/a.png", "left/b.png"]


def test_photos_without_noise_are_denoised_by_the_weights_as_they_are(tiny):
    save(tiny.place / "clean/a.png", np.full((256, 256, 3), 90, np.uint8))
    save(tiny.place / "clean/b.png", cv2.resize(data.astronaut(), (256, 256), interpolation=3))
    result = tiny.ssbsn("denoise", "clean/", "--adapt", "0.05", "-o", "same/")
    assert result.returncode == 0, result.stderr
    assert "None of the photos shows noise" in result.stderr
    np.testing.assert_allclose(cv2.imread(str(tiny.place / "same/a.png")), 90, atol=1)


def test_what_cannot_be_written_is_said_before_minutes_are_spent(tiny):
    save(tiny.place / "waiting/a.png", np.full((256, 256, 3), 90, np.uint8))
    (tiny.place / "file").touch()
    kept = (tiny.place / "waiting/a.png").read_bytes()
    for output, said in (("waiting/a.png", "--overwrite"), ("file/b.png", "cannot be written")):
        result = tiny.ssbsn("denoise", "waiting/a.png", "--adapt", "1", "-o", output, "--json")
        assert result.returncode == 1, result.stderr
        assert said in result.stderr
        assert json.loads(result.stdout)["input"] == "waiting/a.png"
        assert "Denoising" not in result.stderr
    assert (tiny.place / "waiting/a.png").read_bytes() == kept


@pytest.mark.parametrize(
    "arguments",
    [
        ["--keep-adapted", "x"],
        ["--adapt", "0"],
        ["--adapt", "nan"],
        ["--adapt", "-1"],
        ["--adapt", "1e9"],
    ],
)
def test_adapting_that_makes_no_sense_is_refused(tiny, arguments):
    result = tiny.ssbsn("denoise", "photos", "-o", "nothing", *arguments)
    assert result.returncode == 2
    assert not (tiny.place / "nothing").exists()


def test_two_processes_learn_what_one_does(tiny, run, worker, monkeypatch):
    monkeypatch.setenv("PYTHON_EXEC", str(worker))
    process = tiny.start(
        "train", "--data", tiny.photos, "--config", tiny.config, "--out", "two", "--json",
        launcher=TORCHRUN,
    )  # fmt: skip
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    one, two = run[0], tiny.place / "two"
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert_same(state(two)["network"], state(one)["network"], 1e-4)
    # Only one of them prints.
    assert [json.loads(line)["event"] for line in out.splitlines()].count("start") == 1
    assert err.count("Training ssbsn") == 1
    # Another number of processes can continue.
    more = tiny.ssbsn("train", "--out", "two", "--resume", "--steps", "8")
    assert more.returncode == 0, more.stderr
    assert state(two)["step"] == 8


def test_a_batch_must_be_divisible(tiny, worker, monkeypatch):
    monkeypatch.setenv("PYTHON_EXEC", str(worker))
    process = tiny.start(
        "train", "--data", tiny.photos, "--config", tiny.config, "--out", "odd", "--batch-size", 3,
        launcher=TORCHRUN,
    )  # fmt: skip
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "cannot be shared by 2 processes" in err
    assert not (tiny.place / "odd").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_killed_worker_is_started_again_and_resumes(tiny):
    whole = tiny.train("whole", options={"training.steps": 40})
    process = tiny.start(
        "train", "--data", tiny.photos, "--config", tiny.config, "--out", "restarted", "--resume",
        "--steps", 40, "--set", "training.save_minutes=0.0005",
        launcher=(*TORCHRUN, "--max-restarts", "1"), python=[sys.executable],
    )  # fmt: skip
    restarted = tiny.place / "restarted"
    wait_for_step(process, restarted, 5)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"ssbsn_cli" in command_line(int(pid))]
    os.kill(workers[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Going on after step" in err
    assert_same(state(restarted)["network"], state(whole)["network"], 1e-3)


def command_line(pid: int) -> bytes:
    for _ in range(100):
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
        if content:
            return content
        time.sleep(0.01)
    return b""
