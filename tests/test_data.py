"""Training gets every pixel of the noisy photos, never a clean one, and the same crops again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssbsn_cli.core.data import cache, store
from ssbsn_cli.core.data.cache import open_cache
from ssbsn_cli.core.data.draws import Batching
from ssbsn_cli.core.data.layouts import find_pairs, find_photos
from ssbsn_cli.core.data.matlab import open_matlab
from ssbsn_cli.core.data.pixels import read_pixels
from ssbsn_cli.core.data.sampler import CropSampler
from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.runtime.temporary import HALF_WRITTEN
from ssbsn_cli.core.runtime.threads import prefetch


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb")
    else:
        order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[-1]) if pixels.ndim == 3 else None
        assert cv2.imwrite(str(path), pixels if order is None else pixels[..., order])
    return path


def noise(height, width, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(path):
    result = find_photos(path)
    return result.kind, [photo.name for photo in result.photos]


@pytest.fixture
def photos(tmp_path):
    return [save(tmp_path / f"photos/{i}.png", noise(40 + i, 50, i)) for i in range(3)]


# Layouts


def test_sidd_gives_its_noisy_photos_wherever_it_is_entered(tmp_path):
    scene = "SIDD_Medium_Srgb/Data/0001_001_S6_00100_00060_3200_L"
    for name in ("GT_SRGB_010", "GT_SRGB_011", "NOISY_SRGB_010", "NOISY_SRGB_011"):
        touch(tmp_path, f"{scene}/0001_{name}.PNG")
    touch(tmp_path, f"{scene}/0001_GT_SRGB_010_denoised.png", "SIDD_Medium_Srgb/ReadMe.txt")
    expected = "sidd", ["0001_NOISY_SRGB_010.PNG", "0001_NOISY_SRGB_011.PNG"]
    for part in (".", "SIDD_Medium_Srgb", "SIDD_Medium_Srgb/Data", scene):
        assert found(tmp_path / part) == expected
    assert len(find_photos(tmp_path).passed_over) == 4


def test_results_beside_their_photos_are_not_learned_from(tmp_path):
    touch(tmp_path, "a.jpg", "a_denoised.png", "a.jpg_compare.png", "b_denoised.png")
    assert found(tmp_path) == ("folder", ["a.jpg", "b_denoised.png"])


def test_nind_gives_all_but_the_lowest_iso_of_each_scene(tmp_path):
    touch(tmp_path, *(f"7D-1/NIND_7D-1_ISO{iso}.jpg" for iso in ("100", "800", "H1")))
    # Two takes at the lowest ISO are both clean, and 1000 is more than 200.
    touch(tmp_path, *(f"oak/NIND_oak_ISO{iso}.png" for iso in ("1000", "200", "200-2", "1000-2")))
    touch(tmp_path, "single/NIND_single_ISO6400.png")
    kind, names = found(tmp_path)
    assert kind == "nind"
    assert sorted(names) == [
        "NIND_7D-1_ISO800.jpg",
        "NIND_7D-1_ISOH1.jpg",
        "NIND_oak_ISO1000-2.png",
        "NIND_oak_ISO1000.png",
    ]


def test_prepared_crops_are_taken_from_rn_only(tmp_path, monkeypatch):
    for folder in ("CL", "RN", "SN"):
        touch(tmp_path, f"prep/SIDD_s512_o128/{folder}/0_0_0.png")
    for part in ("prep", "prep/SIDD_s512_o128", "prep/SIDD_s512_o128/RN"):
        result = find_photos(tmp_path / part)
        assert result.kind == "prep"
        assert [photo.parent.name for photo in result.photos] == ["RN"]
    monkeypatch.chdir(tmp_path / "prep/SIDD_s512_o128/CL")
    for clean in (".", "../CL"):
        with pytest.raises(OptionError, match="no noisy photos"):
            find_photos(Path(clean))


def test_dnd_gives_its_finished_photos(tmp_path):
    touch(tmp_path, "dnd_2017/images_srgb/0001.mat", "dnd_2017/images_raw/0001.mat")
    touch(tmp_path, "dnd_2017/info.mat")
    for part in (".", "dnd_2017", "dnd_2017/images_srgb"):
        assert found(tmp_path / part) == ("dnd", ["0001.mat"])


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("s/0001_NOISY_SRGB_010.PNG", "s/0001_GT_SRGB_010.PNG"),
        ("oak/NIND_oak_ISO6400.png", "oak/NIND_oak_ISO200.png"),
        ("x/RN/0_0_0.png", "x/CL/0_0_0.png"),
        ("noisy/a.png", "clean/a.png"),
        ("a_real.png", "a_mean.png"),
    ],
)
def test_clean_photos_are_those_without_the_noisy_side(tmp_path, noisy, clean):
    touch(tmp_path, noisy, clean)
    side = find_photos(tmp_path, "clean")
    assert side.photos == [tmp_path / clean]
    assert side.passed_over == [tmp_path / noisy]


def test_previews_of_trainings_are_no_photos_to_learn_from(tmp_path):
    run = [f"runs/small/{name}" for name in ("metrics.jsonl", "config.toml", "previews/step-1.png")]
    # Other programs write files of these names, too.
    touch(tmp_path, "a.png", "b/metrics.jsonl", "b/b.png", *run)
    assert found(tmp_path) == ("folder", ["a.png", "b.png"])


def test_any_other_folder_gives_all_its_photos(tmp_path):
    touch(
        tmp_path, "a.JPG", "deep/er/b.tif", "c_denoised.png", "notes.txt", "._a.JPG", ".git/d.png"
    )
    (tmp_path / "deep" / "circle").symlink_to(tmp_path)
    assert found(tmp_path) == ("folder", ["a.JPG", "c_denoised.png", "b.tif"])
    assert [path.name for path in find_photos(tmp_path).passed_over] == ["notes.txt"]
    assert found(tmp_path / "a.JPG") == ("folder", ["a.JPG"])


def test_what_cannot_be_trained_on_is_refused_by_name(tmp_path):
    with pytest.raises(OptionError, match="missing does not exist"):
        find_photos(tmp_path / "missing")
    for find in (find_photos, find_pairs):
        with pytest.raises(OptionError, match="does not exist") as refusal:
            find(tmp_path / "SIDD_Medium")
        assert "abdokamel.github.io/sidd" in refusal.value.hint
    touch(tmp_path, "empty/notes.txt", "gt/0001_GT_SRGB_010.PNG", "x/NIND_x_ISO200.jpg")
    for name, what in (("empty", "photos"), ("gt", "noisy photos"), ("x", "noisy photos")):
        with pytest.raises(OptionError, match=f"no {what} in .*{name}") as refusal:
            find_photos(tmp_path / name)
        assert all(layout in refusal.value.hint for layout in ("SIDD", "NIND", "DND", "RN/"))
    with pytest.raises(OptionError, match="several data sets: nind, sidd"):
        find_photos(tmp_path)
    with pytest.raises(OptionError, match="not have the name of a photo"):
        find_photos(tmp_path / "empty/notes.txt")


# Pixels


def test_every_kind_of_pixel_becomes_rgb_integers(tmp_path):
    color, deep = noise(9, 7), noise(9, 7, dtype=np.uint16)
    alpha = np.concatenate([color, color[..., :1]], axis=2)
    half = np.array([-1, 0, 0.5, 1, 2], np.float32)[:, None, None].repeat(3, 2)
    cases = [
        (save(tmp_path / "color.png", color), color),
        (save(tmp_path / "grey.png", color[..., 0]), color[..., :1].repeat(3, 2)),
        (save(tmp_path / "alpha.png", alpha), color),
        (save(tmp_path / "deep.png", deep), deep),
        (save(tmp_path / "deep.tif", deep), deep),
        (
            save(tmp_path / "float.tif", half),
            np.array([0, 0, 32768, 65535, 65535], np.uint16)[:, None, None].repeat(3, 2),
        ),
    ]
    cache = open_cache([path for path, _ in cases], tmp_path / "cache")
    for window, (path, expected) in zip(cache.windows, cases, strict=True):
        assert window.photo == str(path)
        np.testing.assert_array_equal(cache.view(window), expected)
        assert cache.view(window).dtype == expected.dtype


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_photos_with_holes_are_not_taken_for_black(tmp_path, hole):
    pixels = noise(6, 9).astype(np.float32) / 255
    pixels[2, 3, 1] = hole
    path = save(tmp_path / "holes.tif", pixels)
    with pytest.raises(ImageError, match=r"holes\.tif has values that are not finite"):
        read_pixels(path)


def test_dnd_is_read_upright(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "images_srgb/0001.mat"
    path.parent.mkdir()
    image = noise(6, 9).astype(np.float32) / 255
    with h5py.File(path, "w") as file:
        file["InoisySRGB"] = image.transpose(2, 1, 0)
    np.testing.assert_allclose(read_pixels(path) / 65535, image, atol=1e-5)
    with h5py.File(path, "w") as file:
        file["other"] = image
    with pytest.raises(ImageError, match=r"0001\.mat"):
        read_pixels(path)
    path.write_bytes(b"no mat at all")
    with pytest.raises(ImageError, match=r"0001\.mat"):
        read_pixels(path)


def test_dnd_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    touch(tmp_path, "images_srgb/0001.mat")
    with pytest.raises(OptionError, match="h5py") as refusal:
        open_cache(find_photos(tmp_path).photos, tmp_path / "cache")
    assert "ssbsn[dnd]" in refusal.value.hint


# The cache


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_cache_is_reused_until_a_photo_changes(tmp_path, photos, monkeypatch):
    notes = []
    first = open_cache(photos, tmp_path / "cache", notify=notes.append)
    assert not first.reused
    assert str(first.path) in notes[-1]
    assert "MB" in notes[-1]
    with monkeypatch.context() as patch:
        patch.setattr(cache, "read_pixels", lambda _path: pytest.fail("decoded again"))
        again = open_cache(photos, tmp_path / "cache", notify=notes.append)
    assert again.reused
    assert (again.path, again.windows) == (first.path, first.windows)
    assert "Reused" in notes[-1]

    save(photos[1], noise(60, 60, 9))
    changed = open_cache(photos, tmp_path / "cache")
    assert not changed.reused
    assert changed.path != first.path
    np.testing.assert_array_equal(changed.view(changed.windows[1]), noise(60, 60, 9))
    assert not open_cache(photos[:2], tmp_path / "cache").reused


def cut_pixels(path):
    os.truncate(path / store.PIXELS, 1000)


def wipe_pixels(path):
    (path / store.PIXELS).write_bytes(bytes((path / store.PIXELS).stat().st_size))


def cut_index(path):
    os.truncate(path / store.INDEX, 100)


def replace_index(path):
    (path / store.INDEX).write_text(f'{{"version": {store.VERSION}, "key": [], "windows": 7}}')


def move_offsets(path):
    text = (path / store.INDEX).read_text()
    (path / store.INDEX).write_text(text.replace('"offset": 0', '"offset": -64'))


@pytest.mark.parametrize(
    "damage",
    [cut_pixels, wipe_pixels, cut_index, replace_index, move_offsets, shutil.rmtree],
)
def test_a_damaged_cache_is_built_anew(tmp_path, photos, damage):
    path = open_cache(photos, tmp_path / "cache").path
    damage(path)
    notes = []
    cache = open_cache(photos, tmp_path / "cache", notify=notes.append)
    assert not cache.reused
    assert any("is damaged" in note for note in notes) == (damage is not shutil.rmtree)
    np.testing.assert_array_equal(cache.view(cache.windows[2]), noise(42, 50, 2))
    assert names_in(tmp_path / "cache") == [path.name]
    assert open_cache(photos, tmp_path / "cache").reused


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_build_leaves_nothing(tmp_path, photos, monkeypatch, interrupt):
    def read_two(path):
        if path == photos[2]:
            raise interrupt
        return read_pixels(path)

    with monkeypatch.context() as patch:
        patch.setattr(cache, "read_pixels", read_two)
        with pytest.raises(interrupt):
            open_cache(photos, tmp_path / "cache")
    assert names_in(tmp_path / "cache") == []
    assert len(open_cache(photos, tmp_path / "cache").windows) == 3


KILLED_BUILD = """
    import os, signal, sys
    from pathlib import Path
    from ssbsn_cli.core.data import cache
    from ssbsn_cli.core.data.cache import open_cache

    def read_one(path):
        if path.name == "1.png":
            print("half", flush=True)
            {end}
        return read(path)

    read, cache.read_pixels = cache.read_pixels, read_one
    open_cache([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))
"""


def start_build(directory, photos, end):
    code = textwrap.dedent(KILLED_BUILD).format(end=end)
    return subprocess.Popen(
        [sys.executable, "-c", code, directory, *photos],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )


def test_what_a_killed_build_left_is_never_used_and_cleaned_up(tmp_path, photos):
    with start_build(tmp_path / "cache", photos, "os.kill(os.getpid(), signal.SIGKILL)") as process:
        process.communicate()
    left = names_in(tmp_path / "cache")
    assert left
    assert all(name.startswith(HALF_WRITTEN) for name in left)
    assert not open_cache(photos, tmp_path / "cache").reused
    (name,) = names_in(tmp_path / "cache")
    assert name.startswith("crops-")


def test_a_folder_that_is_a_run_says_why_it_has_no_photos(tmp_path):
    touch(tmp_path, "a.png", "metrics.jsonl", "config.toml")
    with pytest.raises(OptionError, match="folder of a training run"):
        find_photos(tmp_path)


def test_too_little_memory_is_no_damage(tmp_path):
    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "0001.mat", "w").close()
    with pytest.raises(MemoryError), open_matlab(tmp_path / "0001.mat"):
        raise MemoryError


def test_a_build_waits_for_that_of_another_process(tmp_path, photos):
    with start_build(tmp_path / "cache", photos, "sys.stdin.read()") as process:
        assert process.stdout.readline() == b"half\n"
        notes = []

        def let_go(note):
            notes.append(note)
            process.stdin.close()

        cache = open_cache(photos, tmp_path / "cache", notify=let_go)
    assert "Waiting" in notes[0]
    assert cache.reused


def test_a_disk_without_locks_is_used_without(tmp_path, photos, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert len(open_cache(photos, tmp_path / "cache").windows) == 3


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, photos, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OptionError, match=r"cache/crops-\w+ cannot be written: the disk is full"):
        open_cache(photos, tmp_path / "cache")
    assert names_in(tmp_path / "cache") == []
    with pytest.raises(OptionError, match=r"0\.png/crops-\w+ cannot be written"):
        open_cache(photos, photos[0])


def test_broken_photos_are_skipped_and_named(tmp_path, photos):
    photos[0].write_bytes(photos[0].read_bytes()[:300])
    photos[2].unlink()
    for reused in (False, True):
        cache = open_cache(photos, tmp_path / "cache")
        assert cache.reused == reused
        assert [path for path, _ in cache.skipped] == [photos[0], photos[2]]
        assert "does not exist" in cache.skipped[1][1]
        assert [window.photo for window in cache.windows] == [str(photos[1])]
    with pytest.raises(OptionError, match=r"0 of 2 photos.*0\.png"):
        open_cache([photos[0], photos[2]], tmp_path / "cache")


def test_photos_beyond_the_limit_are_represented_by_windows(tmp_path):
    small = save(tmp_path / "small.png", noise(20, 30))
    large = [save(tmp_path / f"{i}.png", noise(100, 150, i, np.uint16)) for i in range(3)]
    limit = 100_000
    cache = open_cache([*large, small], tmp_path / "cache", side=32, limit_bytes=limit)
    assert limit * 0.7 < cache.size_bytes <= limit
    assert {window.photo for window in cache.windows} == {str(path) for path in [*large, small]}
    np.testing.assert_array_equal(cache.view(cache.windows[-1]), noise(20, 30))
    for window in cache.windows[:-1]:
        part = cache.view(window)
        assert part.shape == (32, 32, 3)
        whole = noise(100, 150, int(Path(window.photo).stem), np.uint16)
        (top,), (left,) = (
            place for place in np.nonzero((whole[:69, :119] == part[0, 0]).all(axis=2))
        )
        np.testing.assert_array_equal(part, whole[top : top + 32, left : left + 32])
    again = open_cache([*large, small], tmp_path / "other", side=32, limit_bytes=limit)
    assert again.windows == cache.windows


def test_a_limit_below_one_window_of_each_photo_keeps_some_photos(tmp_path):
    many = [save(tmp_path / f"{i:02}.png", noise(40, 40, i)) for i in range(40)]
    window = 32 * 32 * 3
    cache = open_cache(many, tmp_path / "cache", side=32, limit_bytes=10 * window)
    assert 5 <= len(cache.windows) <= 10
    assert len(cache.windows) + len(cache.skipped) == 40
    assert "no room" in cache.skipped[0][1]
    with pytest.raises(OptionError, match="no room"):
        open_cache(many, tmp_path / "cache", side=32, limit_bytes=window - 1)


# Crops


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Two data sets of photos whose every pixel is another: red is the photo, then x and y."""
    root = tmp_path_factory.mktemp("numbered")
    caches = []
    for name, sizes in (("a", [(9, 7), (6, 30)]), ("b", [(12, 12), (3, 40)])):
        paths = []
        for i, (height, width) in enumerate(sizes):
            y, x = np.mgrid[:height, :width]
            pixels = np.stack([np.full_like(x, i + (10 if name == "b" else 0)), x, y], 2)
            paths.append(save(root / name / f"{i}.png", pixels.astype(np.uint8)))
        caches.append(open_cache(paths, root / "cache"))
    return caches


def offsets(batch):
    """Photo, left and top of crops, whichever way they were turned."""
    codes = np.rint(batch * 255).astype(int).min(axis=(2, 3))
    return [tuple(code) for code in codes.tolist()]


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    crop=st.integers(1, 5),
)
def test_every_offset_is_reached(tmp_path, sizes, crop):
    paths = []
    for i, (height, width) in enumerate(sizes):
        y, x = np.mgrid[:height, :width]
        pixels = np.stack([np.full_like(x, i), x, y], 2).astype(np.uint8)
        paths.append(save(tmp_path / f"{i}.png", pixels))
    cache = open_cache(paths, tmp_path / "cache")
    expected = {
        (i, x, y)
        for i, (height, width) in enumerate(sizes)
        for y in range(height - crop + 1)
        for x in range(width - crop + 1)
    }
    if not expected:
        with pytest.raises(OptionError, match=f"{crop}x{crop}"):
            CropSampler([cache], [1], crop, Batching(1, 0))
        return
    # Photos are equally likely, so the positions of the largest are the rarest.
    most = max(sum(each[0] == i for each in expected) for i in range(len(sizes)))
    sampler = CropSampler([cache], [1], crop, Batching(25 * len(sizes) * most, 0))
    assert set(offsets(sampler.batch(0))) == expected


def test_crops_are_drawn_evenly(numbered):
    crop, draws = 4, 12000
    sampler = CropSampler(numbered, [3, 1], crop, Batching(draws, seed=5))
    assert sampler.not_used == 1
    drawn = offsets(sampler.batch(0))
    in_b = [place for place in drawn if place[0] >= 10]
    assert len(in_b) == pytest.approx(draws / 4, rel=0.1)
    # In the first data set, both photos are equally likely, and so are the 6 * 4 or 3 * 27
    # positions in each.
    places, counts = np.unique([p for p in drawn if p[0] < 10], axis=0, return_counts=True)
    photos = places[:, 0]
    for photo, positions in zip(np.unique(photos), (6 * 4, 3 * 27), strict=True):
        mine = counts[photos == photo]
        assert len(mine) == positions
        assert mine.sum() == pytest.approx(counts.sum() / 2, rel=0.05)
        expected = mine.sum() / positions
        spread = ((mine - expected) ** 2 / expected).sum()
        assert spread < positions + 5 * (2 * positions) ** 0.5


def test_crops_are_true_and_come_in_all_eight_symmetries(tmp_path):
    pixels = noise(5, 5)
    cache = open_cache([save(tmp_path / "p.png", pixels)], tmp_path / "cache")
    sampler = CropSampler([cache], [1], 5, Batching(200, 0))
    batch = sampler.batch(3)
    assert batch.dtype == np.float32
    assert batch.shape == (200, 3, 5, 5)
    assert batch.flags.c_contiguous
    image = (pixels / 255).astype(np.float32)
    symmetries = {
        np.rot90(side, turns).transpose(2, 0, 1).tobytes()
        for side in (image, image[:, ::-1])
        for turns in range(4)
    }
    assert {crop.tobytes() for crop in batch} == symmetries


def test_sixteen_bits_keep_their_depth_and_range(tmp_path):
    pixels = np.array([0, 1, 65534, 65535], np.uint16).repeat(3).reshape(2, 2, 3)
    cache = open_cache([save(tmp_path / "p.png", pixels)], tmp_path / "cache")
    crop = CropSampler([cache], [1], 2, Batching(1, 0)).batch(0)[0, 0]
    np.testing.assert_allclose(
        np.sort(crop, axis=None), [0, 1 / 65535, 65534 / 65535, 1], rtol=1e-6
    )
    assert crop.max() == 1


def test_a_resumed_or_split_training_sees_the_same_crops(numbered):
    alone = CropSampler(numbered, [1, 2], 5, Batching(4, seed=7))
    run = [alone.batch(step) for step in range(6)]
    resumed = CropSampler(numbered, [1, 2], 5, Batching(4, seed=7))
    np.testing.assert_array_equal(resumed.batch(4), run[4])
    pair = [CropSampler(numbered, [1, 2], 5, Batching(2, seed=7, rank=r, world=2)) for r in (0, 1)]
    for step, batch in enumerate(run):
        np.testing.assert_array_equal(np.concatenate([s.batch(step) for s in pair]), batch)
    other = CropSampler(numbered, [1, 2], 5, Batching(4, seed=8))
    assert not np.array_equal(other.batch(0), run[0])
    assert len({batch.tobytes() for batch in run}) == len(run)


def test_crops_stay_those_of_earlier_releases(numbered):
    """A training that is resumed after an update continues with the crops it would have had."""
    sampler = CropSampler(numbered, [1, 2], 5, Batching(4, seed=7, rank=1, world=2))
    assert [sampler.batching.numbers(step) for step in (0, 3)] == [range(4, 8), range(28, 32)]
    drawn = sampler.batch(3).tobytes()
    assert hashlib.sha256(drawn).hexdigest()[:16] == "a66867db875e880d"


def test_photos_all_smaller_than_the_crop_are_refused(tmp_path, photos):
    cache = open_cache(photos, tmp_path / "cache")
    with pytest.raises(OptionError, match=r"120x120.*2\.png.*50x42") as refusal:
        CropSampler([cache], [1], 120, Batching(4, 0))
    assert refusal.value.hint
    assert CropSampler([cache], [1], 42, Batching(4, 0)).not_used == 2


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [1, float("nan")]])
def test_senseless_weights_are_refused(numbered, weights):
    with pytest.raises(OptionError, match="how often to draw"):
        CropSampler(numbered, weights, 4, Batching(2, seed=0))


# Ahead of time


def prefetching_threads():
    return [thread for thread in threading.enumerate() if "prefetch" in thread.name]


@pytest.mark.parametrize("start", [0, 3])
def test_prefetched_batches_come_in_order(numbered, start):
    sampler = CropSampler(numbered, [1, 1], 4, Batching(2, 0))
    with contextlib.closing(prefetch(sampler.batch, start)) as batches:
        for step, batch in enumerate(itertools.islice(batches, 10), start):
            np.testing.assert_array_equal(batch, sampler.batch(step))
    assert not prefetching_threads()


class Steps:
    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.drawn = []

    def batch(self, step):
        if step == self.fail_at:
            raise OSError(errno.EIO, "the disk is gone")
        self.drawn.append(step)
        return np.full((1,), step, np.float32)


def test_two_batches_are_kept_ready():
    steps = Steps()
    batches = prefetch(steps.batch, 0)
    assert next(batches) == 0
    deadline = time.monotonic() + 10
    while len(steps.drawn) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert steps.drawn == [0, 1, 2]
    batches.close()
    assert not prefetching_threads()
    assert steps.drawn == [0, 1, 2]


def test_an_error_while_prefetching_arrives_at_its_step():
    batches = prefetch(Steps(fail_at=2).batch, 0)
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not prefetching_threads()
