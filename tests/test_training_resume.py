"""A run that somebody else made can only be wrong: nothing outside changes, nothing crashes."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import zipfile

import pytest
import torch
from training_runs import Tiny, state

from ssbsn_cli.core.errors import DeviceError, OptionError, SsbsnError
from ssbsn_cli.core.runtime.temporary import HALF_WRITTEN
from ssbsn_cli.core.training import loop
from ssbsn_cli.core.training.log import read_metrics
from ssbsn_cli.core.training.recorder import Recorder
from ssbsn_cli.core.training.validation import Score


@pytest.fixture
def tiny(tmp_path):
    return Tiny(tmp_path)


def moments(content):
    return content["optimizer"]["state"][0]


def one_value(like):
    """A tensor of the right shape, all of whose values are one place in memory."""
    return torch.zeros(1).expand(like.shape)


DAMAGES = {
    "a moment of another shape": lambda c: moments(c).update(exp_avg=torch.zeros(1)),
    "a moment that is missing": lambda c: moments(c).pop("exp_avg_sq"),
    "a moment too many": lambda c: moments(c).update(more=torch.zeros(1)),
    "a moment of another type": lambda c: moments(c).update(exp_avg=moments(c)["exp_avg"].double()),
    "a sparse moment": lambda c: moments(c).update(exp_avg=moments(c)["exp_avg"].to_sparse()),
    "a negative square": lambda c: moments(c)["exp_avg_sq"].sub_(1),
    "a step that is no tensor": lambda c: moments(c).update(step="1"),
    "a parameter too many": lambda c: c["optimizer"]["state"].update({999: moments(c)}),
    "no optimiser": lambda c: c.update(optimizer=[]),
    "weights of another shape": lambda c: c["network"].update(
        {next(iter(c["network"])): torch.zeros(2, 2)}
    ),
    "weights that are missing": lambda c: c["network"].popitem(),
    "weights that are not finite": lambda c: next(iter(c["network"].values())).fill_(torch.nan),
    "an average too many": lambda c: c.update(average=c["network"]),
    "a step below zero": lambda c: c.update(step=-1),
    "a step beyond all": lambda c: c.update(step=10**30),
    "a step that is true": lambda c: c.update(step=True),
    "a best step to come": lambda c: c.update(best_step=c["step"] + 1),
    "no time": lambda c: c.update(seconds=float("nan")),
    "a score of text": lambda c: c.update(best="best"),
    "a field too many": lambda c: c.update(more=1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_state_is_checked_whole_before_it_is_used(tiny, damage):
    run = tiny.train(options={"training.steps": 1})
    content = torch.load(run / "state.pt", weights_only=True)
    damage(content)
    torch.save(content, run / "state.pt")
    with pytest.raises(SsbsnError, match="damaged") as caught:
        tiny.train(resume=True, options={"training.steps": 2})
    assert "\n" not in str(caught.value)


def test_a_run_whose_configuration_lacks_a_section_is_another_run(tiny):
    run = tiny.train(options={"training.steps": 1})
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(re.sub(r"(?s)\[model.*?\n(?=\[training\])", "", text))
    with pytest.raises(OptionError, match="another configuration: its model"):
        tiny.train(resume=True)


def test_moments_in_one_place_in_memory_get_memory_of_their_own(tiny):
    """The fused Adam writes as many values as a shape says, whatever memory is behind them."""
    run = tiny.train(options={"training.steps": 1})
    content = torch.load(run / "state.pt", weights_only=True)
    for each in content["optimizer"]["state"].values():
        each.update(exp_avg=one_value(each["exp_avg"]), exp_avg_sq=one_value(each["exp_avg_sq"]))
    torch.save(content, run / "state.pt")
    tiny.train(resume=True, options={"training.steps": 2})
    assert moments(state(run))["exp_avg"].is_contiguous(memory_format=torch.channels_last)
    assert len(moments(state(run))["exp_avg"].unique()) > 1


def test_what_an_optimiser_is_told_does_not_come_from_the_file(tiny):
    run = tiny.train(options={"training.steps": 1})
    content = torch.load(run / "state.pt", weights_only=True)
    content["optimizer"]["param_groups"][0].update(amsgrad=True, weight_decay=1e9, params=[0])
    torch.save(content, run / "state.pt")
    tiny.train(resume=True, options={"training.steps": 2})
    assert not state(run)["optimizer"]["param_groups"][0]["amsgrad"]


def test_a_compressed_state_is_not_inflated(tiny):
    run = tiny.train(options={"training.steps": 1})
    with zipfile.ZipFile(run / "state.pt") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(run / "state.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name, part in parts.items():
            new.writestr(name, part)
    with pytest.raises(SsbsnError, match="damaged"):
        tiny.train(resume=True, options={"training.steps": 2})


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "weights.md", "state.pt", "checkpoints", "previews", "tensorboard"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_no_link_in_a_run_is_followed(tiny, name, resume):
    outside = tiny.place / "outside"
    outside.mkdir()
    for each in (f"{HALF_WRITTEN}note", "step-00000000.png", "step-00000001.safetensors"):
        (outside / each).write_text("mine")
    run = tiny.place / "run"
    if resume:
        tiny.train(options={"training.steps": 1})
        (run / name).rename(tiny.place / "moved") if (run / name).exists() else None
    run.mkdir(exist_ok=True)
    (run / name).symlink_to(outside if "." not in name else outside / f"{HALF_WRITTEN}note")
    with pytest.raises(OptionError, match=f"{name} is not a"):
        tiny.train(resume=resume, options={"training.steps": 2})
    assert len(list(outside.iterdir())) == 3
    assert all(path.read_text() == "mine" for path in outside.iterdir())


def test_a_pipe_in_a_run_is_not_waited_for(tiny):
    run = tiny.train(options={"training.steps": 1})
    (run / "data.json").unlink()
    os.mkfifo(run / "data.json")
    with pytest.raises(OptionError, match=r"data\.json is not a file"):
        tiny.train(config=None, data=[], resume=True)
    (run / "data.json").unlink()
    run.rename(tiny.place / "round-1")
    run.mkdir()
    (tiny.place / "round-1").rename(run / "round-1")
    os.mkfifo(run / "round-1" / "data.json")
    with pytest.raises(OptionError, match=r"data\.json is not a file"):
        tiny.train(config=None, data=[], resume=True)


def test_weights_without_their_state_are_not_replaced(tiny):
    run = tiny.train(options={"training.steps": 2})
    (run / "state.pt").unlink()
    kept = (run / "weights.safetensors").read_bytes()
    with pytest.raises(OptionError, match=r"no state\.pt, so it cannot"):
        tiny.train(resume=True)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(OptionError, match=r"no state\.pt, so it cannot"):
        tiny.train(resume=True)
    assert (run / "weights.safetensors").read_bytes() == kept


def test_a_run_goes_on_from_another_folder(tiny, monkeypatch):
    tiny.train("first")
    monkeypatch.chdir(tiny.place)
    tiny.train(init="first")
    monkeypatch.chdir(tiny.photos)
    tiny.train(resume=True, options={"training.steps": 8})
    tiny.train(init="../first", resume=True, options={"training.steps": 9})
    assert state(tiny.place / "run")["step"] == 9


def test_a_cache_that_a_run_names_is_only_used_if_it_is_named_again(tiny, monkeypatch):
    monkeypatch.setenv("SSBSN_CACHE", str(tiny.place / "usual"))
    run = tiny.train(options={"training.steps": 1})
    record = json.loads((run / "data.json").read_text())
    record["request"]["cache"] = str(tiny.place / "theirs")
    (run / "data.json").write_text(json.dumps(record))
    tiny.train(config=None, data=[], cache=None, resume=True, options={"training.steps": 2})
    assert not (tiny.place / "theirs").exists()
    assert (tiny.place / "usual" / "crops").exists()


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "{}",
        '{"request": []}',
        '{"key": 1, "request": {"init": 3, "noisy": 4}}',
        '{"request": {"init": null, "noisy": [{"path": "\\u0000", "share": 1, "photos": []}]}}',
    ],
)
def test_a_damaged_list_of_photos_ends_a_run(tiny, content):
    run = tiny.train(options={"training.steps": 1})
    (run / "data.json").write_text(content)
    for data in ([], [str(tiny.photos)]):
        with pytest.raises(OptionError, match=r"no readable data\.json, so it cannot") as caught:
            tiny.train(config=None, data=data, resume=True)
        assert f"--init {run}" in caught.value.hint


def test_a_run_without_its_configuration_does_not_go_on(tiny):
    run = tiny.train(options={"training.steps": 1})
    (run / "config.toml").unlink()
    with pytest.raises(OptionError, match=r"no config\.toml, so it cannot go on"):
        tiny.train(resume=True, options={"training.steps": 2})


def test_a_run_that_began_at_random_does_not_take_weights_later(tiny):
    tiny.train(options={"training.steps": 1})
    with pytest.raises(OptionError, match="began with random weights, not photo"):
        tiny.train(resume=True, init="photo", options={"training.steps": 2})


def test_pairs_for_a_run_without_pairs_are_another_configuration(tiny):
    tiny.train(options={"training.steps": 1})
    with pytest.raises(OptionError, match="another configuration"):
        tiny.train(resume=True, config=None, data=[], pairs=[str(tiny.photos)])


def test_a_start_that_fails_leaves_no_run(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OptionError, match="TensorBoard"):
        tiny.train("run", tensorboard=True)

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(loop, "preview", fail)
        with pytest.raises(DeviceError, match="memory"):
            tiny.train("run")
    assert not (tiny.place / "run").exists()
    tiny.train("run")


def test_a_kill_before_the_first_checkpoint_does_not_block_the_same_command(tiny, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "save", lambda self, *_: self._begin())
        killed = tiny.prepare()
        killed.trainer._save()
        killed.close()
    assert (tiny.place / "run" / "config.toml").exists()
    tiny.train()


def test_what_a_kill_left_of_later_steps_is_removed(tiny):
    run = tiny.train(options={"training.steps": 1})
    later = [run / "checkpoints" / "step-00000009.safetensors", run / "previews/step-00000009.png"]
    for path in later:
        path.write_bytes(b"left")
    tiny.train(resume=True, options={"training.steps": 2})
    assert not any(path.exists() for path in later)
    assert (run / "previews" / "step-00000001.png").exists()


def test_another_precision_or_device_is_told(tiny):
    run = tiny.train(options={"training.steps": 1})
    record = json.loads((run / "data.json").read_text())
    record["device"] = "cuda"
    (run / "data.json").write_text(json.dumps(record))
    options = {"training.steps": 2, "training.precision": "bf16"}
    tiny.train(resume=True, options=options)
    for old, new in (("fp32", "bf16"), ("cuda", "cpu")):
        assert any(f"in {old} before and goes on in {new}" in line for line in tiny.said)
    tiny.said.clear()
    tiny.train(resume=True, options={**options, "training.steps": 3})
    assert not any("goes on in" in line for line in tiny.said)


def test_a_validation_that_is_not_finite_is_called_that(tiny):
    prepared = tiny.prepare()
    score = Score({"loss": float("nan")}, float("nan"))
    object.__setattr__(prepared.trainer.data, "validation", lambda _network: score)
    with pytest.raises(SsbsnError, match="validation after step 0 is nan"):
        prepared.trainer.train()
    prepared.close()


def test_a_run_that_stopped_at_step_0_keeps_its_best_mark(tiny):
    interrupted = tiny.prepare()
    interrupted.trainer._save()
    interrupted.close()
    run = tiny.train(resume=True, options={"training.steps": 1})
    assert [each["step"] for each in read_metrics(run / "metrics.jsonl") if each.get("best")]


def test_a_log_that_cannot_be_written_is_told_once(tiny):
    class Broken:
        def write(self, _record):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    class Fine(Broken):
        def write(self, _record):
            pass

    prepared = tiny.prepare()
    prepared.recorder.logs = [Broken(), Fine()]
    prepared.trainer.train()
    prepared.close()
    assert sum("metrics could not be written" in line for line in tiny.said) == 1
