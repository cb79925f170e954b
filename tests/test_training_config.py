"""Configurations: shipped, changed by options, checked, written whole; the learning rate."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_runs import TINY, write_config

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.training.config import Config, OptimizerConfig, config_names, load_config
from ssbsn_cli.core.training.loop import learning_rate

DOCS = Path(__file__).parents[1] / "docs" / "train.md"


def test_the_shipped_configurations_are_there():
    assert config_names() == [
        "adapt", "adapt-own", "apbsn-sidd", "photo", "small", "ssbsn-photo", "ssbsn-sidd",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters", "batch"), [("ssbsn-sidd", 6_410_947, 4), ("apbsn-sidd", 3_656_131, 8)]
)
def test_the_papers_configurations_are_the_papers(name, parameters, batch):
    config = load_config(name)
    network = Descriptor(config.model.architecture, config.model.parameters).build()
    assert sum(p.numel() for p in network.parameters()) == parameters
    training, optimizer = config.training, config.optimizer
    assert (training.epochs, training.batch_size, training.crop) == (20, batch, 120)
    assert (training.pd_a, network.pd_b, network.pd_pad) == ((5,), 2, 2)
    assert (network.r3_passes, network.r3_probability) == (8, 0.16)
    rates = [learning_rate(optimizer, 10**5, epoch / 20) for epoch in (0, 15.99, 16, 19.99)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


@pytest.mark.parametrize("name", config_names())
def test_a_written_configuration_reads_back_equal(tmp_path, name):
    config = load_config(name, ["optimizer.ema=0.9", "training.pd_a=[2, 5]"])
    path = tmp_path / "again.toml"
    path.write_text(config.to_toml())
    assert load_config(str(path)) == config


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [
        (["training.colour=1"], {}, "training.colour"),
        (["colour=1"], {}, "colour"),
        (["training.batch_size=0"], {}, "training.batch_size"),
        (["training.batch_size=many"], {}, "training.batch_size"),
        (["training.batch_size=1.5"], {}, "training.batch_size"),
        (["training.seed=-1"], {}, "training.seed"),
        (["training.precision=fp16"], {}, "training.precision"),
        (["optimizer.learning_rate=nan"], {}, "optimizer.learning_rate"),
        (["optimizer.learning_rate=-1"], {}, "optimizer.learning_rate"),
        (["optimizer.schedule=slow"], {}, "optimizer.schedule"),
        (["training.objectives.guess=1"], {}, "guess"),
        (["training.objectives={self=0}"], {}, "objectives"),
        (["training.rounds=2"], {}, "rounds"),
        (["training.objectives={synthetic=1}", "pairs.real=true"], {}, "pairs.real"),
        (["training.steps=2"], {"training.epochs": 1.0}, "contradict"),
        (["training.pd_a=[]"], {}, "training.pd_a"),
        (["data.cache_gb=1e308"], {}, "data.cache_gb"),
        ([f"optimizer.warmup_steps={'9' * 5000}"], {}, "optimizer.warmup_steps"),
        ([], {"training.steps": 10**400}, "training.steps"),
        (["training.pd_a=[7]"], {}, "stride 7"),
        (["training"], {}, "key=value"),
        (["data.licence=J\udce9r"], {}, "UTF-8"),
        (["training.crop.x=1"], {}, "training.crop.x"),
        ([], {"training.steps": 0}, "training.steps"),
        ([], {"training.max_minutes": -1.0}, "training.max_minutes"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(changes, options, named):
    with pytest.raises(OptionError) as caught:
        load_config("small", changes, options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ": :" not in str(caught.value)
    assert caught.value.hint


def test_a_file_is_named_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "wrong.toml").write_text("x = 1")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(OptionError, match=r"The configuration \.\./wrong\.toml: "):
        load_config("../wrong.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[training", "TOML"),
        (b"\xff\xfe", "text"),
        (b"", "training: it is missing"),
        (TINY.replace("steps = 6", "steps = 6\nepochs = 1").encode(), "exactly one"),
    ],
)
def test_files_that_are_no_configuration_are_refused(tmp_path, content, said):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=said):
        load_config(str(path))


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(OptionError) as caught:
        load_config("smal")
    assert "small" in caught.value.hint


@pytest.mark.parametrize("length", ["steps", "epochs", "max_minutes"])
def test_naming_one_length_replaces_the_other(length):
    training = load_config("small", options={f"training.{length}": 7}).training
    given_lengths = {
        name: getattr(training, name)
        for name in ("steps", "epochs", "max_minutes")
        if getattr(training, name) is not None
    }
    assert given_lengths == {length: 7}


@pytest.mark.parametrize(
    ("length", "value", "share"), [("steps", 7, 4), ("epochs", 3.0, 1.5), ("max_minutes", 5.0, 2.5)]
)
def test_rounds_share_the_length_of_the_training(length, value, share):
    options = {f"training.{length}": value, "training.most_steps": 10}
    training = load_config("adapt-own", ["training.rounds=2"], options).training.of_one_round()
    assert (getattr(training, length), training.most_steps) == (share, 5)


def test_options_win_over_changes_which_win_over_the_file(tmp_path):
    path = write_config(tmp_path / "c.toml")
    assert load_config(path).training.crop == 20
    assert load_config(path, ["training.crop=30"]).training.crop == 30
    changed = load_config(path, ["training.crop=30"], {"training.crop": 40, "training.seed": None})
    assert changed.training.crop == 40


def test_the_docs_list_every_key():
    text = DOCS.read_text()
    for section, field in Config.model_fields.items():
        kind = field.annotation
        model = next(
            each for each in (kind, *getattr(kind, "__args__", ())) if hasattr(each, "model_fields")
        )
        for key in model.model_fields:
            assert f"`{section}.{key}`" in text


@given(
    schedule=st.sampled_from(["constant", "step", "cosine", "linear"]),
    factor=st.floats(0, 1),
    warmup=st.integers(0, 50),
    step=st.integers(0, 10**6),
    progress=st.floats(0, 2),
)
def test_the_learning_rate_stays_between_zero_and_its_highest(
    schedule, factor, warmup, step, progress
):
    config = OptimizerConfig(
        learning_rate=1e-3, schedule=schedule, factor=factor, warmup_steps=warmup
    )
    rate = learning_rate(config, step, progress)
    assert 0 <= rate <= 1e-3 * (1 + 1e-12)
    later = learning_rate(config, step + warmup, min(progress + 0.1, 2))
    if step >= warmup:
        assert later <= rate * (1 + 1e-12)


def test_warm_up_rises_from_the_first_step():
    config = OptimizerConfig(learning_rate=1.0, schedule="constant", warmup_steps=3)
    assert [learning_rate(config, step, 0.0) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize("name", config_names())
def test_only_configurations_that_adapt_name_no_network(name):
    folder = Path(__file__).parents[1] / "ssbsn_cli" / "core" / "training" / "configs"
    sections = tomllib.loads((folder / f"{name}.toml").read_text())
    assert ("model" in sections) == (not name.startswith("adapt"))
