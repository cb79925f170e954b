"""``ssbsn denoise`` through its real entry point, as a user at a shell runs it."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from commands import ssbsn
from PIL import Image
from typer.testing import CliRunner

from ssbsn_cli import denoise_image, load_denoiser
from ssbsn_cli.cli.app import _spell_out, app
from ssbsn_cli.core.errors import ImageError, OptionError, WeightsError
from ssbsn_cli.core.imaging import Metadata, Photo, read_photo, write_photo
from ssbsn_cli.core.imaging.formats import CODECS
from ssbsn_cli.core.imaging.profile import PRIMARIES, colour_profile, make_profile
from ssbsn_cli.core.inference import opening

SSBSN = ["--weights", "ssbsn-photo"]
QUICK = [*SSBSN, "--refine", "none"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with one noisy photo in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noisy(24, 40)).save("photo.png")
    return tmp_path


def noisy(height, width, seed=0):
    """A flat grey photo with strong noise, RGB uint8."""
    noise = np.random.default_rng(seed).normal(128, 25, (height, width, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_one_photo_becomes_less_noisy(folder):
    Image.fromarray(noisy(128, 96)).save("big.png")
    before = Path("big.png").read_bytes()
    ssbsn("denoise", "big.png")
    assert Path("big.png").read_bytes() == before
    result = pixels("big_denoised.png")
    assert result.shape == (128, 96, 3)
    assert result.std() < 0.7 * pixels("big.png").std()


def test_a_comparison_of_grey_has_the_colours_of_the_photo(folder):
    grey = make_profile(PRIMARIES[1], (1.0,), grey=True)
    write_photo(Photo(noisy(40, 40)[..., :1], Metadata(icc=grey)), Path("grey.png"))
    ssbsn("denoise", "grey.png", "--compare", "both.png", *QUICK)
    assert read_photo(Path("both.png")).metadata.icc == colour_profile(grey)


def test_only_what_the_photo_had_is_named_as_lost(folder):
    floats = np.abs(np.random.default_rng(0).normal(0, 0.02, (64, 64, 3))).astype(np.float32)
    floats[:, 32:] += 0.6
    tifffile.imwrite("float.tif", floats, photometric="rgb")
    done = ssbsn("denoise", "float.tif", "-o", "out.png", "--json")
    assert json.loads(done.stdout)["left_out"] == []


def test_every_option_of_the_network_reaches_it(folder):
    asked = {
        "device": "cpu", "precision": "fp32", "attention": "exact", "refine": "once",
        "strength": 0.5, "seed": 3, "tile": 32, "overlap": 8,
    }  # fmt: skip
    words = [word for key, value in asked.items() for word in (f"--{key}", value)]
    steps = "detail", "own_size", "multiscale", "wiener", "white_noise", "impulses", "banding"
    words += [word for step in steps for word in (f"--{step.replace('_', '-')}", "off")]
    done = ssbsn("denoise", "photo.png", "--json", *SSBSN, *words)
    asked |= dict.fromkeys(steps, False)
    record = json.loads(done.stdout)
    assert {key: record[key] for key in asked} == asked


def test_every_option_of_the_files_reaches_them(folder):
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.fromarray(noisy(64, 64)).save("photo.jpg", exif=exif)
    once = ("denoise", "photo.jpg", "--strength", 0)
    ssbsn(*once, "--suffix", "_fine")
    ssbsn(*once, "--suffix", "_rough", "--quality", 20, "--strip-metadata")
    fine, rough = Path("photo_fine.jpg"), Path("photo_rough.jpg")
    assert rough.stat().st_size < 0.5 * fine.stat().st_size
    assert [b"Maker" in read_photo(path).metadata.exif for path in (fine, rough)] == [True, False]


def test_the_loop_of_the_readme_makes_its_directory(folder):
    Image.fromarray(noisy(20, 20)).save("x.jpg")
    ssbsn("denoise", "x.jpg", "-o", "out/x.jpg", *QUICK)
    with Image.open("out/x.jpg") as result:
        assert (result.format, result.size) == ("JPEG", (20, 20))


def test_json_says_what_was_done(folder):
    result = ssbsn("denoise", "photo.png", "--json", "--tile", 32, "--overlap", 8, *QUICK)
    record = json.loads(result.stdout)
    assert record["input"] == "photo.png"
    assert record["output"] == "photo_denoised.png"
    assert (record["width"], record["height"], record["dtype"]) == (40, 24, "uint8")
    assert record["weights"]["name"]
    assert len(record["weights"]["sha256"]) == 64
    assert (record["tile"], record["refine"], record["device"]) == (32, "none", "cpu")
    assert record["seconds"] > 0
    assert record["megapixels_per_second"] > 0


def test_a_broken_photo_fails_alone(folder):
    Path("bad.png").write_text("this is text")
    Path("empty.png").touch()
    result = ssbsn(
        "denoise", "bad.png", "empty.png", "missing.png", "photo.png", "-o", "out", "--json",
        *QUICK, code=1,
    )  # fmt: skip
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["error" in record for record in records] == [True, True, True, False]
    assert all(name in record["error"] for name, record in zip(
        ["bad.png", "empty.png", "missing.png"], records, strict=False
    ))  # fmt: skip
    assert names("out") == ["photo.png"]


def test_a_photo_that_meets_a_defect_fails_alone_and_says_how_to_report_it(folder, monkeypatch):
    def read(path, *name, **options):
        if path.name == "b.png":
            raise ZeroDivisionError("by chance")
        return read_photo(path, *name, **options)

    monkeypatch.setattr(opening, "read_photo", read)
    for name in "abc":
        Image.fromarray(noisy(20, 20)).save(f"{name}.png")
    result = ssbsn("denoise", "a.png", "b.png", "c.png", "-o", "out", *QUICK, code=1)
    assert names("out") == ["a.png", "c.png"]
    assert "b.png cannot be processed" in result.stderr
    assert "by chance" in result.stderr
    assert "report" in result.stderr
    shown = CliRunner().invoke(app, ["denoise", "b.png", "-o", "x.png", "--debug"]).stderr
    assert "Traceback" in shown
    assert "in read" in shown


def test_many_photos_come_out_in_order_and_errors_are_told_of_the_right_ones(folder):
    kinds = "gbgggbbg"
    for number, kind in enumerate(kinds):
        path = Path(f"in/{number}.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy(24, 20 + number, number)).save(path)
        if kind == "b":
            path.write_bytes(path.read_bytes()[:60])
    result = ssbsn("denoise", "in", "-o", "out", "--json", *QUICK, code=1)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(each["input"]).stem for each in records] == list("01234567")
    for number, (kind, record) in enumerate(zip(kinds, records, strict=True)):
        assert ("error" in record) == (kind == "b")
        if kind == "g":
            assert record["width"] == 20 + number
            assert pixels(f"out/{number}.png").shape == (24, 20 + number, 3)
    assert len(names("out")) == kinds.count("g")


def test_nothing_is_overwritten_unless_asked(folder):
    original = Path("photo.png").read_bytes()
    ssbsn("denoise", "photo.png", "-o", "photo.png", *QUICK, code=1)
    assert Path("photo.png").read_bytes() == original
    Path("photo_denoised.png").write_text("mine")
    assert "--overwrite" in ssbsn("denoise", "photo.png", *QUICK, code=1).output
    ssbsn("denoise", "photo.png", "--skip-existing", *QUICK)
    assert Path("photo_denoised.png").read_text() == "mine"
    ssbsn("denoise", "photo.png", "-o", "photo.png", "--overwrite", *QUICK)
    assert Path("photo.png").read_bytes() != original


def test_a_directory_is_denoised_and_gone_on_with(folder):
    for name in ("in/one.png", "in/sub/two.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(noisy(20, 20)).save(name)
    Path("in/notes.txt").write_text("")
    result = ssbsn("denoise", "in", "-o", "out", "--recursive", *QUICK)
    assert "notes.txt" in result.stderr
    assert sorted(str(p) for p in Path("out").rglob("*.png")) == ["out/one.png", "out/sub/two.png"]
    again = ssbsn("denoise", "in", "-o", "out", "-r", "--skip-existing", "--json", *QUICK)
    assert all(json.loads(line)["skipped"] for line in again.stdout.splitlines())


def test_a_comparison_that_an_interruption_left_out_is_drawn_later(folder):
    ssbsn("denoise", "photo.png", "-o", "out/", "--compare", "seen/", *QUICK)
    result, picture = Path("out/photo.png"), Path("seen/photo.png_compare.png")
    before, drawn = result.read_bytes(), picture.read_bytes()
    for missing in (picture, result):
        missing.unlink()
        ssbsn("denoise", "photo.png", "-o", "out/", "--compare", "seen/", "--skip-existing", *QUICK)
        assert result.read_bytes() == before
        assert picture.read_bytes() == drawn


def test_the_result_of_a_grey_photo_is_compared_even_if_its_format_has_colours(folder):
    Image.fromarray(noisy(24, 40)[..., 0]).save("grey.png")
    options = ["-o", "out/", "--format", "webp", "--compare", "seen/", *QUICK]
    ssbsn("denoise", "grey.png", *options)
    Path("seen/grey.png_compare.png").unlink()
    ssbsn("denoise", "grey.png", "--skip-existing", *options)
    assert names("seen") == ["grey.png_compare.png"]


def test_results_and_comparisons_among_the_photos_are_no_photos(folder):
    options = ["-r", "-o", "out", "--compare", "seen/", *QUICK]
    for code in ("--overwrite", "--skip-existing"):
        ssbsn("denoise", ".", code, *options)
    assert names("out") == ["photo.png"]
    assert names("seen") == ["photo.png_compare.png"]


def test_a_read_only_result_is_replaced_and_stays_read_only(folder):
    Path("old.png").touch(0o444)
    ssbsn("denoise", "photo.png", "-o", "old.png", "--overwrite", *QUICK)
    assert pixels("old.png").shape == (24, 40, 3)
    assert Path("old.png").stat().st_mode & 0o777 == 0o444


def test_a_photo_is_denoised_while_the_list_goes_on(folder, forked):
    command = [*forked, "-m", "ssbsn_cli", "denoise", "--inputs-from", "-", *QUICK]
    with subprocess.Popen([*command, "--json"], stdin=-1, stdout=-1, text=True) as process:
        print("photo.png", file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline())["output"] == "photo_denoised.png"
        process.communicate()
    assert process.returncode == 0


def test_a_photo_itself_is_not_taken_for_its_finished_result(folder):
    for options in ([], ["--adapt", "1"]):
        result = ssbsn("denoise", ".", "-o", ".", "--skip-existing", *options, *QUICK, code=1)
        assert "would replace the photo itself" in result.stderr


def test_a_format_may_be_named_by_an_extension(folder):
    ssbsn("denoise", "photo.png", "--format", "JPG", *QUICK)
    assert Path("photo_denoised.jpg").read_bytes().startswith(b"\xff\xd8")
    assert "tiff" in ssbsn("denoise", "photo.png", "--format", "gif", *QUICK, code=2).stderr


def test_a_name_without_an_extension_may_be_meant_as_a_folder(folder):
    assert "clean/" in ssbsn("denoise", "photo.png", "-o", "clean", *QUICK, code=2).stderr


def test_a_photo_in_place_of_a_command_is_explained(folder, forked):
    command = [*forked, "-m", "ssbsn_cli", "photo.png"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "ssbsn denoise photo.png" in result.stderr


def test_a_comparison_of_a_photo_from_a_pipe_is_drawn_later(folder):
    photo = Path("photo.png").read_bytes()
    again = ["denoise", "-", "-o", "x.png", "--compare", "seen.png", "--skip-existing", *QUICK]
    ssbsn(*again, stdin=photo)
    drawn = Path("seen.png").read_bytes()
    Path("seen.png").unlink()
    ssbsn(*again, stdin=photo)
    assert Path("seen.png").read_bytes() == drawn


def test_a_photo_that_another_process_is_at_is_left_to_it_while_it_lives(folder, forked):
    Image.fromarray(noisy(20, 20)).save("another.png")
    Path("out").mkdir()
    busy = (
        "import pathlib, time\n"
        "from ssbsn_cli.core.runtime.temporary import claim\n"
        "print(claim(pathlib.Path('out/another.png')), flush=True)\n"
        "while not pathlib.Path('out/photo.png').exists(): time.sleep(0.01)\n"
        "time.sleep(0.3)"
    )
    with subprocess.Popen([*forked, "-c", busy], stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"True\n"
        result = ssbsn("denoise", ".", "-o", "out", "--skip-existing", "--json", *QUICK)
        assert other.poll() is not None
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["input"] for record in records] == ["photo.png", "another.png"]
    assert names("out") == ["another.png", "photo.png"]


@pytest.mark.slow
def test_eight_processes_share_a_folder(folder):
    for number in range(40):
        Image.fromarray(noisy(60, 40 + number)).save(f"{number}.png")
    command = [sys.executable, "-m", "ssbsn_cli", "denoise", ".", "-o", "out", "--skip-existing"]
    processes = [
        subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    told = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    records = [json.loads(line) for lines in told for line in lines]
    made = [record["input"] for record in records if "skipped" not in record]
    assert len(made) == len(set(made)) == 41
    assert len(names("out")) == 41


def test_results_go_through_no_link_that_the_user_did_not_name(folder):
    Path("elsewhere").mkdir()
    Path("elsewhere/photo.png").write_text("mine")
    Path("in/sub").mkdir(parents=True)
    Path("photo.png").rename("in/sub/photo.png")
    Path("out").mkdir()
    Path("out/sub").symlink_to("../elsewhere")
    told = ssbsn("denoise", "in", "-ro", "out", "--overwrite", *QUICK, code=1).stderr
    assert "out/sub is a link" in told
    Path("out/sub").unlink()
    Path("out/sub").mkdir()
    Path("out/sub/photo.png").symlink_to("../../elsewhere/photo.png")
    ssbsn("denoise", "in", "-ro", "out", "--overwrite", *QUICK, code=1)
    assert Path("elsewhere/photo.png").read_text() == "mine"
    named = ["-o", "out/sub/photo.png", "--overwrite"]
    ssbsn("denoise", "in/sub/photo.png", *named, *QUICK)
    assert Path("out/sub/photo.png").is_symlink()
    assert pixels("elsewhere/photo.png").shape == (24, 40, 3)


def test_a_list_names_photos_and_results_keep_their_time(folder):
    Image.fromarray(noisy(20, 20)).save("a b.png")
    os.utime("a b.png", (1e9, 1e9))
    Path("list").write_bytes(b"a b.png\0photo.png\0")
    options = ["--inputs-from", "list", "-0", "-o", "out", "--keep-time"]
    ssbsn("denoise", *options, "--shard", "1/1", *QUICK)
    assert names("out") == ["a b.png", "photo.png"]
    assert Path("out/a b.png").stat().st_mtime == 1e9
    shards = [
        ssbsn("denoise", "photo.png", "-o", "x/", "--shard", f"{i}/2", *QUICK) for i in (1, 2)
    ]
    assert sum("No photos found in this shard, and 1 in others" in s.stderr for s in shards) == 1
    ssbsn("denoise", "--inputs-from", "-", "-o", "more/", *QUICK, stdin=b"photo.png\n")
    assert names("more") == ["photo.png"]


def test_a_file_in_place_of_a_folder_is_told(folder):
    Path("file").touch()
    told = ssbsn("denoise", "photo.png", "-o", "file/x.png", *QUICK, code=1).stderr
    assert "file/x.png cannot be written: its folder is not a folder" in told


def test_small_photos_computed_together_come_out_as_they_do_alone(folder):
    shapes = [(20, 30), (20, 30), (20, 30), (30, 20), (20, 30)]
    for i, shape in enumerate(shapes):
        Image.fromarray(noisy(*shape, seed=i)).save(f"{i}.png")
    alpha = np.random.default_rng(9).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(np.dstack([noisy(20, 30, seed=5), alpha])).save("5.png")
    Image.fromarray(noisy(20, 30, seed=6)[..., 0]).save("6.png")
    Path("7.png").write_text("no photo")
    Image.fromarray(noisy(20, 30, seed=8)).save("8.png")
    Path("photo.png").unlink()
    result = ssbsn("denoise", folder, "-o", "together", "--json", code=1)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(record["input"]).stem for record in records] == list("012345678")
    assert ["error" in record for record in records] == [False] * 7 + [True, False]
    for name in names("together"):
        ssbsn("denoise", name, "-o", f"alone/{name}")
        alone, together = pixels(f"alone/{name}"), pixels(f"together/{name}")
        assert together.shape == alone.shape
        # Sums are rounded differently in a batch.
        assert np.abs(together.astype(int) - alone).max() <= 1
    np.testing.assert_array_equal(pixels("together/5.png")[..., 3], alpha)


def test_a_pipe_carries_the_image_alone(folder):
    result = ssbsn("denoise", "-", "--format", "png", *QUICK, stdin=Path("photo.png").read_bytes())
    piped = np.asarray(Image.open(io.BytesIO(result.stdout_bytes)))
    ssbsn("denoise", "photo.png", *QUICK)
    assert np.array_equal(piped, pixels("photo_denoised.png"))


@pytest.mark.parametrize(
    "option", [["--shard", "1/2"], ["--keep-time"], ["--overwrite"], ["--skip-existing"]]
)
def test_what_a_pipe_does_not_have_is_refused(folder, option):
    photo = Path("photo.png").read_bytes()
    assert ssbsn("denoise", "-", *option, code=2, stdin=photo).stdout == ""


def test_a_file_comes_out_the_same_whatever_ran_before_it(folder):
    Image.fromarray(noisy(30, 30, seed=1)).save("other.png")
    options = [*SSBSN, "--refine", "r3", "--refine-passes", 2]
    ssbsn("denoise", "other.png", "photo.png", "-o", "both", *options)
    ssbsn("denoise", "photo.png", "-o", "alone/", *options)
    assert np.array_equal(pixels("both/photo.png"), pixels("alone/photo.png"))
    ssbsn("denoise", "photo.png", "-o", "seeded/", "--seed", 1, *options)
    assert not np.array_equal(pixels("seeded/photo.png"), pixels("alone/photo.png"))


def test_grey_stays_grey_deep_stays_deep_and_alpha_is_kept(folder):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 200, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).save("grey.png")
    rgba = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(rgba).save("alpha.png")
    deep = rng.integers(0, 250, (20, 30, 3), dtype=np.uint16)
    tifffile.imwrite("deep.tif", deep, photometric="rgb")
    tifffile.imwrite("float.tif", rng.random((20, 30, 3), np.float32), photometric="rgb")
    ssbsn("denoise", "grey.png", "alpha.png", "deep.tif", "float.tif", "-o", "out", *QUICK)
    assert pixels("out/grey.png").shape == (20, 30)
    assert np.array_equal(pixels("out/alpha.png")[..., 3], rgba[..., 3])
    assert tifffile.imread("out/deep.tif").dtype == np.uint16
    assert tifffile.imread("out/deep.tif").max() < 1000
    assert tifffile.imread("out/float.tif").dtype == np.float32


def test_grey_photos_that_are_stored_as_colours_stay_grey(folder):
    grey = np.repeat(noisy(40, 48)[..., :1], 3, axis=2)
    for weights in ("photo", "ssbsn-photo"):
        result = denoise_image(grey, weights, device="cpu", tile=32)
        assert (result == result[..., :1]).all()
        assert not np.array_equal(result, grey)


def test_names_cannot_forge_messages(folder):
    (folder / "photo.png").rename("x.png\nError: the disk is on fire.png")
    said = ssbsn("denoise", *QUICK, ".", "-o", "out").stderr
    assert not any(line.startswith("Error") for line in said.splitlines())
    assert "x.png\\nError" in said


def test_a_link_may_be_named_to_replace_its_photo(folder):
    Path("link.png").symlink_to("photo.png")
    ssbsn("denoise", *QUICK, "link.png", "-o", "link.png", "--overwrite")
    assert Path("link.png").is_symlink()
    assert not np.array_equal(pixels("photo.png"), noisy(24, 40))


def test_places_that_cannot_take_a_result_are_told_before_any_work(folder):
    Path("out/photo.png").mkdir(parents=True)
    said = ssbsn("denoise", *QUICK, "photo.png", "-o", "out/", "--skip-existing", code=1).stderr
    assert "is a folder" in said
    long = "x" * 245 + ".png"
    Path("photo.png").rename(long)
    wrong = ssbsn("denoise", *QUICK, long, "-o", "new/", "--compare", "c/", code=1)
    assert "name is too long" in wrong.stderr
    assert not Path("new", long).exists()


def test_a_comparison_that_cannot_be_written_is_told_before_any_work(folder, monkeypatch):
    lacking = replace(CODECS["heic"], modules=("no_such_module",))
    monkeypatch.setitem(CODECS, "heic", lacking)
    said = ssbsn(
        "denoise", "photo.png", "-o", "a.png", "--compare", "c.heic", *QUICK, code=1
    ).stderr
    assert "c.heic cannot be written: HEIC needs another package" in said
    assert not Path("a.png").exists()


def test_an_empty_pipe_is_told_as_such(folder):
    said = ssbsn("denoise", "-", "-o", "a.png", *QUICK, stdin=b"", code=1).stderr
    assert "standard input is empty.\n" in said


def test_a_pipe_that_is_no_photo_is_not_read_to_its_end(folder, forked):
    command = [*forked, "-m", "ssbsn_cli", "denoise", "-", "-o", "a.png"]
    read, write = os.pipe()
    with subprocess.Popen(command, stdin=read, stderr=subprocess.PIPE, text=True) as process:
        os.close(read)
        with pytest.raises(BrokenPipeError), open(write, "wb", buffering=0, closefd=False) as pipe:
            pipe.writelines(itertools.repeat(bytes(1 << 16), 1 << 12))
        os.close(write)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "standard input is not a photo" in said


@pytest.mark.parametrize("name", ["-a\u00a0b.png", "-caf\udce9.png"])
def test_names_after_two_dashes_are_used_as_they_are(folder, name):
    shutil.copy("photo.png", name)
    ssbsn("denoise", "-o", "o/", *QUICK, "--", name)
    assert Path("o", name).exists()


def test_names_of_options_become_printable_and_their_values_stay():
    words = ["-\u00a0x", "--\u00a0=\u00a0", "-o\u00a0", "-qo\u00a0", "a\u00a0", "--", "-\u00a0"]
    spelt = ["-\\xa0x", "--\\xa0=\u00a0", "-o\u00a0", "-qo\u00a0", "a\u00a0", "--", "-\u00a0"]
    assert _spell_out(words) == spelt


def test_a_folder_that_is_gone_is_told(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); " + (
        "from ssbsn_cli.cli.app import main; main()"
    )
    command = [sys.executable, "-c", script, "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The current folder no longer exists" in done.stderr


def test_links_in_a_circle_and_photos_in_place_of_lists_are_named(folder):
    Path("loop.png").symlink_to("loop.png")
    Path("lost.png").symlink_to("nowhere")
    said = ssbsn("denoise", "loop.png", "lost.png", *QUICK, code=1).stderr
    assert "loop.png is a link that leads nowhere" in said
    assert "lost.png does not exist" in said
    said = ssbsn("denoise", "--inputs-from", "photo.png", "-o", "out/", *QUICK, code=2).stderr
    assert "Give a text file" in said


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs /dev/stdin")
def test_a_device_that_leads_to_a_file_lends_no_name(folder, forked):
    with Path("photo.png").open("rb") as photo:
        done = subprocess.run(
            [*forked, "-m", "ssbsn_cli", "denoise", *QUICK, "/dev/stdin"],
            stdin=photo,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert "no name to call the result by" in done.stderr


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs /dev/shm")
def test_photos_in_shared_memory_are_files_like_others(folder):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        shutil.copy("photo.png", place)
        ssbsn("denoise", *QUICK, f"{place}/photo.png")
        assert names(place) == ["photo.png", "photo_denoised.png"]


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 300), (257, 33)])
def test_odd_sizes_come_back_at_their_own(folder, size):
    Image.fromarray(noisy(*size)).save("odd.png")
    ssbsn("denoise", "odd.png", *SSBSN, "--refine", "once", "--tile", 64, "--overlap", 8)
    assert pixels("odd_denoised.png").shape == (*size, 3)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 6), (3, 200)])
def test_tiny_photos_keep_their_brightness(folder, size):
    Image.fromarray(noisy(*size) // 4 + 128).save("tiny.png")
    ssbsn("denoise", "tiny.png", *QUICK)
    assert abs(pixels("tiny_denoised.png").mean() - pixels("tiny.png").mean()) < 8


def test_compare_shows_before_and_after(folder):
    Image.fromarray(noisy(60, 40)).save("tall.png")
    ssbsn("denoise", "tall.png", "--compare", "compare.png", *QUICK)
    picture = pixels("compare.png")
    # A label covers the top of each column.
    assert np.array_equal(picture[40:60, :40], pixels("tall.png")[40:])
    assert np.array_equal(picture[40:60, -40:], pixels("tall_denoised.png")[40:])


def test_strength_zero_leaves_the_photo(folder):
    ssbsn("denoise", "photo.png", "--strength", 0, *QUICK)
    assert np.array_equal(pixels("photo_denoised.png"), pixels("photo.png"))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--tile", "big"],
        ["--tile", "7"],
        ["--overlap", "-3"],
        ["--strength", "2"],
        ["--refine", "twice"],
        ["--refine", "r3"],
        ["--quality", "0"],
        ["--overwrite", "--skip-existing"],
        ["-o", "clean.xyz"],
        ["-o", "-", "--json"],
        ["--no-such-option"],
        ["--device", "gpu"],
        ["--overlap", "100000"],
        ["--compare", "photo.png"],
        ["--tile", "9" * 5000],
        ["--weights", ""],
        ["--shard", "3/2"],
        ["--shard", "0/2"],
        ["--shard", f"{'9' * 5000}/{'9' * 5001}"],
        ["--cluster", "local:0"],
        ["--cluster", f"local:{'9' * 5000}"],
        ["--tile", "0", "--overlap", "8"],
        ["-0"],
        ["--adapt", "1", "--shard", "1/2"],
        ["--adapt", "1", "--max-pixels", "99999"],
        ["--adapt", "1", "--raw-space", "p3"],
        ["--adapt", "1", "--weights", "photo", "--refine", "once"],
        ["--adapt", "1", "--weights", "photo", "--overlap", "600"],
    ],
)
def test_wrong_use_is_refused(folder, wrong):
    result = ssbsn("denoise", "photo.png", *wrong, code=2)
    assert len(result.stderr) > 20
    assert names(".") == ["photo.png"]


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--device", "cuda:99", "CUDA"),
        ("--weights", "photoo", "photo"),
        ("--weights", "photo.png", "photo.png"),
        ("--weights", "~nosuchuser/weights.pth", "nosuchuser"),
        ("--weights", "x" * 5000, "xxx"),
        ("--weights", "/dev/null", "file"),
    ],
)
def test_a_missing_device_or_weights_is_an_error(folder, option, value, word):
    result = ssbsn("denoise", "photo.png", option, value, "--json", code=3)
    assert word in result.stderr
    assert json.loads(result.stdout)["error"]
    assert not Path("photo_denoised.png").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions bind no root")
def test_a_read_only_folder_is_an_error(folder):
    Path("locked").mkdir(mode=0o500)
    assert "locked" in ssbsn("denoise", "photo.png", "-o", "locked/x.png", *QUICK, code=1).stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words",
    [
        ["denoise", "photo.png", "-o", "-", *QUICK],
        ["denoise", "photo.png", "-o", "x.png", "--json", *QUICK],
        ["fetch-weights", "--list"],
    ],
    ids=["photo", "json", "text"],
)
def test_a_full_disk_is_an_error(folder, forked, words):
    command = [*forked, "-m", "ssbsn_cli", *words]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "Error: standard output: No space" in result.stderr
    assert "Traceback" not in result.stderr


def start_long_run(python):
    """Start a denoising that takes long, and wait until it computes."""
    Image.fromarray(noisy(1200, 1200)).save("long.png")
    slow = ["--ensemble", "--tile", "128", "--overlap", "64"]
    process = subprocess.Popen(
        [*python, "-m", "ssbsn_cli", "denoise", "photo.png", "long.png", "-o", "out", *slow],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not Path("out/photo.png").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_half_written_file(folder, forked, number, code):
    process = start_long_run(forked)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert names("out") == ["photo.png"]


def test_kill_leaves_no_half_written_result(folder, forked):
    process = start_long_run(forked)
    process.kill()
    process.communicate(timeout=60)
    assert [name for name in names("out") if not name.endswith(".part")] == ["photo.png"]
    assert pixels("out/photo.png").shape == (24, 40, 3)


HUNG = """
import sys, time
from ssbsn_cli.core.inference import opening
read_photo = opening.read_photo
def read(path, *name, **options):
    if path.name == "hung.png":
        print("hung", flush=True)
        time.sleep(1000)
    return read_photo(path, *name, **options)
opening.read_photo = read
from ssbsn_cli.__main__ import main
sys.argv = ["ssbsn", "denoise", "photo.png", "hung.png", "-o", "out"]
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_reader_that_hangs_does_not_keep_a_signal_waiting(folder, forked, number, code):
    Path("hung.png").write_bytes(b"?" * (1 << 20))
    with subprocess.Popen([*forked, "-c", HUNG], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        start = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    # Two seconds where nothing else runs.
    assert time.monotonic() - start < 10


def test_the_work_goes_on_if_nobody_reads_what_is_said(folder, forked):
    for number in range(3):
        Image.fromarray(noisy(20, 20)).save(f"{number}.png")
    reading, writing = os.pipe()
    os.close(reading)
    command = [*forked, "-m", "ssbsn_cli", "denoise", ".", "-o", "out", *QUICK]
    assert subprocess.run(command, stderr=writing).returncode == 0
    os.close(writing)
    assert len(names("out")) == 4


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_takes_the_place_of_a_closed_stream():
    code = (
        "import atexit, os; from ssbsn_cli.cli.app import main; "
        "atexit.register(lambda: os.write(1, os.readlink('/proc/self/fd/2').encode())); main()"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" --version 2>&-', sys.executable, code]
    assert subprocess.check_output(command).endswith(b"\n/dev/null")


def test_ctrl_c_is_answered_before_anything_else_is_imported():
    code = (
        "import sys; before = set(sys.modules); import ssbsn_cli.__main__; "
        "print(*sorted(set(sys.modules) - before), flush=True); "
        "import os, time; os.kill(os.getpid(), 2); time.sleep(9)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "ssbsn_cli ssbsn_cli.__main__\n"
    assert (result.returncode, result.stderr) == (130, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("columns", ["0", "20", "9" * 5000])
def test_help_finds_room_or_says_why_not(forked, columns):
    command = [*forked, "-m", "ssbsn_cli", "denoise", "--help"]
    environment = {**os.environ, "COLUMNS": columns}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "--strip-metadata" in result.stdout
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "Error: standard output: No space left on device\n"


def test_info_says_what_a_bug_report_needs():
    facts = json.loads(ssbsn("info", "--json").stdout)
    for key in ("ssbsn", "torch", "devices", "precision", "tile", "cache", "weights_present"):
        assert facts[key]
    assert facts["torch"] in ssbsn("info").stdout


def test_info_needs_no_home(monkeypatch):
    def expand(path):
        raise RuntimeError("no home")

    monkeypatch.delenv("SSBSN_CACHE", raising=False)
    monkeypatch.setattr("pooch.os_cache", expand)
    assert "SSBSN_CACHE" in ssbsn("info").stdout
    assert "SSBSN_CACHE" in ssbsn("fetch-weights", "ssbsn-sidd", code=1).stderr


def test_version_and_help():
    assert ssbsn("--version").stdout.startswith("ssbsn ")
    for command in ("denoise", "fetch-weights", "info"):
        assert "Examples" in ssbsn(command, "--help").stdout


def test_help_needs_nothing_heavy():
    code = (
        "import atexit, sys; from ssbsn_cli.cli.app import app; "
        "atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr)); "
        "app(['denoise', '--help'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(result.stderr.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "numpy", "cv2", "pooch", "tifffile", "PIL", "requests"}


def test_completion_scripts_are_made():
    code = "import sys; sys.argv = ['ssbsn']; from ssbsn_cli.cli.app import main; main()"
    environment = {**os.environ, "_SSBSN_COMPLETE": "source_bash"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "_SSBSN_COMPLETE=complete_bash" in result.stdout


class TestPython:
    """The same from Python."""

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 2), (20, 30, 3), (9, 8, 4)])
    def test_shape_and_type_are_kept(self, denoiser, dtype, shape):
        image = np.random.default_rng(0).random(shape)
        if dtype != np.float32:
            image = image * np.iinfo(dtype).max
        image = image.astype(dtype)
        before = image.copy()
        result = denoiser(image)
        assert result.shape == shape
        assert result.dtype == dtype
        assert np.array_equal(image, before)
        if len(shape) == 3 and shape[2] in (2, 4):
            assert np.array_equal(result[..., -1], image[..., -1])
            assert not np.array_equal(result, image)

    def test_byte_order_makes_no_difference(self, denoiser):
        image = noisy(20, 30).astype(np.uint16) * 257
        np.testing.assert_array_equal(denoiser(image.astype(">u2")), denoiser(image))

    def test_depth_makes_no_difference(self, denoiser):
        image = noisy(40, 40)
        deep = denoiser(image.astype(np.uint16) * 257) / 257
        floating = denoiser(image.astype(np.float32) / 255) * 255
        assert np.abs(denoiser(image) - deep).max() <= 0.51
        assert np.abs(np.clip(floating, 0, 255) - deep).max() < 0.01

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((4, 4), np.int32),
            np.zeros((0, 4, 3), np.uint8),
            np.zeros((4, 4, 5), np.uint8),
            np.zeros(4, np.uint8),
            np.ma.zeros((4, 4), np.uint8),
            [[0.5, 0.5], [0.5, 0.5]],
            torch.zeros(4, 4, 3),
            Image.new("RGB", (4, 4)),
            None,
        ],
        ids=lambda image: type(image).__name__,
    )
    def test_what_is_no_image_is_refused_everywhere(self, denoiser, image):
        for use in (denoiser, *batched(denoiser)):
            with pytest.raises(ImageError, match="is not an image"):
                use(image)

    def test_rows_and_batches_need_channels_without_alpha(self, denoiser):
        for use in batched(denoiser):
            with pytest.raises(ImageError):
                use(np.zeros((4, 4), np.uint8))
        for use in (denoiser.stream, lambda image: denoiser.denoise_batch([image])):
            with pytest.raises(ImageError, match="alpha"):
                use(np.zeros((4, 4, 4), np.uint8))

    def test_read_only_images_are_denoised_but_not_in_place(self, denoiser):
        image = noisy(20, 30)
        image.flags.writeable = False
        assert denoiser(image).flags.writeable
        with pytest.raises(ImageError, match="read-only"):
            denoiser.denoise_in_place([image])

    def test_no_images_give_no_results(self, denoiser):
        assert denoiser.denoise_batch([]) == []
        denoiser.denoise_in_place([])

    def test_what_is_streamed_is_never_a_part_of_the_photo(self):
        image = noisy(20, 30)
        unchanged = load_denoiser(device="cpu", strength=0)
        rows = np.concatenate([rows + 0 for rows in unchanged.stream(image)])
        np.testing.assert_array_equal(rows, image)
        assert not any(np.shares_memory(rows, image) for rows in unchanged.stream(image))

    def test_what_is_not_a_number_stays_where_it_is(self, denoiser):
        image = np.random.default_rng(0).random((20, 30), np.float32)
        image[3, 4] = np.nan
        assert np.array_equal(np.isnan(denoiser(image)), np.isnan(image))

    def test_one_call_does_it_all(self):
        assert denoise_image(noisy(16, 16), "ssbsn-photo", refine="once", device="cpu").shape == (
            16,
            16,
            3,
        )

    def test_errors_can_be_caught(self):
        with pytest.raises(OptionError):
            load_denoiser(refine="twice")
        with pytest.raises(OptionError):
            load_denoiser(refine_passes=2)
        with pytest.raises(OptionError):
            load_denoiser(ensemble="no")
        for missing in ("no-such-weights", Path("no-such-weights"), 3):
            with pytest.raises(WeightsError, match="weights"):
                load_denoiser(missing)


def batched(denoiser):
    """Return the ways to denoise that need channels, as functions of one image."""
    return (
        denoiser.stream,
        lambda image: denoiser.denoise_batch([image]),
        lambda image: denoiser.denoise_in_place([image]),
    )


@pytest.fixture(scope="module")
def denoiser():
    return load_denoiser(device="cpu", refine="none")
