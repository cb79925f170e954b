"""Submissions to SIDD and DND: what is written can be read again and is complete."""

from __future__ import annotations

import base64
import csv
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat
from submission_files import read_dnd_crop, read_dnd_submission, read_sidd_csv, read_sidd_mat

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.evaluation.datasets.sidd import SHAPE
from ssbsn_cli.core.evaluation.dnd_submission import bundle_dnd, write_dnd_crop
from ssbsn_cli.core.evaluation.sidd_submission import write_sidd_csv, write_sidd_mat

SMALL = (2, 3, 4, 4, 3)
WRITERS = {
    "csv": (write_sidd_csv, read_sidd_csv),
    "mat": (
        functools.partial(write_sidd_mat, method="SS-BSN", seconds_per_megapixel=1.5),
        read_sidd_mat,
    ),
}

blocks_of_any_content = arrays.arrays(np.uint8, SMALL)


def sidd_blocks(seed=0):
    return np.random.default_rng(seed).integers(0, 256, SMALL, np.uint8)


def listed(blocks):
    return [(i, b, blocks[i, b]) for i, b in np.ndindex(blocks.shape[:2])]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# SIDD


@pytest.mark.parametrize("kind", WRITERS)
@settings(deadline=None, max_examples=20)
@given(blocks=blocks_of_any_content)
def test_sidd_blocks_are_read_as_they_were_written(tmp_path_factory, kind, blocks):
    write, read = WRITERS[kind]
    path = tmp_path_factory.mktemp("sidd") / f"SubmitSrgb.{kind}"
    write(path, listed(blocks), shape=SMALL)
    np.testing.assert_array_equal(read(path, SMALL), blocks)


def test_the_csv_is_that_of_the_competition(tmp_path):
    blocks = sidd_blocks()
    path = tmp_path / "SubmitSrgb.csv"
    write_sidd_csv(path, listed(blocks), shape=SMALL)
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["ID", "BLOCK"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[3 * 1 + 2][1] == base64.b64encode(blocks[1, 2].tobytes()).decode()
    # Rows after each other, and RGB within: what the first bytes are.
    first = list(base64.b64decode(rows[0][1])[:6])
    assert first == [*blocks[0, 0, 0, 0], *blocks[0, 0, 0, 1]]


def test_the_real_benchmark_has_1280_blocks_of_262144_letters(tmp_path):
    assert SHAPE == (40, 32, 256, 256, 3)
    blocks = listed(np.zeros((1, 2, *SHAPE[2:]), np.uint8))
    write_sidd_csv(tmp_path / "a.csv", blocks, shape=(1, 2, *SHAPE[2:]))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[1:] == [f"{i},{'A' * 262144}" for i in range(2)]
    with pytest.raises(ValueError, match="image 0, block 2 is missing"):
        write_sidd_csv(tmp_path / "b.csv", blocks)


def test_the_mat_has_what_the_website_asked_for(tmp_path):
    blocks = sidd_blocks()
    path = tmp_path / "SubmitSrgb.mat"
    WRITERS["mat"][0](path, listed(blocks), shape=SMALL)
    stored = loadmat(path)
    cells = stored["DenoisedBlocksSrgb"]
    assert cells.dtype == object
    assert cells.shape == (2, 3)
    np.testing.assert_array_equal(cells[1, 2], blocks[1, 2])
    assert cells[1, 2].dtype == np.uint8
    assert stored["TimeMPSrgb"].item() == 1.5
    options = stored["OptionalData"][0, 0]
    assert {name: options[name].item() for name in options.dtype.names} == {"MethodName": "SS-BSN"}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:4] + b[5:], "image 1, block 2 is out of order"),
        (lambda b: b[:1], "image 0, block 1 is missing"),
        (lambda b: [], "image 0, block 0 is missing"),
        (lambda b: [*b[:3], b[2], *b[3:]], "image 0, block 2 is out of order"),
        (lambda b: [*b, (2, 0, b[0][2])], "image 2, block 0 is out of order"),
        (lambda b: [*b, (0, 3, b[0][2])], "image 0, block 3 is out of order"),
        (lambda b: [(-1, 0, b[0][2]), *b], "image -1"),
        (lambda b: [(0, 0, b[0][2][:3]), *b[1:]], r"image 0, block 0 is \(3, 4, 3\) uint8"),
        (lambda b: [(0, 0, b[0][2] / 255), *b[1:]], "block 0 is .* float64"),
    ],
)
def test_wrong_sidd_blocks_are_refused_and_leave_nothing(tmp_path, kind, change, match):
    blocks = change(listed(sidd_blocks()))
    with pytest.raises(ValueError, match=match):
        WRITERS[kind][0](tmp_path / "a", iter(blocks), shape=SMALL)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_a_failure_meanwhile_leaves_nothing_or_what_was_there(tmp_path, kind):
    def failing():
        yield from listed(sidd_blocks())[:4]
        raise KeyboardInterrupt

    write, read = WRITERS[kind]
    path = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        write(path, failing(), shape=SMALL)
    assert names(tmp_path) == []
    write(path, listed(sidd_blocks(1)), shape=SMALL)
    with pytest.raises(KeyboardInterrupt):
        write(path, failing(), shape=SMALL, overwrite=True)
    np.testing.assert_array_equal(read(path, SMALL), sidd_blocks(1))
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", WRITERS)
def test_sidd_files_are_replaced_only_when_allowed(tmp_path, kind):
    write, read = WRITERS[kind]
    path = tmp_path / "a"
    write(path, listed(sidd_blocks(1)), shape=SMALL)
    with pytest.raises(ImageError, match="exists already"):
        write(path, listed(sidd_blocks(2)), shape=SMALL)
    np.testing.assert_array_equal(read(path, SMALL), sidd_blocks(1))
    write(path, listed(sidd_blocks(2)), shape=SMALL, overwrite=True)
    np.testing.assert_array_equal(read(path, SMALL), sidd_blocks(2))
    with pytest.raises(ImageError, match="folder does not exist"):
        write(tmp_path / "missing" / "a", listed(sidd_blocks()), shape=SMALL)


# DND

IMAGES, BOXES = 2, 3


def dnd_crop(image, box):
    rng = np.random.default_rng([image, box])
    return rng.random((4 + box, 5 + image, 3), np.float32)


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    for image in range(1, IMAGES + 1):
        for box in range(1, BOXES + 1):
            write_dnd_crop(folder, image, box, dnd_crop(image, box))
    return folder


@pytest.fixture
def bundled(tmp_path):
    folder = tmp_path / "bundled"
    folder.mkdir()
    return folder


def bundle(crops, bundled, **options):
    return bundle_dnd(crops, bundled, images=IMAGES, boxes=BOXES, **options)


@settings(deadline=None, max_examples=30)
@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_crops_are_read_as_they_were_written(tmp_path_factory, crop):
    folder = tmp_path_factory.mktemp("dnd")
    path = write_dnd_crop(folder, 7, 12, crop)
    assert path == folder / "0007_12.mat"
    np.testing.assert_array_equal(read_dnd_crop(path), crop)


def test_bundles_are_those_of_the_kit(crops, bundled):
    paths = bundle(crops, bundled)
    assert paths == [bundled / "0001.mat", bundled / "0002.mat"]
    assert names(bundled) == ["0001.mat", "0002.mat"]
    # What the kit's own lines make of the same crops.
    cells = np.zeros((BOXES,), dtype=object)
    for box in range(BOXES):
        cells[box] = loadmat(crops / f"0002_{box + 1:02d}.mat")["Idenoised_crop"]
    kit = bundled.parent / "kit.mat"
    savemat(kit, {"Idenoised": cells, "israw": False, "eval_version": "1.0"})
    assert paths[1].read_bytes()[128:] == kit.read_bytes()[128:]


def test_submissions_are_read_as_they_were_bundled(crops, bundled):
    bundle(crops, bundled)
    submission = list(read_dnd_submission(bundled, IMAGES, BOXES))
    assert len(submission) == IMAGES
    for image, of_image in enumerate(submission, 1):
        assert len(of_image) == BOXES
        for box, crop in enumerate(of_image, 1):
            assert crop.dtype == np.float32
            np.testing.assert_array_equal(crop, dnd_crop(image, box))


@pytest.mark.parametrize(
    "crop",
    [
        np.full((4, 4, 3), 1.01),
        np.full((4, 4, 3), -0.01),
        np.full((4, 4, 3), np.nan),
        np.zeros((4, 4, 3), np.uint8),
    ],
)
def test_wrong_crops_are_not_written(crops, crop):
    with pytest.raises(ValueError, match=r"0003_01.* not of floats from 0 to 1"):
        write_dnd_crop(crops, 3, 1, crop)
    assert not (crops / "0003_01.mat").exists()


def test_sets_that_lack_a_crop_are_not_bundled(crops, bundled):
    with pytest.raises(OptionError, match=r"0001_04\.mat is missing, .* 994 of 1000 crops"):
        bundle_dnd(crops, bundled)
    (crops / "0002_02.mat").unlink()
    with pytest.raises(OptionError, match=r"0002_02\.mat is missing, .* 1 of 6 crops"):
        bundle(crops, bundled)
    assert names(bundled) == []


def test_dnd_files_are_replaced_only_when_allowed(crops, bundled):
    with pytest.raises(ImageError, match=r"0001_01\.mat exists already"):
        write_dnd_crop(crops, 1, 1, dnd_crop(1, 2))
    np.testing.assert_array_equal(read_dnd_crop(crops / "0001_01.mat"), dnd_crop(1, 1))
    (bundled / "0002.mat").write_bytes(b"mine")
    with pytest.raises(ImageError, match=r"0002\.mat exists already"):
        bundle(crops, bundled)
    assert names(bundled) == ["0002.mat"]
    assert (bundled / "0002.mat").read_bytes() == b"mine"
    bundle(crops, bundled, overwrite=True)
    write_dnd_crop(crops, 1, 1, dnd_crop(1, 2), overwrite=True)
    bundle(crops, bundled, overwrite=True)
    first, _ = read_dnd_submission(bundled, IMAGES, BOXES)
    np.testing.assert_array_equal(first[0], dnd_crop(1, 2))
    with pytest.raises(ImageError, match="folder does not exist"):
        bundle(crops, bundled / "missing")
