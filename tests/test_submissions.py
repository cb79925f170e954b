"""Submissions to SIDD and DND: what is written is read again, and nothing incomplete is either."""

from __future__ import annotations

import base64
import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.evaluation.dnd_submission import (
    bundle_dnd,
    read_dnd_crop,
    read_dnd_image,
    read_dnd_submission,
    write_dnd_crop,
)
from ssbsn_cli.core.evaluation.matlab import read_matlab
from ssbsn_cli.core.evaluation.sidd_blocks import SIDD_BENCHMARK, SiddLayout
from ssbsn_cli.core.evaluation.sidd_submission import (
    read_sidd_csv,
    read_sidd_mat,
    write_sidd_csv,
    write_sidd_mat,
)

SMALL = SiddLayout(images=2, blocks=3, side=4)
WRITERS = {
    "csv": (write_sidd_csv, read_sidd_csv),
    "mat": (write_sidd_mat, read_sidd_mat),
}
V73 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512)

blocks_of_any_content = arrays.arrays(np.uint8, SMALL.shape)


def sidd_blocks(seed=0, layout=SMALL):
    return np.random.default_rng(seed).integers(0, 256, layout.shape, np.uint8)


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
    write(path, blocks, layout=SMALL)
    result = read(path, layout=SMALL)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, blocks)


@pytest.mark.parametrize("kind", WRITERS)
@given(order=st.permutations(range(SMALL.count)))
@settings(deadline=None, max_examples=20)
def test_sidd_blocks_may_come_in_any_order(tmp_path_factory, kind, order):
    write, read = WRITERS[kind]
    folder = tmp_path_factory.mktemp("sidd")
    blocks = sidd_blocks()
    write(folder / "one", (listed(blocks)[n] for n in order), layout=SMALL)
    np.testing.assert_array_equal(read(folder / "one", layout=SMALL), blocks)
    if kind == "csv":
        write(folder / "two", blocks, layout=SMALL)
        assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_the_csv_is_that_of_the_competition(tmp_path):
    blocks = sidd_blocks()
    path = tmp_path / "SubmitSrgb.csv"
    write_sidd_csv(path, blocks, layout=SMALL)
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["ID", "BLOCK"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[3 * 1 + 2][1] == base64.b64encode(blocks[1, 2].tobytes()).decode()
    # Rows after each other, and RGB within: what the first bytes are.
    first = list(base64.b64decode(rows[0][1])[:6])
    assert first == [*blocks[0, 0, 0, 0], *blocks[0, 0, 0, 1]]


def test_the_real_benchmark_has_1280_blocks_of_262144_letters(tmp_path):
    assert SIDD_BENCHMARK.shape == (40, 32, 256, 256, 3)
    layout = SiddLayout(images=1, blocks=2)
    write_sidd_csv(tmp_path / "a.csv", np.zeros(layout.shape, np.uint8), layout=layout)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[1:] == [f"{i},{'A' * 262144}" for i in range(2)]
    with pytest.raises(OptionError, match=r"ID 2 \(image 0, block 2\) is missing .* 1278 of 1280"):
        read_sidd_csv(tmp_path / "a.csv")


def test_the_mat_has_what_the_website_asked_for(tmp_path):
    blocks = sidd_blocks()
    path = tmp_path / "SubmitSrgb.mat"
    about = {"Authors": "Jane Doe", "MethodName": "SS-BSN"}
    write_sidd_mat(path, blocks, seconds_per_megapixel=1.5, about=about, layout=SMALL)
    stored = loadmat(path)
    cells = stored["DenoisedBlocksSrgb"]
    assert cells.dtype == object
    assert cells.shape == (2, 3)
    np.testing.assert_array_equal(cells[1, 2], blocks[1, 2])
    assert cells[1, 2].dtype == np.uint8
    assert stored["TimeMPSrgb"].item() == 1.5
    options = stored["OptionalData"][0, 0]
    assert {name: options[name].item() for name in options.dtype.names} == about


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda b: b[:4] + b[5:], OptionError, r"ID 4 \(image 1, block 1\) is missing.* 1 of 6"),
        (lambda b: b[:1], OptionError, r"ID 1 .*is missing.* 5 of 6"),
        (lambda b: [], OptionError, r"ID 0 .*is missing"),
        (lambda b: [*b, b[2]], OptionError, r"ID 2 \(image 0, block 2\) is given twice"),
        (lambda b: [*b, (2, 0, b[0][2])], OptionError, "Image 2, block 0 is not of the benchmark"),
        (lambda b: [*b, (0, 3, b[0][2])], OptionError, "Image 0, block 3 is not of the benchmark"),
        (lambda b: [(-1, 0, b[0][2]), *b], OptionError, "Image -1"),
        (lambda b: [(0, 0, b[0][2][:3]), *b[1:]], OptionError, r"ID 0 .*\(3, 4, 3\)"),
        (lambda b: [(0, 0, b[0][2] / 255), *b[1:]], TypeError, "uint8, not float64"),
    ],
)
def test_wrong_sidd_blocks_are_refused_and_leave_nothing(tmp_path, kind, change, error, match):
    blocks = change(listed(sidd_blocks()))
    with pytest.raises(error, match=match):
        WRITERS[kind][0](tmp_path / "a", iter(blocks), layout=SMALL)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_an_array_of_another_shape_is_refused(tmp_path, kind):
    with pytest.raises(OptionError, match=r"\(2, 2, 4, 4, 3\)") as refusal:
        WRITERS[kind][0](tmp_path / "a", sidd_blocks()[:, :2], layout=SMALL)
    assert "(2, 3, 4, 4, 3)" in refusal.value.hint


@pytest.mark.parametrize("kind", WRITERS)
def test_a_failure_meanwhile_leaves_nothing_or_what_was_there(tmp_path, kind):
    def failing():
        yield from listed(sidd_blocks())[:4]
        raise KeyboardInterrupt

    write, read = WRITERS[kind]
    path = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        write(path, failing(), layout=SMALL)
    assert names(tmp_path) == []
    write(path, sidd_blocks(1), layout=SMALL)
    with pytest.raises(KeyboardInterrupt):
        write(path, failing(), layout=SMALL, overwrite=True)
    np.testing.assert_array_equal(read(path, layout=SMALL), sidd_blocks(1))
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", WRITERS)
def test_sidd_files_are_replaced_only_when_allowed(tmp_path, kind):
    write, read = WRITERS[kind]
    path = tmp_path / "a"
    write(path, sidd_blocks(1), layout=SMALL)
    with pytest.raises(ImageError, match="exists already"):
        write(path, sidd_blocks(2), layout=SMALL)
    np.testing.assert_array_equal(read(path, layout=SMALL), sidd_blocks(1))
    write(path, sidd_blocks(2), layout=SMALL, overwrite=True)
    np.testing.assert_array_equal(read(path, layout=SMALL), sidd_blocks(2))
    with pytest.raises(ImageError, match="folder does not exist"):
        write(tmp_path / "missing" / "a", sidd_blocks(), layout=SMALL)


@pytest.fixture
def rows(tmp_path):
    write_sidd_csv(tmp_path / "good.csv", sidd_blocks(), layout=SMALL)
    return (tmp_path / "good.csv").read_text().splitlines()


def read_rows(folder, rows, newline="\n"):
    path = folder / "a.csv"
    path.write_text(newline.join(rows) + newline, newline="")
    return read_sidd_csv(path, layout=SMALL)


def test_rows_of_other_programs_are_read(tmp_path, rows):
    windows = read_rows(tmp_path, ["\ufeff" + rows[0], *rows[:0:-1], ""], "\r\n")
    np.testing.assert_array_equal(windows, sidd_blocks())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r: r[:-1], r"ID 5 \(image 1, block 2\) is missing in .*a\.csv.* 1 of 6"),
        (lambda r: [*r[:2], *r[4:]], r"ID 1 .*is missing in .* 2 of 6"),
        (lambda r: r[:1], r"ID 0 .* is missing .* 6 of 6"),
        (lambda r: [*r, r[3]], r"ID 2 \(image 0, block 2\) in .*a\.csv is doubled"),
        (lambda r: [*r, "6,AAAA"], r"ID 6 in .* is not of the benchmark"),
        (lambda r: [*r[:5], r[5][:-4], r[6]], r"ID 4 .* has 45 bytes instead of 48"),
        (lambda r: [*r[:5], r[5] + "AAAA", r[6]], r"ID 4 .* has 51 bytes instead of 48"),
        (lambda r: [*r[:5], "4,", r[6]], r"ID 4 .* has 0 bytes"),
        (lambda r: [*r[:5], r[5][:-1], r[6]], r"ID 4 .* is not base64"),
        (lambda r: [*r[:5], r[5][:-1] + "!", r[6]], r"ID 4 .* is not base64"),
        (lambda r: [*r[:5], r[5][:-1] + "é", r[6]], r"ID 4 .* is not base64"),
        (lambda r: [*r[:5], r[5][:9] + "!" + r[5][9:], r[6]], r"ID 4 .* is not base64"),
        (lambda r: [*r[:5], r[5] + ",x", r[6]], r"ID 4 .* is not base64"),
        (lambda r: [*r[:6], "5"], r"Line 7 of .*a\.csv does not begin with an ID"),
        (lambda r: [*r[:6], "-1,AAAA"], "Line 7"),
        (lambda r: [*r[:6], "five,AAAA"], "Line 7"),
        (lambda r: [*r[:6], "²,AAAA"], "Line 7"),
        (lambda r: [*r[:6], "9" * 5000 + ",AAAA"], "Line 7"),
        (lambda r: r[1:], "first line is not ID,BLOCK"),
        (lambda r: [], "first line is not ID,BLOCK"),
    ],
)
def test_wrong_csv_files_are_refused_with_the_first_wrong_block(tmp_path, rows, change, match):
    with pytest.raises(OptionError, match=match) as refusal:
        read_rows(tmp_path, change(rows))
    assert refusal.value.hint


@settings(deadline=None)
@given(data=st.data())
def test_a_csv_that_was_cut_off_is_never_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("sidd") / "a.csv"
    write_sidd_csv(path, sidd_blocks(), layout=SMALL)
    content = path.read_bytes()
    # The end of the last line alone may be missing.
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 2))])
    with pytest.raises(OptionError):
        read_sidd_csv(path, layout=SMALL)


def test_a_csv_of_anything_else_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(OptionError, match="first line"):
        read_sidd_csv(tmp_path / "a.csv")
    for name, match in (("missing.csv", "does not exist"), (".", "cannot be read")):
        with pytest.raises(OptionError, match=match):
            read_sidd_csv(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, r"ID 4 .* in .*a\.mat is missing"),
        (np.zeros((4, 4, 3)), "ID 4 .* not uint8"),
        (np.zeros((4, 5, 3), np.uint8), "ID 4 .* another size"),
    ],
)
def test_wrong_cells_are_refused_with_the_first_wrong_block(tmp_path, value, match):
    cells = np.empty((2, 3), object)
    for i, b, pixels in listed(sidd_blocks()):
        cells[i, b] = pixels
    cells[1, 1] = cells[1, 2] = np.empty((0, 0)) if value is None else value
    savemat(tmp_path / "a.mat", {"DenoisedBlocksSrgb": cells})
    with pytest.raises(OptionError, match=match):
        read_sidd_mat(tmp_path / "a.mat", layout=SMALL)


def test_mat_files_without_the_cells_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"DenoisedBlocksSrgb": sidd_blocks()})
    with pytest.raises(OptionError, match="no cell array of 2x3"):
        read_sidd_mat(path, layout=SMALL)
    write_sidd_mat(path, sidd_blocks(), layout=SMALL, overwrite=True)
    with pytest.raises(OptionError, match="no cell array of 40x32"):
        read_sidd_mat(path)


# MATLAB files


def test_files_that_are_no_matlab_files_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"x": 1})
    whole = path.read_bytes()
    with pytest.raises(OptionError, match="has no array y"):
        read_matlab(path, ["x", "y"])
    # Arrays that scipy puts into every file are none of it.
    with pytest.raises(OptionError, match="has no array __version__"):
        read_matlab(path, ["__version__"])
    for content in (b"", b"text", bytes(500), whole[:-3], whole[:150]):
        path.write_bytes(content)
        with pytest.raises(OptionError, match=r"a\.mat (cannot be read|has no array)"):
            read_matlab(path, ["x"])
    path.write_bytes(V73)
    with pytest.raises(OptionError, match=r"MATLAB 7\.3") as refusal:
        read_matlab(path, ["x"])
    assert "-v7" in refusal.value.hint
    with pytest.raises(OptionError, match=r"missing\.mat does not exist"):
        read_matlab(tmp_path / "missing.mat", ["x"])
    with pytest.raises(OptionError, match="cannot be read: Is a directory"):
        read_matlab(tmp_path, ["x"])


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
    result = read_dnd_crop(path)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, crop)
    assert loadmat(path)["Idenoised_crop"].dtype == np.float32


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
    submission = list(read_dnd_submission(bundled, images=IMAGES, boxes=BOXES))
    assert len(submission) == IMAGES
    for image, of_image in enumerate(submission, 1):
        assert len(of_image) == BOXES
        for box, crop in enumerate(of_image, 1):
            assert crop.dtype == np.float32
            np.testing.assert_array_equal(crop, dnd_crop(image, box))


@pytest.mark.parametrize(
    ("crop", "match"),
    [
        (np.full((4, 4, 3), 1.01), "outside 0 to 1"),
        (np.full((4, 4, 3), -0.01), "outside 0 to 1"),
        (np.full((4, 4, 3), np.nan), "outside 0 to 1"),
        (np.zeros((4, 4, 3), np.uint8), "no colour picture of floats"),
        (np.zeros((4, 4)), "no colour picture of floats"),
        (np.zeros((3, 4, 4)), "no colour picture of floats"),
        (np.zeros((0, 4, 3)), "no colour picture of floats"),
    ],
)
def test_wrong_crops_are_neither_written_nor_bundled(crops, bundled, crop, match):
    with pytest.raises(OptionError, match=f"0003_01.* {match}"):
        write_dnd_crop(crops, 3, 1, crop)
    assert not (crops / "0003_01.mat").exists()
    savemat(crops / "0002_02.mat", {"Idenoised_crop": crop})
    with pytest.raises(OptionError, match=f"0002_02.* {match}"):
        bundle(crops, bundled)
    assert names(bundled) == []


def test_numbers_that_are_no_names_are_refused(tmp_path):
    for image, box in ((0, 1), (1, 0), (10000, 1), (1, 100)):
        with pytest.raises(OptionError, match=f"no image {image} with a box {box}"):
            write_dnd_crop(tmp_path, image, box, dnd_crop(1, 1))
    assert names(tmp_path) == []


def test_sets_that_lack_a_crop_are_not_bundled(crops, bundled):
    with pytest.raises(OptionError, match=r"0001_04\.mat is missing, .* 994 of 1000 crops"):
        bundle_dnd(crops, bundled)
    (crops / "0002_02.mat").unlink()
    with pytest.raises(OptionError, match=r"0002_02\.mat is missing, .* 1 of 6 crops"):
        bundle(crops, bundled)
    (crops / "0002_02.mat").write_bytes(b"MATLAB")
    with pytest.raises(OptionError, match=r"0002_02\.mat cannot be read"):
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
    of_image = read_dnd_image(bundled / "0001.mat", boxes=BOXES)
    np.testing.assert_array_equal(of_image[0], dnd_crop(1, 2))
    with pytest.raises(ImageError, match="folder does not exist"):
        bundle(crops, bundled / "missing")


def test_incomplete_submissions_are_refused_at_once(crops, bundled):
    bundle(crops, bundled)
    with pytest.raises(OptionError, match=r"0003\.mat is missing, .* 48 of 50 images"):
        read_dnd_submission(bundled)
    with pytest.raises(OptionError, match="no cell array of 20 crops"):
        read_dnd_image(bundled / "0001.mat")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"israw": True}, "submission of raw images"),
        ({"eval_version": "2.0"}, "eval_version '2.0'"),
        ({"Idenoised": np.zeros((1, 3))}, "no cell array of 3 crops"),
        ({"Idenoised": None}, "has no array Idenoised"),
        ({"israw": None}, "has no array israw"),
        ({"box": np.zeros((0, 0))}, r"Box 2 of Idenoised in .*a\.mat is no colour"),
        ({"box": np.full((4, 4, 3), 2.0)}, r"Box 2 .* outside 0 to 1"),
    ],
)
def test_wrong_bundles_are_refused(tmp_path, change, match):
    cells = np.empty((1, BOXES), object)
    for box in range(BOXES):
        cells[0, box] = dnd_crop(1, box)
    change = dict(change)
    cells[0, 1] = change.pop("box", cells[0, 1])
    stored = {"Idenoised": cells, "israw": False, "eval_version": "1.0"} | change
    savemat(
        tmp_path / "a.mat", {name: value for name, value in stored.items() if value is not None}
    )
    with pytest.raises(OptionError, match=match) as refusal:
        read_dnd_image(tmp_path / "a.mat", boxes=BOXES)
    assert refusal.value.hint
