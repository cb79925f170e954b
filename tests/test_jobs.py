"""Every result goes where a user expects it, and contradictions are refused beforehand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.jobs import plan_jobs


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


def targets(*inputs, output=None, **options):
    plan = plan_jobs([str(i) for i in inputs], output, **options)
    return [str(job.target) if job.target else "-" for job in plan.jobs]


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
    plan = plan_jobs(["photos"], None)
    assert [job.target.name for job in plan.jobs] == ["a_denoised.png", "b_denoised.JPG"]
    assert [path.name for path, _ in plan.passed_over] == ["notes.txt"]


def test_a_tree_is_kept(photos):
    expected = ["out/a.png", "out/b.JPG", "out/sub/c.tif", "out/sub/deep/d.webp"]
    assert targets("photos", output="out", recursive=True) == expected


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


def test_a_photo_named_twice_is_denoised_once():
    assert targets("a.png", "a.png") == ["a_denoised.png"]


def test_each_photo_of_several_has_a_comparison_of_its_own(photos):
    plan = plan_jobs(["photos"], "out", recursive=True, compare="seen")
    comparisons = [str(job.comparison) for job in plan.jobs]
    assert comparisons[0] == "seen/a.png_compare.png"
    assert comparisons[2] == "seen/sub/c.tif_compare.png"
    assert len(set(comparisons)) == len(comparisons)


def test_what_is_no_file_is_passed_over(photos):
    os.mkfifo("photos/pipe.png")
    plan = plan_jobs(["photos"], None)
    assert "pipe.png" in [path.name for path, _ in plan.passed_over]


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
        ([""], None, {}),
        (["a.png"], "", {}),
        (["a.png"], "x.png", {"suffix": "_1"}),
        (["a.png"], "x.png", {"compare": "x.png"}),
        (["a.png"], "x.png", {"compare": "a.png"}),
        (["a.png"], "x.png", {"compare": "picture"}),
        (["a.png", "b.png"], None, {"compare": "one.png"}),
        (["a.png", "a_denoised.png"], None, {}),
    ],
)
def test_contradictions_are_refused_with_a_hint(photos, inputs, output, options):
    with pytest.raises(OptionError) as caught:
        plan_jobs(inputs, output, **options)
    assert caught.value.hint
