"""An evaluation's figures are right, resume, and never hold more than a batch of pictures."""

from __future__ import annotations

import csv
import gc
import json
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from conftest import TINY, make_network

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation import scoring
from ssbsn_cli.core.evaluation.datasets.samples import Sample
from ssbsn_cli.core.evaluation.methods import Learned, Method, Noisy, name_rows
from ssbsn_cli.core.evaluation.metrics import METRICS, NO_REFERENCE, choose_metrics
from ssbsn_cli.core.evaluation.outputs import Findings, to_csv
from ssbsn_cli.core.evaluation.scoring import ResultCache, evaluate
from ssbsn_cli.core.inference.denoiser import load_denoiser
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.runtime.device import PeakMemory
from ssbsn_cli.core.types import from_unit
from ssbsn_cli.core.weights.locate import LoadedWeights

psnr = METRICS["psnr"].compute


@dataclass
class Samples:
    """A data set in memory; counts how many of its samples are alive."""

    sizes: list[tuple[int, int]]
    references: int = 1
    groups: tuple[str, ...] = ("",)
    name: str = "pairs"
    title: str = "Pairs"
    comparison: str = "Everything."
    alive: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    most: int = 0

    @property
    def referenced(self):
        return self.references > 0

    def __len__(self):
        return len(self.sizes)

    def __iter__(self):
        for i, (height, width) in enumerate(self.sizes):
            rng = np.random.default_rng(i)
            clean = rng.integers(60, 190, (height, width, 3), np.uint8)
            noisy = np.clip(clean + rng.normal(0, 9, clean.shape), 0, 255).astype(np.uint8)
            references = (clean,) * self.references
            sample = Sample(f"s{i}", noisy, references, group=self.groups[i % len(self.groups)])
            self.alive.add(sample)
            gc.collect()
            self.most = max(self.most, len(self.alive))
            yield sample


class Shift(Method):
    """Adds a constant; takes batches."""

    name, title, kind = "shift", "Shift", "Shift"
    description = "adds"

    def __init__(self, by=3, batch=4, fail_after=None):
        self.by, self.batch, self.fail_after = by, batch, fail_after
        self.calls = []

    @property
    def settings(self):
        return {"by": self.by}

    def batch_size(self, height, width):
        return self.batch

    def __call__(self, images):
        if self.fail_after is not None and len(self.calls) >= self.fail_after:
            raise KeyboardInterrupt
        self.calls.append([image.shape for image in images])
        return [image.astype(np.float32) / 255 + np.float32(self.by / 255) for image in images]


def no_cache():
    return ResultCache(None, pytest.fail)


def run(dataset, methods, metrics=("psnr",), cache=None, wants_pixels=lambda name: False):
    chosen = choose_metrics(metrics, dataset.referenced)
    findings = Findings(dataset, "tiled", methods, chosen)
    for result in evaluate(dataset, methods, chosen, cache or no_cache(), wants_pixels):
        findings.add(result)
    return findings.summary()


def row(found, method, group=""):
    (one,) = (r for r in found["rows"] if r["method"] == method and r["group"] == group)
    return one


def test_figures_are_means_over_images_of_what_the_metric_says():
    dataset = Samples([(20, 24), (20, 24), (31, 18)], groups=("a", "b"))
    found = run(dataset, [Noisy(), Shift()])
    for group, numbers in (("", (0, 1, 2)), ("a", (0, 2)), ("b", (1,))):
        samples = [s for i, s in enumerate(dataset) if i in numbers]
        before = [psnr(s.references[0], s.noisy) for s in samples]
        shifted = [np.clip(s.noisy.astype(int) + 3, 0, 255).astype(np.uint8) for s in samples]
        after = [psnr(s.references[0], x) for s, x in zip(samples, shifted, strict=True)]
        assert row(found, "noisy", group)["scores"]["psnr"] == pytest.approx(np.mean(before))
        one = row(found, "shift", group)
        assert one["scores"]["psnr"] == pytest.approx(np.mean(after))
        gains = np.subtract(after, before)
        assert one["worse"] == (gains < 0).sum() > 0
        assert one["least_gain"] == pytest.approx(gains.min())
        assert one["images"] == len(numbers)


def test_times_are_per_pixel_and_the_input_takes_none():
    found = run(Samples([(20, 24)] * 5), [Noisy(), Shift()])
    assert row(found, "noisy")["seconds_per_megapixel"] is None
    seconds = sum(image["results"]["shift"]["seconds"] for image in found["images"])
    expected = seconds / (5 * 20 * 24 / 1e6)
    assert row(found, "shift")["seconds_per_megapixel"] == pytest.approx(expected, rel=1e-2)


def test_a_table_for_files_has_a_line_for_each_image_and_method():
    found = run(Samples([(20, 24)] * 3), [Noisy(), Shift()])
    lines = list(csv.DictReader(to_csv(found).decode().splitlines()))
    assert [(line["image"], line["method"]) for line in lines] == [
        (f"s{i}", method) for i in range(3) for method in ("noisy", "shift")
    ]
    scores = [
        image["results"][method]["scores"]["psnr"]
        for image in found["images"]
        for method in ("noisy", "shift")
    ]
    assert [float(line["psnr"]) for line in lines] == scores


def test_images_of_one_size_go_together_and_no_others():
    shift = Shift(batch=3)
    dataset = Samples([(20, 24)] * 4 + [(24, 20)] * 2 + [(20, 24)])
    found = run(dataset, [Noisy(), shift])
    assert [len(call) for call in shift.calls] == [3, 1, 2, 1]
    assert all(len(set(call)) == 1 for call in shift.calls)
    assert [image["name"] for image in found["images"]] == [f"s{i}" for i in range(7)]


def test_memory_stays_flat():
    dataset = Samples([(20, 24)] * 30)
    run(dataset, [Noisy(), Shift(batch=4)])
    assert dataset.most <= 10


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path):
    dataset = Samples([(20, 24)] * 6)
    cache = ResultCache(tmp_path, pytest.fail)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, [Noisy(), Shift(batch=2, fail_after=2)], cache=cache)
    second = Shift(batch=2)
    found = run(dataset, [Noisy(), second], cache=cache)
    assert len(second.calls) == 1
    third = Shift(batch=2)
    again = run(dataset, [Noisy(), third], cache=cache)
    assert third.calls == []
    assert again == found
    fresh = run(dataset, [Noisy(), Shift(batch=2)])
    for image, other in zip(found["images"], fresh["images"], strict=True):
        for method in ("noisy", "shift"):
            scores = image["results"][method]["scores"], other["results"][method]["scores"]
            assert scores[0] == scores[1]


@pytest.mark.parametrize("change", ["settings", "metric", "content", "pixels", "damage"])
def test_what_is_kept_is_used_only_if_it_answers_the_question(tmp_path, change):
    cache = ResultCache(tmp_path, pytest.fail)
    run(Samples([(20, 24)] * 2), [Shift(batch=2)], cache=cache)
    again = {
        "settings": ([(20, 24)] * 2, Shift(by=4, batch=2), ("psnr",), False),
        "metric": ([(20, 24)] * 2, Shift(batch=2), ("psnr", "ssim"), False),
        "content": ([(24, 20)] * 2, Shift(batch=2), ("psnr",), False),
        "pixels": ([(20, 24)] * 2, Shift(batch=2), ("psnr",), True),
        "damage": ([(20, 24)] * 2, Shift(batch=2), ("psnr",), False),
    }
    sizes, method, metrics, pixels = again[change]
    if change == "damage":
        for number, path in enumerate(tmp_path.rglob("*.npz")):
            path.write_bytes(path.read_bytes()[:50] if number else b"")
    run(Samples(sizes), [method], metrics, cache, lambda name: pixels)
    assert len(method.calls) == 1
    if change == "metric":
        # Scores that were kept before are still there.
        run(Samples(sizes), [Shift(batch=2, fail_after=0)], ("psnr", "ssim"), cache)


def test_times_of_another_machine_are_not_used(tmp_path, monkeypatch):
    cache = ResultCache(tmp_path, pytest.fail)
    for cpu in ("slow", "fast", "fast"):
        monkeypatch.setattr(scoring, "describe_machine", lambda cpu=cpu: {"cpu": cpu})
        method = Shift(batch=2)
        run(Samples([(20, 24)] * 2), [method], cache=cache)
    assert method.calls == []


def told(scores=None, seconds=1.0, peak=1):
    return json.dumps({"scores": scores or {"psnr": 30.0}, "seconds": seconds, "peak": peak})


HOSTILE = {
    "no scores": told().replace('{"psnr": 30.0}', "null"),
    "scores in text": told({"psnr": "30"}),
    "time in text": told(seconds="1"),
    "nested deeply": "[" * 100_000,
    "a number of 5000 digits": told(seconds=1).replace("1,", "9" * 5000 + ","),
    "a memory of 400 digits": told(peak=10**400),
    "scores that overflow": told({"psnr": 1.7e308}),
    "not a number": told({"psnr": float("nan")}),
    "no text": b"\xff",
    "other pixels": {"pixels": np.zeros((3, 3), np.uint8)},
    "pixels of another type": {"pixels": np.zeros((20, 24, 3), np.int64)},
    "a bomb": {"pixels": np.zeros((20, 24, 3), np.uint8), "more": np.zeros(1 << 22, np.uint8)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_kept_result_that_makes_no_sense_is_made_anew(tmp_path, name):
    cache = ResultCache(tmp_path, pytest.fail)
    expected = run(Samples([(20, 24)]), [Shift()], cache=cache, wants_pixels=lambda name: True)
    (path,) = tmp_path.rglob("*.npz")
    content = HOSTILE[name]
    arrays = content if isinstance(content, dict) else {}
    text = told() if arrays else content
    raw = text if isinstance(text, bytes) else text.encode()
    np.savez_compressed(path, told=np.frombuffer(raw, np.uint8), **arrays)
    found = run(Samples([(20, 24)]), [Shift()], cache=cache, wants_pixels=lambda name: bool(arrays))
    assert (
        found["images"][0]["results"]["shift"]["scores"]
        == (expected["images"][0]["results"]["shift"]["scores"])
    )


def test_images_without_a_group_count_among_all_alone():
    dataset = Samples([(20, 24), (20, 24), (31, 18)], groups=("", "b"))
    found = run(dataset, [Noisy()])
    assert [(r["group"], r["images"]) for r in found["rows"]] == [("b", 1), ("", 3)]


def test_other_metrics_do_not_lose_the_pixels(tmp_path):
    cache = ResultCache(tmp_path, pytest.fail)
    run(Samples([(20, 24)]), [Shift()], cache=cache, wants_pixels=lambda name: True)
    run(Samples([(20, 24)]), [Shift()], ("psnr", "ssim"), cache=cache)
    shift = Shift()
    run(Samples([(20, 24)]), [shift], ("psnr", "ssim"), cache=cache, wants_pixels=lambda name: True)
    assert not shift.calls


def test_kept_pixels_are_those_that_were_scored(tmp_path):
    cache = ResultCache(tmp_path, pytest.fail)
    dataset = Samples([(20, 24)] * 3)
    metrics = choose_metrics(["psnr"], True)
    for _ in range(2):
        for result in evaluate(dataset, [Shift()], metrics, cache, lambda name: True):
            assert result.pixels.dtype == np.uint8
            assert psnr(result.sample.references[0], result.pixels) == result.scores["psnr"]


def test_a_cache_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    said = []
    cache = ResultCache(tmp_path / "file" / "cache", said.append)
    found = run(Samples([(20, 24)] * 5), [Noisy(), Shift()], cache=cache)
    assert len(found["images"]) == 5
    assert len(said) == 1
    assert "file" in said[0]


def test_without_references_there_are_figures_that_need_none():
    found = run(Samples([(20, 24)] * 2, references=0), [Noisy(), Shift()], metrics=())
    assert set(row(found, "shift")["scores"]) == set(NO_REFERENCE)
    assert row(found, "noisy")["scores"]["change"] == 0
    assert row(found, "shift")["scores"]["change"] == pytest.approx(3)
    assert row(found, "shift")["worse"] is None


@pytest.mark.parametrize("sigma", [4.0, 20.0])
def test_the_noise_estimate_is_right_for_white_noise(sigma):
    noise = np.random.default_rng(0).normal(128, sigma, (128, 128, 3))
    picture = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    measured = NO_REFERENCE["noise"].compute(picture, picture)
    assert measured == pytest.approx(sigma, rel=0.05)
    assert NO_REFERENCE["noise"].compute(picture, np.full_like(picture, 7)) == 0
    picture[..., 1:] = 0
    assert NO_REFERENCE["noise"].compute(picture, picture) == pytest.approx(measured / 3, rel=0.05)


@pytest.mark.parametrize(
    ("names", "referenced", "match"),
    [
        (["psnr"], False, "clean photos"),
        (["pnsr"], True, "no metric"),
        (["noise"], True, "this one has them"),
    ],
)
def test_figures_that_cannot_be_had_are_refused(names, referenced, match):
    with pytest.raises(OptionError, match=match) as error:
        choose_metrics(names, referenced)
    assert error.value.hint


def test_references_of_all_depths_are_brought_to_one_white():
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}
    for dtype, value in white.items():
        picture = np.full((4, 4, 3), value, dtype)
        assert (Sample("a", picture, (picture,)).reference() == 255).all()
    two = tuple(np.full((4, 4, 3), value, np.uint8) for value in (10, 11))
    assert (Sample("a", two[0], two).reference() == 10.5).all()


def test_rows_have_names_of_their_own():
    weights = ["a/mine", "b/mine", "x/net.safetensors", "noisy", "Mine", "runs/lr0.01"]
    names = name_rows(weights, ["noisy"])
    assert names == ["mine", "mine-2", "net", "noisy-2", "Mine-3", "lr0.01"]


# Networks


@pytest.fixture(params=["none", "once", "r3"])
def denoiser(request):
    network = make_network("ssbsn")
    parameters = {"channels": 12, "blocks": ["plain", "ss", "ss"]}
    descriptor = Descriptor("ssbsn", parameters, refine=request.param)
    weights = LoadedWeights(network, descriptor, "tiny", "0" * 64)
    return load_denoiser(weights, device="cpu", precision="fp32", tile=64)


def test_a_batch_gives_what_each_image_gives_alone(denoiser):
    rng = np.random.default_rng(0)
    images = [rng.random((40, 48, 3)).astype(np.float32) for _ in range(3)]
    together = denoiser.denoise_batch(images)
    for image, result in zip(images, together, strict=True):
        np.testing.assert_allclose(result, denoiser(image), atol=1e-4)


@pytest.mark.parametrize("side", [40, 72], ids=["in one tile", "in several"])
def test_dark_photos_score_as_denoise_leaves_them(denoiser, side):
    image = np.random.default_rng(0).integers(0, 30, (side, side, 3), np.uint8)
    (result,) = Learned(denoiser, "tiny")([image])
    np.testing.assert_array_equal(from_unit(result, image.dtype), denoiser(image))


@pytest.mark.parametrize(("family", "kind"), [("ssbsn", "exact"), ("apbsn", None)])
def test_only_networks_with_attention_report_its_kind(family, kind):
    weights = LoadedWeights(
        make_network(family), Descriptor(family, TINY[family]), family, "0" * 64
    )
    said = []
    made = load_denoiser(weights, device="cpu", attention="exact", notify=said.append)
    assert made.describe()["attention"] == kind
    assert any("no attention" in text for text in said) == (kind is None)
    description = Learned(made, family).description
    assert ("exact attention" in description) == (kind is not None)
    assert "refine r3" in description


def test_networks_batch_small_images_only(denoiser):
    assert denoiser.batch_size(40, 48) > 1
    assert denoiser.batch_size(65, 20) == 1


def test_tiles_do_not_tell_results_of_small_images_apart(denoiser):
    network = Learned(denoiser, "tiny")
    assert network.settings_for(64, 64)["tile"] == 0
    assert network.settings_for(65, 64)["tile"] == 64
    assert network.settings["weights"]["sha256"] == "0" * 64


# Memory


def test_the_peak_of_memory_is_seen_even_if_it_is_gone():
    with PeakMemory("cpu") as memory:
        torch.ones(50 << 20, dtype=torch.uint8)
    if memory.bytes is None:
        pytest.skip("only Linux tells")
    assert 40 << 20 < memory.bytes < 100 << 20
    with PeakMemory("cpu") as memory:
        pass
    assert memory.bytes < 5 << 20
