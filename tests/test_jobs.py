"""Every result goes where a user expects it, and contradictions are refused beforehand."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.finding import PassedOver, read_names
from ssbsn_cli.core.inference.jobs import Job, Plan
from ssbsn_cli.core.inference.placing import Naming


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A directory with photos, other files and subdirectories, as the working directory."""
    monkeypatch.chdir(tmp_path)
    names = ["a.png", "b.JPG", "notes.txt", ".hidden.png", "sub/c.tif", "sub/deep/d.webp"]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def plan(inputs, output=None, suffix=None, format=None, compare=None, **options):
    """Return the jobs, and what is passed over."""
    naming = Naming(output=output, suffix=suffix, format=format, compare=compare)
    told = [each for each in Plan(inputs, naming, **options) if each]
    jobs = [each for each in told if isinstance(each, Job)]
    return jobs, [each for each in told if isinstance(each, PassedOver)]


def targets(*inputs, output=None, **options):
    jobs, _ = plan([str(i) for i in inputs], output, **options)
    return [str(job.target) if job.target else "-" for job in jobs]


def test_a_result_goes_beside_its_photo():
    assert targets("dir/photo.png") == ["dir/photo_denoised.png"]
    assert targets("photo.jpg", suffix="_clean") == ["photo_clean.jpg"]
    assert targets("photo.jpg", format="png") == ["photo_denoised.png"]
    assert targets("photo.JPG", format="jpeg") == ["photo_denoised.JPG"]


def test_an_output_names_a_file_or_a_directory(photos):
    assert targets("photo.png", output="clean.jpg") == ["clean.jpg"]
    assert targets("photo.png", output="new/clean.png") == ["new/clean.png"]
    assert targets("photo.png", output="new/") == ["new/photo.png"]
    assert targets("photo.png", output="photos") == ["photos/photo.png"]
    assert targets("a/x.png", "b/y.png", output="new") == ["new/x.png", "new/y.png"]
    assert targets("x.png", output="new/", suffix="_1", format="tiff") == ["new/x_1.tiff"]


def test_a_directory_gives_its_photos(photos):
    jobs, passed_over = plan(["photos"])
    assert [job.target.name for job in jobs] == ["a_denoised.png", "b_denoised.JPG"]
    assert {each.path.name for each in passed_over} == {"notes.txt", "sub"}


def test_a_tree_is_kept(photos):
    expected = ["out/a.png", "out/b.JPG", "out/sub/c.tif", "out/sub/deep/d.webp"]
    assert targets("photos", output="out", recursive=True) == expected


def test_a_photo_that_joins_is_not_taken_for_a_result(photos):
    assert targets("photos", output="out", format="png")[1] == "out/b.png"
    Path("photos/b.png").touch()
    assert targets("photos", output="out", format="png")[1:] == ["out/b.JPG.png", "out/b.png.png"]


def test_results_with_a_photos_whole_name_are_not_taken_for_photos(photos):
    Path("photos/b.png").touch()
    names = targets("photos", format="png")
    assert names[1:] == ["photos/b.JPG_denoised.png", "photos/b.png_denoised.png"]
    for name in (*names, "photos/a.png_compare.png"):
        Path(name).touch()
    assert targets("photos", format="png") == names


def test_a_photo_that_cannot_be_reached_does_not_end_the_others(photos):
    # Asking whether such a file exists is an error, as for files that users may not see.
    assert Job(Path("x" * 300), photos / "photos/a.png").is_done


def test_a_link_beside_its_photo_is_left_alone_in_place(photos):
    Path("photos/Z.png").symlink_to("a.png")
    Path("photos/c.png").symlink_to("a.png")
    jobs, passed_over = plan(["photos"], output="photos", overwrite=True)
    assert [job.target.name for job in jobs] == ["a.png", "b.JPG"]
    assert [each.path.name for each in passed_over] == ["Z.png", "c.png", "notes.txt", "sub"]


def test_results_are_not_taken_for_photos(photos):
    for name in ("photos/a_denoised.png", "photos/out/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert "photos/a_denoised_denoised.png" not in targets("photos")
    again = targets("photos", output="photos/out", recursive=True)
    assert "photos/out/out/a.png" not in again
    assert "photos/out/a.png" in again


def test_only_results_of_photos_that_are_there_are_taken_for_results(photos):
    Path("photos/mine_denoised.png").touch()
    assert "photos/mine_denoised_denoised.png" in targets("photos")


def test_a_folder_whose_results_went_elsewhere_may_hold_results_of_an_earlier_run(photos):
    Path("photos/a_denoised.png").touch()
    assert targets("photos", output="out") == ["out/a.png", "out/b.JPG"]


def test_a_pattern_run_again_does_not_denoise_its_results():
    for output in (None, "out"):
        jobs, passed_over = plan(["a_denoised.png", "a.png", "b.png"], output)
        assert [str(job.source) for job in jobs] == ["a.png", "b.png"]
        assert [each.path.name for each in passed_over] == ["a_denoised.png"]


def test_a_result_that_is_named_alone_is_denoised():
    assert targets("a_denoised.png") == ["a_denoised_denoised.png"]


def test_a_folder_in_a_folder_is_said_to_need_recursive(photos):
    Path("photos/notes.txt").unlink()
    _, (passed_over,) = plan(["photos"], "out")
    assert str(passed_over.path) == "photos/sub"
    assert "--recursive" in passed_over.reason
    assert plan(["photos"], "photos/sub")[1] == []


def test_a_link_to_a_folder_is_named_and_not_followed(photos):
    Path("photos/self").symlink_to(".")
    Path("photos/elsewhere").symlink_to("sub")
    jobs, passed_over = plan(["photos"], "out", recursive=True)
    linked = [str(each.path) for each in passed_over if "link" in each.reason]
    assert linked == ["photos/elsewhere", "photos/self"]
    assert len(jobs) == 4
    assert targets("photos/elsewhere", output="out") == ["out/c.tif"]


@pytest.mark.parametrize("output", ["out", None])
def test_photos_that_differ_by_their_extensions_get_results_of_their_own(photos, output):
    for name in ("b.jpg", "b.png", "c.jpg", "c.tif", "d.jpg"):
        Path("photos/sub", name).touch()
    found = {Path(name).name for name in targets("photos/sub", output=output, format="png")}
    middle = "" if output else "_denoised"
    stems = ("b.jpg", "b.png", "c.jpg", "c.tif", "d")
    assert found == {f"{stem}{middle}.png" for stem in stems}


def test_shards_hold_every_photo_once_and_always_the_same():
    names = [f"photos/{number}.png" for number in range(200)]
    shards = []
    for number in (1, 2, 3):
        jobs, _ = plan(names, "out", shard=(number, 3))
        shards.append({str(job.source) for job in jobs})
    assert sorted(name for shard in shards for name in shard) == sorted(names)
    assert min(map(len, shards)) > 40
    moved, _ = plan([n.replace("photos", "/mnt") for n in names[:50]], "out", shard=(1, 3))
    assert {job.source.name for job in moved} == {
        Path(name).name for name in shards[0] & set(names[:50])
    }


def test_lists_of_names():
    def names(content, separator):
        return list(read_names(io.BytesIO(content), separator))

    assert names(b"a.png\n\nb c.png", b"\n") == ["a.png", "b c.png"]
    assert names(b"a\nb.png\0c.png\0", b"\0") == ["a\nb.png", "c.png"]
    assert names(b"a.png\r\n\r\nb.png\r", b"\n") == ["a.png", "b.png"]
    many = [f"{number}.png" for number in range(20000)]
    assert names("\n".join(many).encode(), b"\n") == many
    for wrong in (b"a.png\0b.png\0", b"-\n"):
        with pytest.raises(OptionError):
            names(wrong, b"\n")
    endless = SimpleNamespace(read=lambda size: b"\0" * size)
    with pytest.raises(OptionError, match="too long"):
        next(read_names(endless, b"\n"))
    assert targets(output="out", listed=["a.png"]) == ["out/a.png"]


def test_a_photo_named_twice_is_denoised_once(photos):
    assert targets("a.png", "a.png") == ["a_denoised.png"]
    assert targets("photos", "photos/a.png", output="out") == ["out/a.png", "out/b.JPG"]
    assert targets(listed=["photos/a.png", "./photos/a.png"]) == ["photos/a_denoised.png"]


def endless(ended, *names):
    """List names, and then wait."""
    yield from names
    assert ended.wait(60)


def test_lists_of_other_systems_are_read_or_named():
    assert list(read_names(io.BytesIO(b"\xef\xbb\xbfa.png\r\nb.png\r\n"), b"\n")) == [
        "a.png",
        "b.png",
    ]
    with pytest.raises(OptionError, match="UTF-16"):
        list(read_names(io.BytesIO("a.png\r\n".encode("utf-16")), b"\0"))


def test_photos_are_denoised_before_the_list_has_ended():
    ended = Event()
    planned = Plan([], Naming(output="out"), listed=endless(ended, "a.png", "b.png"))
    jobs = iter(planned)
    assert [str(next(jobs).source), str(next(jobs).source)] == ["a.png", "b.png"]
    assert planned.total is None
    ended.set()
    assert list(jobs) == []
    assert planned.total == 2


def test_nothing_is_replaced_before_all_photos_are_known():
    ended = Event()
    listed = endless(ended, "a.png")
    jobs = iter(Plan([], Naming(output="out"), listed=listed, overwrite=True))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, jobs)
        # Longer than without --overwrite.
        time.sleep(1.5)
        assert not first.done()
        ended.set()
        assert str(first.result().source) == "a.png"


def test_results_in_a_list_are_passed_over(photos):
    Path("photos/a_denoised.png").touch()
    _, passed_over = plan([], listed=["photos/a_denoised.png", "photos/a.png"])
    assert [str(each.path) for each in passed_over] == ["photos/a_denoised.png"]
    # As `find` lists them while they are made.
    jobs, passed_over = plan([], "out", listed=["photos/a.png", "out/a.png"])
    assert len(jobs) == 1
    assert [str(each.path) for each in passed_over] == ["out/a.png"]
    with pytest.raises(OptionError):
        plan([], "out", listed=["photos/a.png", "out/a.png"], overwrite=True)


def test_parts_of_a_list_agree_on_the_names_of_results(photos):
    Path("photos/b.png").touch()
    for part in (["photos/b.JPG"], ["photos/b.JPG", "photos/b.png"]):
        assert targets(output="out", listed=part, format="png")[0] == "out/b.JPG.png"


def test_each_photo_of_several_has_a_comparison_of_its_own(photos):
    jobs, _ = plan(["photos"], "out", recursive=True, compare="seen")
    comparisons = [str(job.comparison) for job in jobs]
    assert comparisons[0] == "seen/a.png_compare.png"
    assert comparisons[2] == "seen/sub/c.tif_compare.png"
    assert len(set(comparisons)) == len(comparisons)


def test_what_is_no_file_is_passed_over(photos):
    os.mkfifo("photos/pipe.png")
    Path("photos/circle.png").symlink_to("circle.png")
    jobs, passed_over = plan(["photos"])
    assert "pipe.png" in [each.path.name for each in passed_over]
    # Reading it shows what is wrong.
    assert "circle.png" in [job.source.name for job in jobs]


def test_streams():
    assert targets("-") == ["-"]
    assert targets("-", output="-") == ["-"]
    assert targets("-", output="x.png") == ["x.png"]
    assert targets("photo.png", output="-") == ["-"]


@pytest.mark.parametrize(
    ("inputs", "output", "options"),
    [
        (["-", "a.png"], None, {}),
        (["a.png", "b.png"], "-", {}),
        (["photos"], "-", {}),
        (["a.png", "b.png"], "one.png", {}),
        (["photos"], "photos/a.png", {}),
        (["-"], "photos", {}),
        (["a.png"], "a.xyz", {}),
        (["a.png"], "out", {}),
        (["a.png"], "out.png", {"format": "jpeg"}),
        (["a.png"], None, {"suffix": "/elsewhere"}),
        (["one/a.png", "two/a.png"], "out", {}),
        (["a.png"], "x.png", {"suffix": "_1"}),
        (["a.png"], "-", {"suffix": "_1"}),
        (["-"], None, {"suffix": "_1"}),
        (["a.png"], "x.png", {"compare": "x.png"}),
        (["a.png"], "x.png", {"compare": "a.png"}),
        (["a.png"], "x.png", {"compare": "picture"}),
        (["a.png", "b.png"], None, {"compare": "one.png"}),
        ([], "out", {"listed": ["one/a.png", "two/a.png"]}),
        (["-"], "out", {"listed": ["a.png"]}),
        (["one/a.png", "two/a.png"], "two", {"overwrite": True}),
    ],
)
def test_contradictions_are_refused_with_a_hint(photos, inputs, output, options):
    with pytest.raises(OptionError) as caught:
        plan(inputs, output, **options)
    assert caught.value.hint
