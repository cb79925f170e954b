"""Data sets are read sample by sample, whole and in the same order, or refused with what to do."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from test_data import noise, save, touch

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.evaluation.datasets import added_noise, dnd, photo_files, sidd
from ssbsn_cli.core.evaluation.datasets.added_noise import AddedNoise
from ssbsn_cli.core.evaluation.datasets.catalogue import DATASETS, open_dataset

SHAPE = (3, 2, 8, 8, 3)
KINDS = {
    "noisy": "ValidationNoisyBlocksSrgb",
    "clean": "ValidationGtBlocksSrgb",
    "benchmark": "BenchmarkNoisyBlocksSrgb",
}


def names(dataset):
    return [sample.name for sample in dataset]


def refusal(name, data, match):
    """What an attempt to open and read a data set says to do."""
    with pytest.raises((OptionError, ImageError), match=match) as error:
        list(open_dataset(name, data))
    # Each class has an exit code of its own.
    assert "damaged" not in str(error.value) or isinstance(error.value, ImageError)
    assert error.value.hint
    return error.value.hint


# By name


def test_an_unknown_name_is_refused_with_those_there_are():
    hint = refusal("sid-val", [], "no data set called 'sid-val'")
    assert "mean sidd-val" in hint
    assert all(name in hint for name in DATASETS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sidd-val", ["ValidationNoisyBlocksSrgb.mat", "ValidationGtBlocksSrgb.mat", "abdokamel"]),
        ("sidd-benchmark", ["BenchmarkNoisyBlocksSrgb.mat", "https://abdokamel.github.io/sidd/"]),
        ("dnd", ["info.mat", "images_srgb/0001.mat", "https://noise.visinf.tu-darmstadt.de/"]),
        ("nind", ["NIND_scene_ISO200.jpg", "https://commons.wikimedia.org/"]),
        ("pairs", ["noisy/", "clean/", "--data"]),
        ("folder", ["noisy photos"]),
    ],
)
def test_missing_files_are_refused_with_which_go_where(tmp_path, name, expected):
    missing = tmp_path / "missing"
    hints = [refusal(name, [], f"data set {name} "), refusal(name, [tmp_path], str(tmp_path))]
    if name.startswith(("sidd", "dnd", "nind")):
        hints.append(refusal(name, [missing], str(missing)))
        assert len(set(hints)) == 1
    assert all(part in hints[0] for part in expected)
    refusal(name, [missing], "missing")


# SIDD


@pytest.fixture
def sidd_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sidd, "SHAPE", SHAPE)
    blocks = {}
    for seed, (kind, stem) in enumerate(KINDS.items()):
        blocks[kind] = np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)
        savemat(tmp_path / f"{stem}.mat", {stem: blocks[kind]}, do_compression=seed == 0)
    return tmp_path, blocks


def test_sidd_validation_yields_every_block_with_its_truth(sidd_files):
    root, blocks = sidd_files
    dataset = open_dataset("sidd-val", [root])
    samples = list(dataset)
    assert len(dataset) == len(samples) == 6
    assert samples[3].name == "0002_02"
    assert [sample.place for sample in samples] == [(i, j) for i in (1, 2, 3) for j in (1, 2)]
    for sample in samples:
        i, j = (number - 1 for number in sample.place)
        np.testing.assert_array_equal(sample.noisy, blocks["noisy"][i, j])
        np.testing.assert_array_equal(*sample.references, blocks["clean"][i, j])
        assert sample.noisy.flags.c_contiguous
        assert sample.noisy.dtype == np.uint8
    assert dataset.name == "sidd-val"
    assert names(dataset) == [sample.name for sample in samples]


def test_sidd_benchmark_has_no_truth(sidd_files):
    root, blocks = sidd_files
    samples = list(open_dataset("sidd-benchmark", [root]))
    assert [sample.references for sample in samples] == [()] * 6
    np.testing.assert_array_equal(samples[5].noisy, blocks["benchmark"][2, 1])


@pytest.mark.parametrize("given", ["deep", "one", "both"])
def test_sidd_is_found_below_a_folder_or_by_its_files(sidd_files, given):
    root, _ = sidd_files
    noisy, clean = (root / f"SIDD/SIDD_Validation/{KINDS[kind]}.mat" for kind in ("noisy", "clean"))
    noisy.parent.mkdir(parents=True)
    for path in (noisy, clean):
        (root / path.name).rename(path)
    data = {"deep": [root], "one": [clean], "both": [noisy, clean]}[given]
    assert len(names(open_dataset("sidd-val", data))) == 6


def test_a_limit_takes_the_first_samples_and_says_so(sidd_files):
    root, _ = sidd_files
    whole = open_dataset("sidd-val", [root])
    part = open_dataset("sidd-val", [root], 4)
    assert names(part) == names(whole)[:4]
    assert len(part) == 4
    assert (part.name, part.title) == (whole.name, whole.title)
    assert "first 4 of 6" in part.comparison
    for limit in (6, 100):
        assert open_dataset("sidd-val", [root], limit).comparison == whole.comparison


@pytest.mark.parametrize(
    ("blocks", "match"),
    [
        ({"other": np.zeros(SHAPE, np.uint8)}, "holds other, but no ValidationGt"),
        ({}, "holds nothing, but no ValidationGt"),
        ({KINDS["clean"]: np.zeros((3, 2, 8, 8), np.uint8)}, "3x2x8x8 uint8.*not 3x2x8x8x3 uint8"),
        ({KINDS["clean"]: np.zeros(SHAPE)}, "3x2x8x8x3 double numbers"),
    ],
)
def test_other_matlab_files_are_refused(sidd_files, blocks, match):
    root, _ = sidd_files
    savemat(root / f"{KINDS['clean']}.mat", blocks)
    assert "abdokamel" in refusal("sidd-val", [root], match)


@pytest.mark.parametrize("kept", [0, 3, 200, -100])
@pytest.mark.parametrize("kind", ["noisy", "clean"])
def test_a_sidd_file_that_is_cut_short_is_refused(sidd_files, kind, kept):
    root, _ = sidd_files
    path = root / f"{KINDS[kind]}.mat"
    path.write_bytes(path.read_bytes()[:kept])
    refusal("sidd-val", [root], f"{path.name} is damaged")


def test_what_is_no_matlab_file_is_refused(sidd_files):
    root, _ = sidd_files
    path = root / f"{KINDS['benchmark']}.mat"
    for content in (b"<html>Not found</html>" * 50, b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        path.write_bytes(content)
        refusal("sidd-benchmark", [root], f"{path.name} is damaged")
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = 1
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    refusal("sidd-benchmark", [root], "not a MATLAB file of version 5")


def test_what_may_not_be_read_is_not_called_damaged(sidd_files, monkeypatch):
    root, _ = sidd_files

    def forbid(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbid)
    refusal("sidd-val", [root], "You may not read")


# DND


def save_boxes(h5py, path, boxes, column=False):
    """Save boxes as MATLAB saves an array of structures."""
    with h5py.File(path, "w") as file:
        references = []
        for i, box in enumerate(boxes):
            hidden = file.create_dataset(f"#refs#/{i}", data=np.asarray(box, np.float64).T)
            references.append(hidden.ref)
        table = np.array([references], h5py.ref_dtype)
        file.create_dataset("info/boundingboxes", data=table.T if column else table)


def write_dnd(root, boxes):
    """Write all of DND, with the same crops of the same small picture; return that."""
    h5py = pytest.importorskip("h5py")
    image = np.random.default_rng(0).random((24, 24, 3)).astype(np.float32)
    (root / "images_srgb").mkdir(parents=True)
    for number in range(1, 51):
        with h5py.File(root / f"images_srgb/{number:04d}.mat", "w") as file:
            file["InoisySRGB"] = image.transpose(2, 1, 0)
    save_boxes(h5py, root / "info.mat", [boxes] * 50)
    return image


@pytest.fixture
def dnd_files(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(dnd, "_IMAGES", 2)
    monkeypatch.setattr(dnd, "_BOXES", 3)
    root = tmp_path / "dnd_2017"
    (root / "images_srgb").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = [rng.random((20, 30 + i, 3)).astype(("f4", "f8")[i]) for i in range(2)]
    for i, image in enumerate(images, 1):
        with h5py.File(root / f"images_srgb/{i:04d}.mat", "w") as file:
            file["InoisySRGB"] = image.transpose(2, 1, 0)
    boxes = [[[1, 1, 4, 5], [3, 8, 20, 30], [7, 2, 7, 2]], [[2, 27, 9, 31]] * 3]
    save_boxes(h5py, root / "info.mat", boxes)
    return h5py, root, images, boxes


def test_dnd_yields_every_crop_as_it_is(dnd_files):
    _, root, images, boxes = dnd_files
    dataset = open_dataset("dnd", [root])
    samples = list(dataset)
    assert len(dataset) == 6
    assert names(dataset) == ["0001_01", "0001_02", "0001_03", "0002_01", "0002_02", "0002_03"]
    for sample in samples:
        image, number = (n - 1 for n in sample.place)
        top, left, bottom, right = boxes[image][number]
        expected = images[image][top - 1 : bottom, left - 1 : right].astype(np.float32)
        np.testing.assert_array_equal(sample.noisy, expected)
        assert sample.noisy.dtype == np.float32
        assert sample.noisy.flags.c_contiguous
        assert sample.references == ()
    assert samples[1].noisy.shape == (18, 23, 3)


def test_the_references_of_dnd_may_lie_either_way(dnd_files):
    h5py, root, _, boxes = dnd_files
    expected = [sample.noisy for sample in open_dataset("dnd", [root])]
    save_boxes(h5py, root / "info.mat", boxes, column=True)
    for sample, noisy in zip(open_dataset("dnd", [root.parent]), expected, strict=True):
        np.testing.assert_array_equal(sample.noisy, noisy)


def test_dnd_reads_no_further_than_it_is_asked_to(dnd_files):
    _, root, _, _ = dnd_files
    (root / "images_srgb/0002.mat").write_bytes(b"broken")
    assert len(names(open_dataset("dnd", [root], 3))) == 3
    hint = refusal("dnd", [root], r"0002\.mat is damaged")
    assert "noise.visinf.tu-darmstadt.de" in hint


def test_an_incomplete_dnd_is_refused_at_once(dnd_files):
    _, root, _, _ = dnd_files
    (root / "images_srgb/0002.mat").unlink()
    with pytest.raises(OptionError, match=r"no .*0002\.mat"):
        open_dataset("dnd", [root])


@pytest.mark.parametrize(
    ("boxes", "match"),
    [
        ([[[1, 1, 4, 5]] * 3], r"\(1, 3, 4\), not \(2, 3, 4\)"),
        ([[[1, 1, 4, 5]] * 3, [[1, 1, 4, 5]] * 2], r"info\.mat is damaged"),
        ([[[0, 1, 4, 5]] * 3] * 2, "lie outside the photos"),
        ([[[5, 1, 4, 5]] * 3] * 2, "lie outside the photos"),
        ([[[1, 1, 4.5, 5]] * 3] * 2, "lie outside the photos"),
        ([[[1, 1, 21, 5]] * 3] * 2, r"0001\.mat is too small"),
        ([[[1, 1, 5, 31]] * 3] * 2, r"0001\.mat is too small"),
    ],
)
def test_crops_that_make_no_sense_are_refused(dnd_files, boxes, match):
    h5py, root, _, _ = dnd_files
    save_boxes(h5py, root / "info.mat", boxes)
    refusal("dnd", [root], match)


@pytest.mark.parametrize("content", ["empty", "other", "group"])
def test_a_damaged_info_is_refused(dnd_files, content):
    h5py, root, _, _ = dnd_files
    if content == "empty":
        (root / "info.mat").write_bytes(b"")
    else:
        with h5py.File(root / "info.mat", "w") as file:
            file["info/boundingboxes" if content == "other" else "info/x"] = np.zeros((1, 2))
    refusal("dnd", [root], r"info\.mat is damaged")


@pytest.mark.parametrize(
    ("key", "stored", "match"),
    [
        ("Inoisy", np.zeros((3, 30, 20)), "damaged, or not one of DND's"),
        ("InoisySRGB/x", np.zeros((3, 30, 20)), "damaged, or not"),
        ("InoisySRGB", np.zeros((30, 20)), "holds no colour photo"),
        ("InoisySRGB", np.zeros((3, 30, 20), np.uint8), "holds no colour photo"),
        ("InoisySRGB", np.full((3, 30, 20), np.nan), "holds no colour photo"),
    ],
)
def test_photos_of_dnd_that_hold_something_else_are_refused(dnd_files, key, stored, match):
    h5py, root, _, _ = dnd_files
    with h5py.File(root / "images_srgb/0001.mat", "w") as file:
        file[key] = stored
    refusal("dnd", [root], match)


def test_dnd_without_h5py_says_what_to_install(dnd_files, monkeypatch):
    _, root, _, _ = dnd_files
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert 'pip install "ssbsn[dnd]"' in refusal("dnd", [root], "h5py.* is not installed")


# Photos


def pixels(sample):
    return [sample.noisy, *sample.references]


def compared(dataset):
    """Names of samples and what is in the corner of each of their photos."""
    return [(sample.name, *(int(p[0, 0, 0]) for p in pixels(sample))) for sample in dataset]


def flat(path, level, shape=(9, 11)):
    return save(path, np.full((*shape, 3), level, np.uint8))


def test_nind_compares_with_the_lowest_iso(tmp_path):
    for level, iso in enumerate(("200", "800", "H1")):
        flat(tmp_path / f"oak/NIND_oak_ISO{iso}.png", level)
    flat(tmp_path / "single/NIND_single_ISO200.png", 9)
    expected = [("oak_NIND_oak_ISO800", 1, 0), ("oak_NIND_oak_ISOH1", 2, 0)]
    assert compared(open_dataset("nind", [tmp_path])) == expected
    assert compared(open_dataset("nind", [tmp_path / "oak"], 1)) == [("NIND_oak_ISO800", 1, 0)]
    flat(tmp_path / "else/a.png", 1)
    assert "commons" in refusal("nind", [tmp_path / "oak", tmp_path / "else"], "no photos of NIND")
    refusal("nind", [tmp_path / "single"], "no pairs")


def test_all_folders_of_clean_photos_are_references(tmp_path):
    for level, name in enumerate(("noisy/x.bmp", "clean/x.bmp", "reference/x.bmp", "noisy/y.bmp")):
        flat(tmp_path / name, level)
    flat(tmp_path / "clean/Y.PNG", 4)
    dataset = open_dataset("pairs", [tmp_path])
    assert compared(dataset) == [("noisy_x", 0, 1, 2), ("noisy_y", 3, 4)]
    assert len(dataset) == 2


def test_pairs_of_other_layouts_keep_their_one_reference(tmp_path):
    for level, name in enumerate(("a_noisy.png", "a_clean.png", "deep/noisy/b_real.png")):
        flat(tmp_path / name, level)
    flat(tmp_path / "deep/clean/b_mean.png", 3)
    expected = [("a_noisy", 0, 1), ("deep_noisy_b_real", 2, 3)]
    assert compared(open_dataset("pairs", [tmp_path])) == expected
    assert "Left out" not in open_dataset("pairs", [tmp_path]).comparison
    flat(tmp_path / "deep/noisy/lonely.png", 9)
    assert "Left out: 1 photo without" in open_dataset("pairs", [tmp_path]).comparison


def test_folders_may_be_named_one_by_one(tmp_path):
    for level, name in enumerate(
        ("in/x.png", "out/x.PNG", "more/x.png", "in/y/z.png", "out/Y/z.tif")
    ):
        flat(tmp_path / name, level)
    flat(tmp_path / "in/lonely.png", 9)
    touch(tmp_path, "in/notes.txt", "out/notes.txt")
    data = [tmp_path / name for name in ("in", "out", "more")]
    assert compared(open_dataset("pairs", data[:2])) == [("x", 0, 1), ("y_z", 3, 4)]
    assert compared(open_dataset("pairs", data)) == [("x", 0, 1, 2), ("y_z", 3, 4)]
    assert compared(open_dataset("pairs", data, 1)) == [("x", 0, 1, 2)]
    assert "Left out: 1 photo without a partner." in open_dataset("pairs", data).comparison


def test_of_two_formats_the_same_one_is_taken(tmp_path):
    for level, name in enumerate(("in/x.png", "in/x.tif", "out/x.png", "out/x.tif")):
        flat(tmp_path / name, level)
    data = [tmp_path / "in", tmp_path / "out"]
    assert compared(open_dataset("pairs", data)) == [("x_png", 0, 2), ("x_tif", 1, 3)]


def test_patterns_put_together_what_a_star_stands_for(tmp_path, monkeypatch):
    files = ("1[a]/p_real.png", "1[a]/p_mean.png", "1[a]/q_real.png", "2/q_mean.png")
    for level, name in enumerate(files):
        flat(tmp_path / name, level)
    both = [tmp_path / "*/*_real.png", tmp_path / "*/*_mean.png"]
    assert compared(open_dataset("pairs", both)) == [("1[a]_p_real", 0, 1)]
    monkeypatch.chdir(tmp_path / "1[a]")
    data = [Path("*_real.png"), tmp_path / "2/*_mean.png"]
    assert compared(open_dataset("pairs", data)) == [("q_real", 2, 3)]
    inside = [tmp_path / "1[a]/*_real.png", tmp_path / "1[a]/*_mean.png"]
    assert compared(open_dataset("pairs", inside)) == [("p_real", 0, 1)]


def test_sides_that_do_not_fit_are_refused(tmp_path):
    flat(tmp_path / "in/x.png", 0)
    flat(tmp_path / "out/y.png", 0)
    touch(tmp_path, "empty/notes.txt")
    source = tmp_path / "in"
    for data, match in [
        ([source, tmp_path / "out"], "[Nn]o photos in .*in and .*out have the same names"),
        ([source, source], "given as --data twice"),
        ([source, tmp_path / "empty"], "no photos in .*empty"),
        ([source, tmp_path / "*.jpg"], r"no photos in .*\*\.jpg"),
        ([source, tmp_path / "missing"], "missing does not exist"),
        ([source, source / "x.png"], "is a file, not a folder or a pattern"),
        ([source, tmp_path / "**/*.png"], r"contains \*\*"),
        ([tmp_path / "*_real.png"], "one side of pairs only"),
    ]:
        assert "a/*_real.png" in refusal("pairs", data, match)


def test_pairs_of_unequal_size_are_refused_by_name(tmp_path):
    flat(tmp_path / "noisy/x.png", 0)
    flat(tmp_path / "clean/x.png", 0, (9, 12))
    refusal("pairs", [tmp_path], r"noisy/x\.png has 11x9 pixels, but .*clean/x\.png has 12x9")


def test_a_folder_has_noisy_photos_only(tmp_path):
    save(tmp_path / "b.png", noise(9, 11, dtype=np.uint16))
    flat(tmp_path / "day/a.jpg", 7)
    dataset = open_dataset("folder", [tmp_path])
    assert [(s.name, s.noisy.dtype, s.references) for s in dataset] == [
        ("b", np.uint16, ()),
        ("day_a", np.uint8, ()),
    ]
    assert names(open_dataset("folder", [tmp_path / "day/a.jpg", tmp_path / "b.png"])) == ["a", "b"]
    np.testing.assert_array_equal(next(iter(dataset)).noisy, noise(9, 11, dtype=np.uint16))


def test_names_differ_whatever_the_files_are_called(tmp_path):
    files = ["a.jpg", "a.png", "b/c.png", "b_c.png", "d.e.png", 'f:"g.png']
    for name in files:
        flat(tmp_path / "one" / name, 7)
    named = ["a_jpg", "a_png", "b_c_png", "b_c_png-2", "d.e", "f__g"]
    assert sorted(names(open_dataset("folder", [tmp_path / "one"]))) == named
    for name in ("p/X.png", "q/X.png", "r/x_png.png"):
        flat(tmp_path / name, 7)
    data = [tmp_path / side for side in "pqr"]
    assert names(open_dataset("folder", data)) == ["X_png", "X_png-2", "x_png-3"]


def test_photos_are_read_when_their_turn_comes(tmp_path, monkeypatch):
    for i in range(3):
        flat(tmp_path / f"{i}.png", i)
    (tmp_path / "2.png").write_bytes(b"broken")
    read = []
    monkeypatch.setattr(
        photo_files,
        "read_pixels",
        lambda path, real=photo_files.read_pixels: read.append(path) or real(path),
    )
    dataset = open_dataset("folder", [tmp_path])
    assert read == []
    assert len(list(islice(dataset, 2))) == len(read) == 2
    with pytest.raises(ImageError, match=r"2\.png"):
        list(dataset)


# Synthetic noise


def test_a_photo_gets_the_same_noise_whatever_is_beside_it(tmp_path):
    for name in ("a", "b"):
        flat(tmp_path / f"{name}.png", 120)
    added = AddedNoise("white:10")
    both = list(open_dataset("synthetic", [tmp_path], added=added))
    (tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.png"))
    assert len(list(open_dataset("synthetic", [tmp_path], added=added))) == 2
    (alone,) = open_dataset("synthetic", [tmp_path / "b.png"], added=added)
    np.testing.assert_array_equal(alone.noisy, both[1].noisy)
    assert not np.array_equal(both[0].noisy, both[1].noisy)
    (other,) = open_dataset("synthetic", [tmp_path / "b.png"], added=AddedNoise("white:10", 1))
    assert not np.array_equal(alone.noisy, other.noisy)
    assert (alone.references[0] == 120).all()


def test_noise_is_clipped_like_a_file_unless_asked_otherwise(tmp_path):
    flat(tmp_path / "a.png", 250)
    (clipped,) = open_dataset("synthetic", [tmp_path], added=AddedNoise("white:30"))
    assert clipped.noisy.dtype == np.uint8
    (free,) = open_dataset("synthetic", [tmp_path], added=AddedNoise("white:30", clipped=False))
    assert free.noisy.dtype == np.float32
    assert free.noisy.max() > 1


def test_what_added_noise_does_to_a_photo_is_said(tmp_path):
    flat(tmp_path / "a.png", 90)
    with pytest.raises(OptionError, match="always clipped"):
        open_dataset("synthetic", [tmp_path], added=AddedNoise("white:9+jpeg:50", clipped=False))
    grey = open_dataset("synthetic", [tmp_path], added=AddedNoise("white:9+monochrome"))
    assert "colours are taken away" in grey.comparison


def test_synthetic_noise_needs_photos_and_a_known_noise(tmp_path):
    flat(tmp_path / "a.png", 1)
    for data, added in (([], AddedNoise("white:3")), ([tmp_path], AddedNoise("snow:3"))):
        with pytest.raises(OptionError, match=r"synthetic|snow"):
            open_dataset("synthetic", data, added=added)


# Demo


def test_the_demo_needs_no_download_and_is_the_same_every_time(monkeypatch):
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch.Pooch, "fetch", None)
    dataset = open_dataset("demo", [])
    first, again = list(dataset), list(dataset)
    assert len(dataset) == len(first) == len({sample.name for sample in first}) == 20
    for sample, same in zip(first, again, strict=True):
        assert sample.name == same.name
        np.testing.assert_array_equal(sample.noisy, same.noisy)
        assert [p.shape for p in pixels(sample)] == [(256, 256, 3)] * 2
        assert [p.dtype for p in pixels(sample)] == [np.uint8] * 2
        assert sample.noisy.flags.c_contiguous
    errors = [np.mean((s.noisy - s.references[0].astype(float)) ** 2) for s in first]
    psnr = 10 * np.log10(255**2 / np.array(errors).reshape(4, 5))
    assert (np.diff(psnr[:, :3]) < -2).all()
    assert psnr.min() > 12
    assert psnr.max() < 40
    grey = [sample.noisy for sample in first if sample.name.endswith("_grey")]
    assert all(np.ptp(noisy, axis=2).max() == 0 for noisy in grey)
    assert names(open_dataset("demo", [], 2)) == ["astronaut_weak", "astronaut_medium"]
    with pytest.raises(OptionError, match="brings its own"):
        open_dataset("demo", [Path()])


def test_a_demo_without_its_photos_says_what_to_install(monkeypatch):
    monkeypatch.setattr(added_noise, "_PHOTOS", {"gone.png": (0, 0)})
    assert "scikit-image" in refusal("demo", [], r"no gone\.png")
