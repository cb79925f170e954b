"""Submissions to SIDD and DND: what is written can be read again and is complete."""

from __future__ import annotations

import base64
import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat
from submission_files import read_dnd_crop, read_dnd_submission, read_sidd_csv, read_sidd_mat

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.evaluation.datasets import dnd, sidd
from ssbsn_cli.core.evaluation.datasets.samples import Result, Sample
from ssbsn_cli.core.evaluation.outputs import save_picture
from ssbsn_cli.core.runtime.storage import atomic_output

SMALL = (2, 3, 4, 4, 3)
READERS = {"csv": read_sidd_csv, "mat": read_sidd_mat}


def result(image, block, pixels, seconds=None):
    name = f"{image:04d}_{block:02d}"
    sample = Sample(name, np.zeros_like(pixels), place=(image, block))
    return Result("SS-BSN", sample, {}, seconds, None, pixels)


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# SIDD


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sidd, "SHAPE", SMALL)


def sidd_blocks(seed=0):
    return np.random.default_rng(seed).integers(0, 256, SMALL, np.uint8)


def listed(blocks):
    return [result(i + 1, b + 1, blocks[i, b], 1.5e-5) for i, b in np.ndindex(blocks.shape[:2])]


@pytest.mark.parametrize("kind", READERS)
@given(blocks=arrays.arrays(np.uint8, SMALL))
@settings(deadline=None, max_examples=20)
def test_sidd_blocks_are_read_as_they_were_written(tmp_path_factory, kind, blocks):
    path = tmp_path_factory.mktemp("sidd") / f"SubmitSrgb.{kind}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sidd, "SHAPE", SMALL)
        sidd.write_submission(path, listed(blocks), False)
    np.testing.assert_array_equal(READERS[kind](path, SMALL), blocks)


def test_the_csv_is_that_of_the_competition(small, tmp_path):
    blocks = sidd_blocks()
    path = tmp_path / "SubmitSrgb.csv"
    sidd.write_submission(path, listed(blocks), False)
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["ID", "BLOCK"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[3 * 1 + 2][1] == base64.b64encode(blocks[1, 2].tobytes()).decode()
    # Rows after each other, and RGB within: what the first bytes are.
    first = list(base64.b64decode(rows[0][1])[:6])
    assert first == [*blocks[0, 0, 0, 0], *blocks[0, 0, 0, 1]]


def test_the_real_benchmark_has_1280_blocks_of_262144_letters(tmp_path, monkeypatch):
    assert sidd.SHAPE == (40, 32, 256, 256, 3)
    blocks = listed(np.zeros((1, 2, *sidd.SHAPE[2:]), np.uint8))
    with pytest.raises(ValueError, match="shorter"):
        sidd.write_submission(tmp_path / "b.csv", blocks, False)
    monkeypatch.setattr(sidd, "SHAPE", (1, 2, *sidd.SHAPE[2:]))
    sidd.write_submission(tmp_path / "a.csv", blocks, False)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[1:] == [f"{i},{'A' * 262144}" for i in range(2)]


def test_the_mat_has_what_the_website_asked_for(small, tmp_path):
    blocks = sidd_blocks()
    path = tmp_path / "SubmitSrgb.mat"
    sidd.write_submission(path, listed(blocks), False)
    stored = loadmat(path)
    cells = stored["DenoisedBlocksSrgb"]
    assert cells.dtype == object
    assert cells.shape == (2, 3)
    np.testing.assert_array_equal(cells[1, 2], blocks[1, 2])
    assert cells[1, 2].dtype == np.uint8
    # 16 pixels in 1.5e-5 seconds.
    assert stored["TimeMPSrgb"].item() == pytest.approx(1.5e-5 * 2**20 / 16)
    options = stored["OptionalData"][0, 0]
    assert {name: options[name].item() for name in options.dtype.names} == {"MethodName": "SS-BSN"}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:4] + b[5:], "image 2, block 2 is missing"),
        (lambda b: b[1:], "image 1, block 1 is missing"),
        (lambda b: b[:1], "shorter"),
        (lambda b: [], "shorter"),
        (lambda b: [*b[:3], b[2], *b[3:]], "image 2, block 1 is missing"),
        (lambda b: [*b, b[0]], "longer"),
    ],
)
def test_incomplete_results_are_refused_and_leave_nothing(small, tmp_path, kind, change, match):
    results = change(listed(sidd_blocks()))
    with pytest.raises(ValueError, match=match):
        sidd.write_submission(tmp_path / f"a.{kind}", iter(results), False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", READERS)
def test_a_failure_meanwhile_leaves_nothing_or_what_was_there(small, tmp_path, kind):
    def failing():
        yield from listed(sidd_blocks())[:4]
        raise KeyboardInterrupt

    path = tmp_path / f"a.{kind}"
    with pytest.raises(KeyboardInterrupt):
        sidd.write_submission(path, failing(), False)
    assert names(tmp_path) == []
    sidd.write_submission(path, listed(sidd_blocks(1)), False)
    with pytest.raises(KeyboardInterrupt):
        sidd.write_submission(path, failing(), True)
    np.testing.assert_array_equal(READERS[kind](path, SMALL), sidd_blocks(1))
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", READERS)
def test_sidd_files_are_replaced_only_when_allowed(small, tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    sidd.write_submission(path, listed(sidd_blocks(1)), False)
    with pytest.raises(ImageError, match="already exists"):
        sidd.write_submission(path, listed(sidd_blocks(2)), False)
    np.testing.assert_array_equal(READERS[kind](path, SMALL), sidd_blocks(1))
    sidd.write_submission(path, listed(sidd_blocks(2)), True)
    np.testing.assert_array_equal(READERS[kind](path, SMALL), sidd_blocks(2))
    with pytest.raises(ImageError, match="folder does not exist"):
        sidd.write_submission(tmp_path / "missing" / path.name, listed(sidd_blocks()), False)


# DND

IMAGES, BOXES = 2, 3


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(dnd, "_IMAGES", IMAGES)
    monkeypatch.setattr(dnd, "_BOXES", BOXES)


def dnd_crop(image, box):
    rng = np.random.default_rng([image, box])
    return rng.random((4 + box, 5 + image, 3), np.float32)


def crops():
    return [
        result(image, box, dnd_crop(image, box))
        for image in range(1, IMAGES + 1)
        for box in range(1, BOXES + 1)
    ]


@settings(deadline=None, max_examples=20)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_crops_are_read_as_they_were_written(tmp_path_factory, crop):
    folder = tmp_path_factory.mktemp("dnd")
    dnd.write_submission(folder, [*crops()[:-1], result(IMAGES, BOXES, crop)], False)
    np.testing.assert_array_equal(read_dnd_crop(folder / "crops/0002_03.mat"), crop)


def test_bundles_are_those_of_the_kit(tmp_path):
    dnd.write_submission(tmp_path, crops(), False)
    assert names(tmp_path / "bundled") == ["0001.mat", "0002.mat"]
    # The result of the kit's own code for the same crops.
    cells = np.zeros((BOXES,), dtype=object)
    for box in range(BOXES):
        cells[box] = loadmat(tmp_path / f"crops/0002_{box + 1:02d}.mat")["Idenoised_crop"]
    kit = tmp_path / "kit.mat"
    savemat(kit, {"Idenoised": cells, "israw": False, "eval_version": "1.0"})
    assert (tmp_path / "bundled/0002.mat").read_bytes()[128:] == kit.read_bytes()[128:]


def test_submissions_are_read_as_they_were_bundled(tmp_path):
    dnd.write_submission(tmp_path, crops(), False)
    submission = list(read_dnd_submission(tmp_path / "bundled", IMAGES, BOXES))
    assert len(submission) == IMAGES
    for image, of_image in enumerate(submission, 1):
        assert len(of_image) == BOXES
        for box, crop in enumerate(of_image, 1):
            assert crop.dtype == np.float32
            np.testing.assert_array_equal(crop, dnd_crop(image, box))


@pytest.mark.parametrize("missing", [0, 4, 5])
def test_sets_that_lack_a_crop_are_not_bundled(tmp_path, missing):
    results = crops()
    del results[missing]
    with pytest.raises(ValueError, match=r"missing|shorter"):
        dnd.write_submission(tmp_path, results, False)
    assert names(tmp_path / "bundled") == []


@pytest.mark.parametrize("link", ["crops", "bundled", "bundled/0002.mat", "crops/0001_02.mat"])
def test_nothing_is_written_through_links_in_the_folder(tmp_path, link):
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "results" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(ImageError, match="is a link"):
        dnd.write_submission(tmp_path / "results", crops(), True)
    assert not elsewhere.exists()


@pytest.mark.parametrize("link", ["SS-BSN", "SS-BSN/0001_02.png"])
def test_no_picture_is_written_through_a_link_in_the_folder(tmp_path, link):
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "results" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(ImageError, match="is a link"):
        save_picture(tmp_path / "results", crops()[1], True)
    assert not elsewhere.exists()


def test_a_picture_that_cannot_be_written_is_not_blamed_on_a_submission(tmp_path):
    (tmp_path / "results").touch()
    with (
        pytest.raises(ImageError, match=r"results/.*\.png cannot be written"),
        atomic_output(tmp_path / "submission.csv"),
    ):
        save_picture(tmp_path / "results", crops()[1], True)


def test_bundles_are_replaced_only_when_allowed(tmp_path):
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "0002.mat").write_bytes(b"mine")
    # Hours before the last crop is denoised.
    with pytest.raises(OptionError, match=r"0002\.mat already exists"):
        dnd.write_submission(tmp_path, iter(()), False)
    assert names(bundled) == ["0002.mat"]
    assert (bundled / "0002.mat").read_bytes() == b"mine"
    dnd.write_submission(tmp_path, crops(), True)
    changed = [replace(each, pixels=each.pixels / 2) for each in crops()]
    dnd.write_submission(tmp_path, changed, True)
    first, _ = read_dnd_submission(bundled, IMAGES, BOXES)
    np.testing.assert_array_equal(first[0], dnd_crop(1, 1) / 2)


def test_a_file_is_no_place_for_a_submission_to_dnd(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        dnd.check_submission(tmp_path / "file")
