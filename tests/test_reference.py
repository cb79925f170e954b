"""The tables of docs/reference.md name exactly the keys of the JSON that commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import ssbsn
from training_runs import write_config, write_photos
from weights_files import tiny_checkpoint

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference.md").read_text()


def table(command):
    """Return the first two cells of each row of a command's table, as the names in backticks."""
    section = REFERENCE.split(f"### `ssbsn {command}`\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", section, re.MULTILINE)
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in row) for row in rows]


def keys(command):
    return {key for first, _ in table(command) for key in first}


def records(*arguments):
    return [json.loads(line) for line in ssbsn(*arguments, "--json").stdout.splitlines()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "noisy")
    write_photos(tmp_path / "clean")
    tiny_checkpoint(tmp_path / "tiny.pth")


@pytest.mark.usefixtures("place")
def test_denoise():
    (record,) = records("denoise", "noisy/photo0.png", "-o", "x.png", "--weights", "tiny.pth")
    assert set(record) == keys("denoise")


@pytest.mark.usefixtures("place")
def test_info():
    rng = np.random.default_rng(0)
    cv2.imwrite("large.png", rng.normal(120, 9, (300, 300, 3)).clip(0, 255).astype(np.uint8))
    (record,) = records("info", "large.png")
    nested = {f"noise.{key}" for key in record["noise"]}
    assert set(record) | nested == keys("info")


@pytest.mark.usefixtures("place")
def test_eval():
    (record,) = records(
        "eval", "--dataset", "pairs", "--data", ".", "--weights", "tiny.pth", "--limit", "1"
    )
    assert set(record) == keys("eval")
    for (key,), parts in table("eval"):
        first = record[key][0] if isinstance(record[key], list) else record[key]
        if isinstance(first, dict) and key != "machine":
            assert set(first) <= set(parts)


@pytest.mark.usefixtures("place")
def test_train(tmp_path):
    config = write_config(tmp_path / "tiny.toml")
    events = {"step": {"event"}}
    printed = records("train", "--data", "noisy", "--config", config, "--out", "run")
    kept = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    for record in printed + kept:
        events.setdefault(record["event"], set()).update(record)
    rows = {event: set(others) for (event,), others in table("train") if event != "event"}
    assert set(events) == {*rows, "step"}
    assert events["start"] == {"event", *rows["start"]}
    assert events["done"] == {"event", *rows["done"]}
    assert events["validation"] <= {"event", *rows["validation"]}
    section = REFERENCE.split("### `ssbsn train`\n")[1].split("\n#")[0]
    line = re.search(r"`step` line for each\nstep: (.*?)\.", section, re.DOTALL)
    assert line
    assert events["step"] == {"event", *re.findall(r"`([^`]+)`", line[1])}
