"""Pairs of noisy and clean photos are found, and cropped at the same places."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from test_data import noise, save, touch

from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.data.layouts import find_pairs
from ssbsn_cli.core.data.matching import Pair
from ssbsn_cli.core.data.sampler import CropSampler, PairSampler
from ssbsn_cli.core.errors import OptionError


def found(path, root=None):
    root = root or path
    return [
        (str(pair.noisy.relative_to(root)), str(pair.clean.relative_to(root)))
        for pair in find_pairs(path)
    ]


# Layouts


def test_sidd_pairs_each_noisy_photo_with_its_truth(tmp_path):
    scene = "SIDD_Medium_Srgb/Data/0001_001_S6_00100_00060_3200_L"
    for name in ("GT_SRGB_010", "GT_SRGB_011", "NOISY_SRGB_010", "NOISY_SRGB_011"):
        touch(tmp_path, f"{scene}/0001_{name}.PNG")
    touch(tmp_path, f"{scene}/0001_NOISY_SRGB_012.PNG", "elsewhere/0001_GT_SRGB_012.PNG")
    expected = [
        (f"{scene}/0001_NOISY_SRGB_{n}.PNG", f"{scene}/0001_GT_SRGB_{n}.PNG")
        for n in ("010", "011")
    ]
    for part in (".", "SIDD_Medium_Srgb/Data", scene):
        assert found(tmp_path / part, tmp_path) == expected


def test_nind_pairs_every_higher_iso_with_the_lowest_of_its_scene(tmp_path):
    touch(tmp_path, *(f"7D-1/NIND_7D-1_ISO{iso}.jpg" for iso in ("100", "800", "H1")))
    touch(tmp_path, *(f"oak/NIND_oak_ISO{iso}.png" for iso in ("1000", "200", "200-2", "1000-2")))
    touch(tmp_path, "single/NIND_single_ISO6400.png")
    assert found(tmp_path) == [
        ("7D-1/NIND_7D-1_ISO800.jpg", "7D-1/NIND_7D-1_ISO100.jpg"),
        ("7D-1/NIND_7D-1_ISOH1.jpg", "7D-1/NIND_7D-1_ISO100.jpg"),
        ("oak/NIND_oak_ISO1000-2.png", "oak/NIND_oak_ISO200.png"),
        ("oak/NIND_oak_ISO1000.png", "oak/NIND_oak_ISO200.png"),
    ]


def test_parts_cut_out_of_nind_are_paired_with_the_same_parts(tmp_path):
    touch(tmp_path, *(f"NIND_x_ISO{iso}_{part}.png" for iso in (100, 800) for part in "ab"))
    touch(tmp_path, "NIND_x_ISO800-2_b.png", "NIND_x_ISO800_c.png")
    assert found(tmp_path) == [
        ("NIND_x_ISO800-2_b.png", "NIND_x_ISO100_b.png"),
        ("NIND_x_ISO800_a.png", "NIND_x_ISO100_a.png"),
        ("NIND_x_ISO800_b.png", "NIND_x_ISO100_b.png"),
    ]


def test_prepared_crops_are_paired_without_synthetic_noise(tmp_path):
    for folder in ("CL", "RN", "SN"):
        touch(tmp_path, f"prep/SIDD/{folder}/0_0_0.png")
    touch(tmp_path, "prep/SIDD/RN/0_0_1.png", "prep/other/CL/0_0_1.png")
    for part in ("prep", "prep/SIDD"):
        assert found(tmp_path / part, tmp_path) == [
            ("prep/SIDD/RN/0_0_0.png", "prep/SIDD/CL/0_0_0.png")
        ]


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("noisy/a.png", "clean/a.png"),
        ("noisy/a.png", "gt/a.png"),
        ("deep/Noisy/a.JPG", "deep/reference/a.tif"),
        ("noisy/day/1/a.png", "clean/day/1/a.png"),
        ("noisy/a_noisy.png", "clean/a_clean.png"),
        ("noisy/a_noisy.png", "gt/a.png"),
        ("noisy/a.png", "gt/a_gt.png"),
        ("noisy/0001_NOISY_SRGB_010.PNG", "gt/0001_GT_SRGB_010.PNG"),
        ("RN/photo.png", "CL/photo.png"),
        ("a_noisy.png", "a_clean.png"),
        ("deep/a_noisy.png", "deep/a_gt.jpg"),
        ("c_11_Real.JPG", "c_11_mean.JPG"),
        ("a_N.png", "a_CL.png"),
    ],
)
def test_common_names_of_folders_and_files_are_understood(tmp_path, noisy, clean):
    # What the data set is kept in says nothing.
    root = tmp_path / "noisy"
    touch(root, noisy, clean, "lonely_noisy.png", "more/noisy/lonely.png", "notes.txt")
    assert found(root) == [(noisy, clean)]


def test_a_partner_of_the_same_format_is_preferred(tmp_path):
    touch(tmp_path, "noisy/a.png", "clean/a.jpg", "clean/a.png", "clean/a.tif")
    assert found(tmp_path) == [("noisy/a.png", "clean/a.png")]


def test_a_folder_without_pairs_is_refused_with_what_is_understood(tmp_path):
    with pytest.raises(OptionError, match="missing does not exist"):
        find_pairs(tmp_path / "missing")
    touch(tmp_path, "noisy/a.png", "clean/b.png", "one/NIND_x_ISO200.jpg", "b/images_srgb/0001.mat")
    for name in ("noisy", "clean", "one", "b"):
        with pytest.raises(OptionError, match=f"no pairs .*{name}") as refusal:
            find_pairs(tmp_path / name)
        assert all(name in refusal.value.hint for name in ("SIDD", "NIND", "RN/", "_clean", "gt"))
    with pytest.raises(OptionError, match="several data sets: dnd, nind"):
        find_pairs(tmp_path)
    with pytest.raises(OptionError, match=r"a\.png is a file"):
        find_pairs(tmp_path / "noisy/a.png")


# Crops


def open_both(pairs, directory, **limits):
    return [
        open_cache([getattr(pair, side) for pair in pairs], directory, **limits)
        for side in ("noisy", "clean")
    ]


def related(root, sizes, dtype=np.uint8):
    """Pairs of which the clean photo is the negative of the noisy one."""
    for i, (height, width) in enumerate(sizes):
        pixels = noise(height, width, i)
        save(root / f"noisy/{i}.png", pixels)
        negative = (255 - pixels).astype(dtype)
        save(root / f"clean/{i}.png", negative * 257 if dtype == np.uint16 else negative)
    return find_pairs(root)


def assert_related(noisy, clean):
    np.testing.assert_allclose(noisy + clean, 1, atol=1e-6)


@pytest.fixture
def pairs(tmp_path):
    return related(tmp_path / "photos", [(40, 50), (20, 30), (31, 33)])


def test_the_clean_photo_of_several_pairs_is_kept_once(tmp_path):
    pair, other, _ = related(tmp_path / "photos", [(40, 50), (40, 50), (20, 30)])
    _, once = open_both([pair], tmp_path / "cache")
    noisy, several = open_both([pair, other, replace(other, clean=pair.clean)], tmp_path / "cache")
    assert several.size_bytes == once.size_bytes * 2
    assert sorted(several.by_number()) == sorted(noisy.by_number()) == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_both_crops_are_of_the_same_place_turned_alike(tmp_path, dtype):
    pairs = related(tmp_path / "photos", [(40, 50), (20, 30)], dtype)
    sampler = PairSampler(pairs, *open_both(pairs, tmp_path / "cache"), 16, Batching(50, seed=3))
    noisy, clean = sampler.batch(2)
    assert_related(noisy, clean)
    assert sampler.left_out == []
    for batch in (noisy, clean):
        assert batch.dtype == np.float32
        assert batch.shape[1:] == (3, 16, 16)
        assert batch.flags.c_contiguous


def test_the_noisy_crops_are_those_of_training_without_clean_ones(tmp_path, pairs):
    caches = open_both(pairs, tmp_path / "cache")
    paired = PairSampler(pairs, *caches, 16, Batching(8, seed=3))
    alone = CropSampler(caches[:1], [1], 16, Batching(8, seed=3))
    np.testing.assert_array_equal(paired.batch(4)[0], alone.batch(4))


def test_a_resumed_or_split_training_sees_the_same_pairs(tmp_path, pairs):
    caches = open_both(pairs, tmp_path / "cache")
    sampler = PairSampler(pairs, *caches, 16, Batching(4, seed=7))
    run = [sampler.batch(step) for step in range(5)]
    for rank in (0, 1):
        half = PairSampler(pairs, *caches, 16, Batching(2, seed=7, rank=rank, world=2))
        for step, batch in enumerate(run):
            for part, whole in zip(half.batch(step), batch, strict=True):
                np.testing.assert_array_equal(part, whole[2 * rank : 2 * rank + 2])
    other = PairSampler(pairs, *caches, 16, Batching(4, seed=8)).batch(0)
    assert not np.array_equal(other[0], run[0][0])


def test_a_photo_that_cannot_be_read_is_left_out_with_its_partner(tmp_path, pairs):
    pairs[0].noisy.write_bytes(b"broken")
    pairs[2].clean.unlink()
    for _reused in (False, True):
        caches = open_both(pairs, tmp_path / "cache")
        sampler = PairSampler(pairs, *caches, 16, Batching(50, seed=0))
        assert [pair for pair, _ in sampler.left_out] == [pairs[0], pairs[2]]
        assert re.search(r"noisy.0\.png", sampler.left_out[0][1])
        assert re.search(r"clean.2\.png", sampler.left_out[1][1])
        assert_related(*sampler.batch(0))
    pairs[1].noisy.unlink()
    save(pairs[2].clean, noise(31, 33))
    save(pairs[0].noisy, noise(40, 50))
    pairs[0].clean.unlink()
    pairs[2].noisy.unlink()
    with pytest.raises(OptionError, match=r"0 of 3 pairs.*0\.png"):
        PairSampler(pairs, *open_both(pairs, tmp_path / "cache"), 16, Batching(1, seed=0))


def test_one_clean_photo_may_belong_to_several_noisy_ones(tmp_path):
    clean = noise(30, 30)
    for iso, pixels in ((100, clean), (800, 255 - clean), (1600, 255 - clean)):
        save(tmp_path / f"x/NIND_x_ISO{iso}.png", pixels)
    pairs = find_pairs(tmp_path / "x")
    sampler = PairSampler(pairs, *open_both(pairs, tmp_path / "cache"), 16, Batching(20, seed=0))
    assert_related(*sampler.batch(0))


def test_pairs_of_unequal_size_are_refused_by_name(tmp_path, pairs):
    save(pairs[1].clean, noise(30, 20))
    caches = open_both(pairs, tmp_path / "cache")
    with pytest.raises(OptionError, match=r"noisy.1\.png has 30x20.*clean.1\.png has 20x30"):
        PairSampler(pairs, *caches, 16, Batching(1, seed=0))


def test_pairs_smaller_than_the_crop_are_left_out(tmp_path, pairs):
    caches = open_both(pairs, tmp_path / "cache")
    sampler = PairSampler(pairs, *caches, 32, Batching(20, seed=0))
    assert [pair for pair, _ in sampler.left_out] == pairs[1:]
    assert_related(*sampler.batch(0))
    with pytest.raises(OptionError, match=r"100x100.*0\.png, has 50x40"):
        PairSampler(pairs, *caches, 100, Batching(1, seed=0))


def test_windows_of_large_photos_are_matched_by_their_places(tmp_path):
    """Clean photos take fewer bytes in their files, so the two caches are cut differently."""
    sizes = [(100 + 7 * i, 150 - 9 * i) for i in range(5)]
    pairs = related(tmp_path / "photos", sizes, np.uint16)
    noisy, clean = open_both(pairs, tmp_path / "cache", side=32, limit_bytes=80_000)
    assert len(noisy.windows) > 1.5 * len(clean.windows)
    sampler = PairSampler(pairs, noisy, clean, 16, Batching(200, seed=0))
    assert_related(*sampler.batch(0))
    # One side is whole, the other in windows.
    whole = open_cache([pair.clean for pair in pairs], tmp_path / "cache")
    for caches in ((noisy, whole), (open_cache([p.noisy for p in pairs], tmp_path / "c"), clean)):
        sampler = PairSampler(pairs, *caches, 16, Batching(200, seed=0))
        assert sampler.left_out == []
        assert_related(*sampler.batch(0))


def test_caches_without_a_common_part_ask_for_room(tmp_path):
    pairs = related(tmp_path / "photos", [(100, 150)])
    noisy = open_cache([pairs[0].noisy], tmp_path / "cache", side=32, limit_bytes=9000)
    clean = open_cache([pairs[0].clean], tmp_path / "cache", side=40, limit_bytes=9000)
    with pytest.raises(OptionError, match="no part of both") as refusal:
        PairSampler(pairs, noisy, clean, 16, Batching(1, seed=0))
    assert "more room" in refusal.value.hint


def test_a_pair_says_which_is_which(tmp_path):
    touch(tmp_path, "a_noisy.png", "a_clean.png")
    assert find_pairs(tmp_path) == [Pair(tmp_path / "a_noisy.png", tmp_path / "a_clean.png")]
