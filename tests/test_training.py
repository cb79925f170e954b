"""Training: what it learns, that it can be repeated, stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_runs import Tiny, assert_same, losses, state, write_config, write_photos

from ssbsn_cli import load_denoiser
from ssbsn_cli.core.data.cache import UnreadableError, open_cache
from ssbsn_cli.core.data.store import hold_out
from ssbsn_cli.core.errors import DeviceError, OptionError, SsbsnError
from ssbsn_cli.core.imaging import read_photo
from ssbsn_cli.core.inference import engine
from ssbsn_cli.core.model.descriptor import ARCHITECTURES, Architecture
from ssbsn_cli.core.model.network import Network
from ssbsn_cli.core.model.ssbsn import SSBSN
from ssbsn_cli.core.model.unet import UNet
from ssbsn_cli.core.runtime.temporary import HALF_WRITTEN
from ssbsn_cli.core.training.batches import distance, mix_batches, noisy_batches
from ssbsn_cli.core.training.config import load_config
from ssbsn_cli.core.training.request import TrainingOptions, make_request
from ssbsn_cli.core.training.team import Team, join_team
from ssbsn_cli.core.training.validation import psnr
from ssbsn_cli.core.weights.checkpoints import load_checkpoint


@pytest.fixture
def tiny(tmp_path, forked):
    return Tiny(tmp_path, forked)


def wait_for_step(process, run, step, seconds=120.0):
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        metrics = run / "metrics.jsonl"
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            return
        time.sleep(0.02)
    raise AssertionError("training takes too long")


def test_learning_starts_at_once_and_the_result_denoises(tiny):
    run = tiny.train(options={"training.steps": 60})
    curve = losses(run)
    first, last = (np.mean([curve[s] for s in steps]) for steps in (range(1, 4), range(58, 61)))
    assert last < 0.6 * first
    denoiser = load_denoiser(str(run), device="cpu")
    noisy = np.full((40, 40, 3), 128) + np.random.default_rng(0).normal(0, 25, (40, 40, 3))
    noisy = np.clip(noisy, 0, 255).astype(np.uint8)
    inside = (slice(8, -8), slice(8, -8))
    left = denoiser(noisy)[inside].std(axis=(0, 1))
    assert (left < 0.5 * noisy[inside].std(axis=(0, 1))).all()


@pytest.mark.parametrize("family", ["ssbsn", "apbsn"])
def test_the_first_prediction_is_the_mean_of_the_surroundings(family):
    config = load_config(f"{family}-sidd").model
    network = SSBSN(**{**config.parameters, "channels": 48}).eval()
    network.initialise(0)
    torch.manual_seed(0)
    colors = torch.rand(1, 3, 8, 8).repeat_interleave(12, 2).repeat_interleave(12, 3)
    noisy = colors + 0.1 * torch.randn_like(colors)
    with torch.no_grad():
        error = (network(noisy, 1) - colors)[..., 4:-4, 4:-4].abs().mean().item()
        default = (SSBSN(48)(noisy, 1) - colors).abs().mean().item()
    assert error < 0.15 < default


def test_scales_begin_as_their_layers_make_them():
    class Scaled(UNet):
        def __init__(self):
            super().__init__([8], [1])
            self.norm = torch.nn.GroupNorm(1, 4)
            torch.nn.init.ones_(self.norm.bias)

    network = Scaled()
    network.initialise(0)
    assert (network.norm.weight == 1).all()
    assert (network.norm.bias == 0).all()


def test_the_seed_decides_everything(tiny):
    one, same = tiny.train("one"), tiny.train("same")
    other = tiny.train("other", options={"training.seed": 1})
    assert_same(state(one), state(same))
    assert losses(one) == losses(same)
    assert losses(one) != losses(other)


@pytest.mark.parametrize("ema", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
def test_a_killed_run_resumes_with_the_same_numbers(tiny, ema):
    settings = [f"optimizer.ema={ema}", "training.save_minutes=0.0005", "training.pd_a=[2, 5]"]
    options = {"training.steps": 30}
    whole = tiny.train("whole", changes=settings, options=options)
    arguments = [
        "train", "--data", tiny.photos, "--config", tiny.config, "--out", "killed", "--steps", 30,
        "--resume", *(word for each in settings for word in ("--set", each)),
    ]  # fmt: skip
    killed = tiny.place / "killed"
    for step in (3, 8):
        process = tiny.start(*arguments)
        wait_for_step(process, killed, step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 0 < state(killed)["step"] < 30
    tiny.train("killed", config=None, data=[], resume=True)
    expected, found = state(whole), state(killed)
    for each in (expected, found):
        # When checkpoints were written, and so which of them was best, depends on the clock.
        del each["best"], each["best_step"]
    assert_same(found, expected)
    after = losses(killed)
    assert {step: after[step] for step in range(20, 31)} == {
        step: losses(whole)[step] for step in range(20, 31)
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends(tiny, number, code):
    arguments = ["train", "--data", tiny.photos, "--config", tiny.config, "--out", "run"]
    process = tiny.start(*arguments, "--steps", 100000)
    run = tiny.place / "run"
    wait_for_step(process, run, 5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "Stopping after step" in err
    assert f"--out {run.name} --resume" in err
    saved = state(run)["step"]
    assert saved >= 5
    assert saved == max(losses(run))
    tiny.train("run", config=None, data=[], resume=True, options={"training.steps": saved + 2})
    assert state(run)["step"] == saved + 2


def test_a_finished_run_goes_on_with_more_steps_and_stays_otherwise(tiny):
    run = tiny.train()
    before = (run / "state.pt").read_bytes()
    tiny.train(resume=True)
    assert (run / "state.pt").read_bytes() == before
    tiny.train(resume=True, options={"training.steps": 8})
    assert state(run)["step"] == 8


def test_a_run_goes_on_with_the_same_photos_in_another_place(tiny):
    pairs = tiny.place / "pairs"
    for side in ("noisy", "clean"):
        shutil.copytree(tiny.photos, pairs / side)
    run = tiny.train(validation=pairs)
    # As after a copy to another machine: other paths, other times.
    moved = tiny.photos.rename(tiny.place / "moved")
    for photo in moved.iterdir():
        os.utime(photo, (0, 0))
    scored = pairs.rename(tiny.place / "scored")
    more = {"training.steps": 8}
    tiny.train(data=[str(moved)], validation=scored, resume=True, options=more)
    assert state(run)["step"] == 8


def test_training_by_the_clock_ends_and_the_rate_falls(tiny):
    started = time.monotonic()
    tiny.train(options={"training.max_minutes": 0.02})
    assert 1 < time.monotonic() - started < 30
    assert tiny.reports[-1].progress == 1
    assert tiny.reports[-1].learning_rate < 0.5 * tiny.reports[0].learning_rate


def test_a_limit_of_steps_ends_a_training_by_the_clock(tiny):
    tiny.train(options={"training.max_minutes": 100, "training.most_steps": 5})
    assert [report.step for report in tiny.reports] == [1, 2, 3, 4, 5]
    assert tiny.reports[-1].progress == 1
    assert tiny.reports[-1].learning_rate < 0.5 * tiny.reports[0].learning_rate
    assert not any("It is finished" in line for line in tiny.said)
    options = {"training.max_minutes": 100, "training.most_steps": 5}
    tiny.prepare(resume=True, options=options).close()
    assert any("It is finished" in line for line in tiny.said)
    tiny.train(resume=True, options={"training.max_minutes": 100, "training.most_steps": 7})
    assert tiny.reports[-1].step == 7


def test_epochs_count_crops_by_the_size_of_the_data(tiny):
    write_photos(tiny.photos, 2, (384, 768))
    prepared = tiny.prepare(options={"training.epochs": 3})
    prepared.close()
    # Two photos of two cells each (the third one is tiny), three times, two crops a step.
    assert prepared.summary["steps"] == 6


def test_epochs_of_real_pairs_are_counted_by_their_photos(tiny):
    for side in ("noisy", "clean"):
        write_photos(tiny.place / "pairs" / side, 2, (384, 768))
    prepared = tiny.prepare(
        data=[],
        pairs=[str(tiny.place / "pairs")],
        options={"training.epochs": 3},
        # Real pairs get no noise, so none is lifted.
        changes=["pairs.real=true", "pairs.lifted=0.5"],
    )
    prepared.close()
    assert prepared.summary["steps"] == 6


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(tiny):
    with pytest.raises(SsbsnError) as caught:
        tiny.train(changes=["optimizer.learning_rate=10", "training.steps=200",
                            "optimizer.schedule=constant"])  # fmt: skip
    assert "checkpoint is that of step 0" in str(caught.value)
    assert "--lr" in caught.value.hint
    run = tiny.place / "run"
    network, _ = load_checkpoint(run / "weights.safetensors")
    assert state(run)["step"] == 0
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_a_full_disk_costs_no_good_checkpoint(tiny, monkeypatch):
    # Files of compiled modules would be cut off, too.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    prepared = tiny.prepare()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(report):
        if report.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))

    try:
        with pytest.raises(SsbsnError, match="step 0"):
            prepared.trainer.train(fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        prepared.close()
    run = tiny.place / "run"
    assert state(run)["step"] == 0
    load_checkpoint(run / "weights.safetensors")
    tiny.train(resume=True)
    assert_same(state(run), state(tiny.train("whole")))


def test_the_best_and_the_last_checkpoints_stay(tiny):
    settings = ["training.save_minutes=0.00001", "training.keep=2"]
    run = tiny.train(changes=settings, options={"training.steps": 12})
    assert len(list((run / "checkpoints").iterdir())) == 2
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scored = {r["step"]: r["loss"] for r in records if r["event"] == "validation"}
    assert set(scored) == set(range(13))
    assert state(run)["best_step"] == min(scored, key=scored.__getitem__)
    assert state(run)["best"] == min(scored.values())
    assert len(list((run / "previews").glob("*.png"))) == 13
    assert not list(run.rglob(f"{HALF_WRITTEN}*"))


def test_fine_tuning_that_only_spoils_changes_nothing(tiny):
    good = tiny.train("good", options={"training.steps": 60})
    again = tiny.train(
        "again",
        init=str(good),
        changes=["optimizer.schedule=constant"],
        options={"optimizer.learning_rate": 0.5, "training.steps": 5},
    )
    assert state(again)["best_step"] == 0
    before, _ = load_checkpoint(good / "weights.safetensors")
    after, _ = load_checkpoint(again / "weights.safetensors")
    assert_same(dict(after.state_dict()), dict(before.state_dict()))


def test_parts_that_are_held_out_are_never_trained_on(tiny):
    photo = np.zeros((60, 40, 3), np.uint8)
    photo[40:] = 200
    shutil.rmtree(tiny.photos)
    tiny.photos.mkdir()
    from PIL import Image

    Image.fromarray(photo).save(tiny.photos / "a.png")
    prepared = tiny.prepare(changes=["training.hold_out=0.333", "training.batch_size=8"])
    batches = [prepared.trainer.data.batches(step).noisy for step in range(20)]
    prepared.close()
    assert all((batch == 0).all() for batch in batches)
    held = [draw.noisy for _, draw in prepared.trainer.data.validation.args[0]]
    assert all((batch == np.float32(200 / 255)).all() for batch in held)


def test_pairs_that_are_too_small_to_be_scored_are_left_out(tiny):
    for side in ("noisy", "clean"):
        folder = write_photos(tiny.place / "pairs" / side, 1, (2, 2))
        (folder / "photo0.png").rename(folder / "a.png")
        write_photos(folder, 1)
    tiny.train(validation=tiny.place / "pairs")
    assert any("a.png is smaller than" in said for said in tiny.said)


def test_each_stride_and_objective_gets_its_share():
    def crops(step):
        return np.zeros((1, 3, 4, 4), np.float32)

    each = {"self": noisy_batches(crops, [2, 4], 0), "pairs": noisy_batches(crops, [1], 0)}
    batches = mix_batches(each, {"self": 3.0, "pairs": 1.0}, 0)
    strides = [batches(step).stride for step in range(2000)]
    assert [strides.count(s) / 2000 for s in (1, 2, 4)] == pytest.approx(
        [0.25, 0.375, 0.375], abs=0.04
    )
    # Whatever the order in which a resumed run names them.
    again = mix_batches(dict(reversed(each.items())), {"pairs": 1.0, "self": 3.0}, 0)
    assert [again(step).stride for step in range(50)] == strides[:50]


def test_blind_spot_networks_see_the_noisy_side_of_synthetic_pairs_alone(tiny):
    changes = ["training.objectives={synthetic=1}", "training.pd_a=[4, 5]"]
    clean = [str(tiny.photos)]
    prepared = tiny.prepare(data=[], pairs=clean, changes=changes)
    prepared.close()
    batches = [prepared.trainer.data.batches(step) for step in range(30)]
    assert all(batch.target is batch.noisy for batch in batches)
    assert {batch.stride for batch in batches} == {4, 5}
    pairs = tiny.prepare("pairs", data=[], pairs=clean, changes=["training.objectives={pairs=1}"])
    pairs.close()
    for step in range(3):
        noisy = pairs.trainer.data.batches(step).noisy
        np.testing.assert_array_equal(noisy, batches[step].noisy)
    assert (tiny.train("run2", data=[], pairs=clean, changes=changes) / "state.pt").is_file()


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tiny):
    first = tiny.train("first")
    whole = tiny.train("whole", init=str(first))
    again = tiny.train("again", init=str(first))
    (again / "state.pt").unlink()
    shutil.rmtree(again / "checkpoints")
    (again / "checkpoints").mkdir()
    shutil.copy(again / "weights.safetensors", again / "checkpoints/step-00000000.safetensors")
    leftover = again / f"{HALF_WRITTEN}abc.part"
    leftover.touch()
    # Another process, as after a kill.
    result = tiny.ssbsn("train", "--out", "again", "--resume", "--cache", "cache")
    assert result.returncode == 0, result.stderr
    assert_same(state(again), state(whole))
    assert not leftover.exists()


def test_too_little_memory_is_said_and_the_checkpoint_named(tiny, monkeypatch):
    prepared = tiny.prepare()

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(prepared.trainer.learner, "_parallel", fail)
    with pytest.raises(DeviceError, match="step 0"):
        prepared.trainer.train()
    prepared.close()


def test_parts_of_one_photo_are_held_out_at_the_same_row(tmp_path):
    from PIL import Image

    y, x = np.mgrid[:240, :200]
    Image.fromarray(np.stack([y, x, y], 2).astype(np.uint8)).save(tmp_path / "a.png")
    cache = open_cache([tmp_path / "a.png"], tmp_path / "cache", side=50, limit_bytes=100_000)
    assert len(cache.windows) > 1
    training, held = hold_out(cache, 0.25, 20)
    rows = [
        {int(row) for window in part.windows for row in part.view(window)[:, 0, 0]}
        for part in (training, held)
    ]
    assert rows[0]
    assert rows[1]
    assert max(rows[0]) < 180 <= min(rows[1])
    everything, nothing = hold_out(cache, 0.25, 201)
    assert everything.windows == cache.windows
    assert not nothing.windows
    # If all that is kept of a photo lies where rows are held out, it is still learned from.
    last = [cache.windows[-1]]
    training, held = hold_out(replace(cache, windows=last), 0.9, 20)
    assert training.windows == last
    assert not held.windows


def test_an_architecture_needs_nothing_but_its_registration(tiny, monkeypatch):
    class Toy(Network):
        size_multiple = 1
        live_features = 3

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x, stride=None):
            return self.layer(x)

        def denoise(self, x, **_):
            return self(x)

    how = {"best_tile": 64, "tile_per_core": True}
    toy = Architecture(name="toy", title="Toy", build=Toy, **how)
    monkeypatch.setitem(ARCHITECTURES, "toy", toy)
    changes = ['model={architecture="toy", refine="none"}', "pairs.noise={white=1.0}"]
    run = tiny.train(
        data=[], pairs=[str(tiny.photos)], changes=changes, options={"training.steps": 2}
    )
    assert "Toy" in (run / "weights.md").read_text("utf-8")
    photo = np.full((40, 30, 3), 128, np.uint8)
    assert load_denoiser(str(run), device="cpu")(photo).shape == photo.shape


def test_both_precisions_learn_the_same(tiny):
    exact, rounded = (
        losses(tiny.train(each, options={"training.precision": each, "training.steps": 20}))
        for each in ("fp32", "bf16")
    )
    assert np.mean([exact[step] for step in range(16, 21)]) < 0.8 * exact[1]
    np.testing.assert_allclose(list(rounded.values()), list(exact.values()), rtol=0.1)


def test_decibels_can_be_learned_too(tiny):
    curve = losses(tiny.train(options={"training.loss": "psnr", "training.steps": 20}))
    assert curve[20] < curve[1] - 0.3


def test_the_psnr_loss_counts_decibels():
    target = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    off = torch.tensor([0.05, 0.4]).reshape(2, 1, 1, 1)
    loss = distance(target + off, target, "psnr").item()
    decibels = [psnr(target[i].numpy(), (target + off)[i].numpy()) for i in range(2)]
    assert loss == pytest.approx(-np.mean(decibels) * np.log(10) / 20, abs=0.01)
    assert np.isfinite(distance(target, target, "psnr").item())


def test_pairs_are_scored_by_psnr_and_ssim(tiny):
    pairs = tiny.place / "pairs"
    shutil.copytree(tiny.photos, pairs / "noisy")
    shutil.copytree(tiny.photos, pairs / "clean")
    run = tiny.train(validation=pairs)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [r for r in records if r["event"] == "validation"][-1]
    assert last["psnr_noisy"] == 100
    assert last["psnr"] < 100
    assert last["ssim"] < 1


def test_a_student_learns_from_a_teacher(tiny, monkeypatch):
    # Folders of a teacher's results outlive versions, so steps that change must not make them.
    for step in ("correct_by_half", "filter_again", "find_enlargement"):
        monkeypatch.delattr(engine, step)
    teacher = tiny.train("teacher", options={"training.steps": 30})
    options = {"distill.teacher": str(teacher), "training.steps": 10}
    changes = ["parts.count=3", "parts.side=24", "distill.refine=once"]
    student = tiny.train("student", options=options, changes=changes)
    assert len(list((tiny.place / "cache").glob("taught-*/clean/*.png"))) == 3
    assert any("3 noisy sides (pairs)" in line for line in tiny.said)
    assert losses(student)[10] < losses(student)[1]
    tiny.train("student", options=options, changes=changes, resume=True)
    assert any("Reused" in line for line in tiny.said)


def test_a_teacher_denoises_parts_as_large_as_the_crops(tiny):
    options = {"distill.teacher": str(tiny.train("teacher")), "training.steps": 2}
    run = tiny.train("student", options=options, changes=["parts.count=2", "parts.side=20"])
    (noisy, *_) = (tiny.place / "cache").glob("taught-*/noisy/*.png")
    assert read_photo(noisy).pixels.shape[0] >= load_config(str(run / "config.toml")).training.crop
    with pytest.raises(OptionError) as caught:
        tiny.prepare("large", options=options, changes=["parts.side=500"])
    assert "parts.side" in caught.value.hint


def test_a_run_states_where_its_teacher_is_and_what_licence_follows(tiny, monkeypatch):
    teacher = tiny.train("teacher", changes=["data.licence=CC BY"])
    monkeypatch.chdir(tiny.place)
    student = tiny.train(
        "student",
        options={"distill.teacher": "teacher", "training.steps": 2},
        changes=["parts.count=2", "parts.side=24"],
    )
    config = load_config(str(student / "config.toml"))
    assert (config.distill.teacher, config.data.licence) == (str(teacher), "CC BY")
    again = tiny.train("again", init=str(student), options={"training.steps": 1})
    assert "CC BY" in (again / "weights.md").read_text()


def test_photos_to_validate_on_are_not_among_those_to_train_on(tiny):
    for side in ("noisy", "clean"):
        shutil.copytree(tiny.photos, tiny.place / "val" / side)
    (tiny.place / "val").rename(tiny.photos / "val")
    request = make_request(
        TrainingOptions(
            run=tiny.place / "run",
            data=[str(tiny.photos)],
            config=tiny.config,
            validation=tiny.photos / "val",
        )
    )
    with pytest.raises(OptionError, match="are among those to train on"):
        request.refuse_missing()


def test_a_process_that_lost_the_others_says_so(monkeypatch):
    def fail(*_):
        raise RuntimeError("gloo: Connection reset by peer")

    monkeypatch.setattr("torch.distributed.all_gather_object", fail)
    with pytest.raises(SsbsnError, match="Another process of this training is gone"):
        Team(0, 2, torch.device("cpu")).gather(1)


def test_several_processes_are_not_given_one_gpu(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("ssbsn_cli.core.training.team.resolve_device", torch.device)
    with pytest.raises(OptionError, match="cannot share the device cuda:1"):
        join_team("cuda:1")


@pytest.mark.parametrize("real", [False, True])
def test_clean_photos_and_real_pairs_teach(tiny, real):
    pairs = tiny.photos
    if real:
        pairs = tiny.place / "pairs"
        shutil.copytree(tiny.photos, pairs / "noisy")
        shutil.copytree(tiny.photos, pairs / "clean")
    run = tiny.train(
        data=[],
        pairs=[str(pairs)],
        changes=[f"pairs.real={str(real).lower()}", "training.steps=60"],
    )
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = [record["loss"] for record in records if record["event"] == "validation"]
    assert scores[-1] < scores[0]


def test_weights_of_data_say_how_often_they_are_drawn(tiny):
    dark = tiny.place / "dark"
    dark.mkdir()
    from PIL import Image

    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(dark / "a.png")
    empty = tiny.place / "empty"
    empty.mkdir()
    prepared = tiny.prepare(data=[f"{dark}=3", str(tiny.photos), f"{empty}=0"])
    crops = np.concatenate([prepared.trainer.data.batches(s).noisy for s in range(200)])
    prepared.close()
    assert (crops.max(axis=(1, 2, 3)) == 0).mean() == pytest.approx(0.75, abs=0.07)


def test_a_cache_with_little_room_keeps_windows_as_large_as_what_is_drawn(tiny):
    write_photos(tiny.photos, 2, (1300, 1200))
    changes = ["training.objectives={pairs=1}", "data.cache_gb=0.004"]
    options = {"training.crop": 300, "training.batch_size": 1, "training.validation_crops": 1}
    prepared = tiny.prepare(data=[], pairs=[str(tiny.photos)], changes=changes, options=options)
    prepared.close()
    assert prepared.trainer.data.batches(0).noisy.shape == (1, 3, 300, 300)


def test_what_is_too_small_to_be_held_out_is_named(tiny):
    small = write_photos(tiny.place / "small", 1, (30, 30))
    changes = ["training.hold_out=0.3"]
    tiny.prepare(data=[str(small), str(tiny.photos)], changes=changes).close()
    (warning,) = (line for line in tiny.said if "hold a part" in line)
    assert warning.startswith(str(small))


def test_two_processes_never_train_one_run(tiny):
    first = tiny.prepare()
    for resume in (False, True):
        with pytest.raises(SsbsnError, match="Another process"):
            tiny.prepare(resume=resume)
    first.trainer.train()
    first.close()
    with pytest.raises(OptionError, match="already holds a training run"):
        tiny.prepare()
    tiny.prepare(resume=True).close()


def test_a_training_that_cannot_start_leaves_no_folder(tiny):
    with pytest.raises(OptionError):
        tiny.prepare("new/run", data=[str(tiny.place / "nothing")])
    assert not (tiny.place / "new").exists()


def refusals():
    def used(tiny):
        tiny.train()
        tiny.train()

    def other_config(tiny):
        tiny.train()
        tiny.train(resume=True, options={"training.crop": 30})

    def other_photos(tiny):
        tiny.train()
        write_photos(tiny.photos, 5)
        tiny.train(resume=True)

    def a_changed_row(tiny):
        from PIL import Image

        tiny.train()
        photo = next(tiny.photos.iterdir())
        pixels = np.array(Image.open(photo))
        pixels[1] ^= 1
        Image.fromarray(pixels).save(photo)
        tiny.train(resume=True)

    def damaged_state(tiny):
        (tiny.train() / "state.pt").write_bytes(b"PK\x03\x04 nonsense")
        tiny.train(resume=True)

    def other_network(tiny):
        wide = write_config(tiny.place / "wide.toml", ("channels = 16", "channels = 6"))
        tiny.train(init=str(tiny.train("first")), config=wide)

    def no_init(tiny):
        tiny.train(config="adapt-own")

    def bad_model(tiny):
        tiny.train(config=write_config(tiny.place / "bad.toml", ("channels = 16", "channels = 7")))

    def unknown_model(tiny):
        tiny.train(changes=["model.architecture=resnet"])

    def unknown_parameter(tiny):
        tiny.train(changes=["model.parameters.depth=3"])

    def huge_model(tiny):
        tiny.train(changes=["model.parameters.channels=100000000000000000000"])

    def wide_model(tiny):
        tiny.train(changes=["model.parameters.channels=1000000"])

    def deep_model(tiny):
        tiny.train(changes=[f"model.parameters.blocks={['plain'] * 1025}"])

    def linked_lessons(tiny):
        tiny.train("teacher")
        options = {"distill.teacher": str(tiny.place / "teacher")}
        changes = ["parts.count=1", "parts.side=24", "distill.refine=once"]
        tiny.train("student", options=options, changes=changes)
        (folder,) = (tiny.place / "cache").glob("taught-*")
        shutil.rmtree(folder)
        (tiny.place / "mine").mkdir()
        folder.symlink_to(tiny.place / "mine")
        tiny.train(options=options, changes=changes)

    def empty(tiny):
        (tiny.place / "empty").mkdir()
        tiny.train(data=[str(tiny.place / "empty")])

    def too_small(tiny):
        tiny.train(options={"training.crop": 200})

    def none_readable(tiny):
        for photo in tiny.photos.iterdir():
            photo.write_text("text")
        tiny.train()

    def no_data(tiny):
        tiny.train(data=[])

    def no_pairs(tiny):
        tiny.train(data=[], changes=["training.objectives={pairs=1}"])

    def senseless_share(tiny):
        shares = ["training.objectives={pairs=1}", "pairs.lifted=0.5"]
        tiny.train(data=[f"{tiny.photos}=nan"], pairs=[str(tiny.photos)], changes=shares)

    def other_rounds(tiny):
        tiny.train()
        tiny.train(resume=True, changes=["training.rounds=2"])

    def no_teacher(tiny):
        tiny.train(changes=["training.objectives={distill=1}"])

    def bad_noise(tiny):
        tiny.train(data=[], pairs=[str(tiny.photos)], changes=["pairs.noise={colour=1}"])

    def two_objectives(tiny):
        tiny.train(pairs=[str(tiny.photos)])

    def unused_data(tiny):
        tiny.train(changes=["training.objectives={pairs=1}"], pairs=[str(tiny.photos)])

    def unused_pairs(tiny):
        tiny.train(changes=["training.objectives={self=1, pairs=0}"], pairs=[str(tiny.photos)])

    def odd_crop(tiny):
        tiny.train(data=[], pairs=[str(tiny.photos)], options={"training.crop": 25})

    def other_validation(tiny):
        tiny.train()
        shutil.copytree(tiny.photos, tiny.place / "pairs" / "noisy")
        shutil.copytree(tiny.photos, tiny.place / "pairs" / "clean")
        tiny.train(resume=True, validation=tiny.place / "pairs")

    def held_out_pairs(tiny):
        tiny.train(data=[], pairs=[str(tiny.photos)], changes=["training.hold_out=0.2"])

    def too_narrow(tiny):
        tiny.train(changes=["model.parameters.channels=4"])

    def other_init(tiny):
        first = tiny.train("first")
        tiny.train(init=str(first))
        tiny.train(init="ssbsn-photo", resume=True)

    def no_validation_pairs(tiny):
        tiny.train(validation=tiny.photos)

    return [
        (used, OptionError, "--resume"),
        (other_config, OptionError, "training.crop"),
        (other_photos, OptionError, "other photos"),
        (a_changed_row, OptionError, "other photos"),
        (damaged_state, SsbsnError, "damaged"),
        (other_network, OptionError, "16 channels"),
        (no_init, OptionError, "--init"),
        (bad_model, OptionError, "even"),
        (unknown_model, OptionError, "resnet"),
        (unknown_parameter, OptionError, "depth"),
        (huge_model, OptionError, "model"),
        (wide_model, OptionError, "channels is too large"),
        (deep_model, OptionError, "too large"),
        (linked_lessons, OptionError, "is a link"),
        (empty, OptionError, "no photos in"),
        (too_small, OptionError, "200x200"),
        (none_readable, UnreadableError, "photo0.png"),
        (no_data, OptionError, "--data"),
        (no_pairs, OptionError, "--pairs"),
        (senseless_share, OptionError, "how often"),
        (other_rounds, OptionError, "rounds"),
        (no_teacher, OptionError, "--distill-from"),
        (bad_noise, OptionError, "pairs.noise"),
        (two_objectives, OptionError, "{self=1, pairs=1}"),
        (unused_data, OptionError, "--data"),
        (unused_pairs, OptionError, "--pairs"),
        (odd_crop, OptionError, "multiple of 2"),
        (other_validation, OptionError, "scored on other"),
        (held_out_pairs, OptionError, "hold_out"),
        (too_narrow, OptionError, "few channels"),
        (other_init, OptionError, "ssbsn-photo"),
        (no_validation_pairs, OptionError, "no pairs"),
    ]


@pytest.mark.parametrize(
    ("attempt", "kind", "said"), [pytest.param(*each, id=each[0].__name__) for each in refusals()]
)
def test_what_makes_no_sense_is_said_in_a_sentence_and_loses_nothing(tiny, attempt, kind, said):
    with pytest.raises(SsbsnError) as caught:
        attempt(tiny)
    assert isinstance(caught.value, kind)
    assert said in f"{caught.value} {caught.value.hint}"
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    if (tiny.place / "run" / "weights.safetensors").exists():
        load_checkpoint(tiny.place / "run" / "weights.safetensors")
    else:
        assert not (tiny.place / "run").exists()


def test_a_broken_photo_is_skipped_and_counted(tiny):
    (tiny.photos / "broken.png").write_text("text")
    run = tiny.train()
    assert any("1 skipped" in line for line in tiny.said)
    assert json.loads((run / "data.json").read_text())["sources"][0]["skipped"] == 1
