"""The log of a training run survives kills and resumptions, and its report is safe to send."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import tempfile
import types
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ssbsn_cli.core.errors import ImageError, OptionError
from ssbsn_cli.core.report.plots import CURVES, Curve, plot_curves, smooth
from ssbsn_cli.core.report.training import write_report
from ssbsn_cli.core.training.card import Origin, model_card
from ssbsn_cli.core.training.config import load_config
from ssbsn_cli.core.training.log import MetricsLog, TensorBoardLog, read_metrics

VOID = {"meta", "img"}
EVIL = "/data/<script>alert('1')</script>&\"q\udcff"


def step(number, **values):
    return {"event": "step", "step": number, "seconds": number / 2, "loss": 0.1, **values}


def validation(number, **values):
    picture = f"previews/step-{number:08d}.png"
    return {
        "event": "validation",
        "step": number,
        "seconds": number / 2,
        "loss": 0.1,
        "best": False,
        "picture": picture,
        **values,
    }


def write_log(path, records):
    with closing(MetricsLog(path)) as log:
        for record in records:
            log.write(record)
    return path


def names(records):
    return [(record["event"][0], record["step"]) for record in records]


@pytest.fixture
def run(tmp_path):
    """A run of 100 steps, with nine validations against pairs."""
    run = tmp_path / "run"
    (run / "previews").mkdir(parents=True)
    records = []
    for number in range(1, 91):
        rate = 1e-3 / number
        records.append(step(number, loss=1 / number, learning_rate=rate, images_per_second=7.5))
        if number % 10 == 0:
            psnr = 30 + number / 100
            scores = {"psnr": psnr, "ssim": 0.8125, "psnr_noisy": 28.4, "best": number <= 70}
            records.append(validation(number, **scores))
            picture = Image.new("RGB", (8, 4), (number, 0, 0))
            picture.save(run / "previews" / f"step-{number:08d}.png")
    write_log(run / "metrics.jsonl", records)
    source = {"path": EVIL, "kind": "folder", "photos": 4321, "skipped": 2, "share": 1.5}
    (run / "data.json").write_text(json.dumps({"sources": [source]}))
    (run / "config.toml").write_text(
        'seed = 7\n[train]\namp = true\nrate = 5e-4\nname = "<i>&"\ntags = ["a", "b"]\n'
    )
    return run


class Page(HTMLParser):
    """A page taken apart; complains of tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] != "style" and text.strip():
            self.texts.append(text)

    def find(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def pictures(page):
    return [base64.b64decode(tag["src"].partition("base64,")[2]) for tag in page.find("img")]


def test_log_is_readable_while_it_is_written(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(step(1))
    assert read_metrics(tmp_path / "metrics.jsonl") == [step(1)]
    log.close()


def test_numbers_that_json_does_not_have_become_null(tmp_path):
    path = write_log(tmp_path / "m", [step(1, loss=float("nan"), speed=float("inf"))])
    assert b"NaN" not in path.read_bytes()
    assert read_metrics(path) == [step(1, loss=None, speed=None)]


def test_missing_log_is_empty_and_an_unreadable_one_is_an_error(tmp_path):
    assert read_metrics(tmp_path / "none") == []
    with pytest.raises(OptionError, match="is a folder"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00" * 40,
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1]",
        b'"a"',
        b"{}",
        b'{"event":"step"}',
        b'{"event":"step","step":"1"}',
        b'{"event":1,"step":1}',
        b'{"event":"s","step":true}',
        b"",
    ],
    ids=range(11),
)
def test_damaged_lines_are_left_out(tmp_path, damage):
    path = write_log(tmp_path / "m", [step(1)])
    path.write_bytes(path.read_bytes() + damage + b"\n")
    write_log(path, [step(2)])
    assert names(read_metrics(path)) == [("s", 1), ("s", 2)]


def test_line_cut_short_does_not_spoil_the_next(tmp_path):
    path = write_log(tmp_path / "m", [step(1), step(2)])
    path.write_bytes(path.read_bytes()[:-5])
    write_log(path, [step(2), step(3)])
    assert names(read_metrics(path)) == [("s", 1), ("s", 2), ("s", 3)]


def test_step_and_validation_at_one_step_are_both_kept(tmp_path):
    for pair in ([step(2), validation(2)], [validation(2), step(2)]):
        path = write_log(tmp_path / f"m{pair[0]['event']}", [step(1), *pair, step(3)])
        assert read_metrics(path) == [step(1), *pair, step(3)]


@pytest.mark.parametrize(
    ("resumed", "expected"),
    [
        # Resumed after 2, where a validation had been written.
        ([step(3, loss=9)], [("s", 1), ("s", 2), ("v", 2), ("s", 3)]),
        # Resumed after 1: step 2 and what was validated there are done again.
        ([step(2, loss=9), validation(2, loss=9)], [("s", 1), ("s", 2), ("v", 2)]),
        ([step(2, loss=9)], [("s", 1), ("s", 2)]),
        # From the start.
        ([step(1, loss=9)], [("s", 1)]),
        # Far on: nothing is superseded.
        ([step(9, loss=9)], [("s", 1), ("s", 2), ("v", 2), ("s", 3), ("s", 4), ("v", 4), ("s", 9)]),
        # Just the last validation was lost, or was done twice.
        ([validation(4, loss=9)], [("s", 1), ("s", 2), ("v", 2), ("s", 3), ("s", 4), ("v", 4)]),
        # A step without a validation any more: the old one at that step is void.
        ([step(4, loss=9)], [("s", 1), ("s", 2), ("v", 2), ("s", 3), ("s", 4)]),
    ],
)
def test_resumption_supersedes_what_it_does_again(tmp_path, resumed, expected):
    path = tmp_path / "m"
    write_log(path, [step(1), step(2), validation(2), step(3), step(4), validation(4)])
    write_log(path, resumed)
    records = read_metrics(path)
    assert names(records) == expected
    assert records[-len(resumed) :] == resumed


RECORDS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])).filter(
                lambda key: key not in ("step", "event")
            ),
            st.none()
            | st.booleans()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
        ),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(RECORDS, st.data())
def test_log_cut_at_any_byte_keeps_whole_lines_and_goes_on(rises, data):
    records, number = [], 0
    for rise, values in rises:
        number += rise
        records.append({**values, "event": "step", "step": number})
    with tempfile.TemporaryDirectory() as directory:
        path = write_log(Path(directory) / "m", records)
        # The first line makes the file.
        content = path.read_bytes() if records else b""
        end = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:end])
        ends = [match.end() for match in re.finditer(b"\n", content)]
        # A line that lacks nothing but its end is whole.
        whole = records[: sum(line_end - 1 <= end for line_end in ends)]
        assert read_metrics(path) == whole
        # Resumed where the kill left it.
        write_log(path, records[len(whole) :])
        assert read_metrics(path) == records


def test_tensorboard_is_asked_for_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OptionError, match="TensorBoard is not installed") as caught:
        TensorBoardLog(tmp_path)
    assert 'pip install "ssbsn[tensorboard]"' in caught.value.hint


def test_tensorboard_gets_the_numbers(tmp_path, monkeypatch):
    calls = []

    class Writer:
        def __init__(self, directory, purge_step):
            calls.append((directory, purge_step))

        def add_scalar(self, *arguments):
            calls.append(arguments)

        def flush(self):
            pass

        def close(self):
            calls.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with closing(TensorBoardLog(tmp_path)) as log:
        log.write({"event": "validation", "step": 3, "psnr": 30.5, "best": True, "picture": "a"})
    # What a killed process wrote from this step on comes again.
    assert calls == [(str(tmp_path), 3), ("validation/psnr", 30.5, 3), "closed"]


def test_report_is_one_page_that_fetches_and_runs_nothing(run):
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path)
    assert not {"script", "link", "iframe", "object", "a", "i"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    text = path.read_text("utf-8")
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_report_shows_paths_and_values_as_they_are(run):
    page = Page(write_report(run))
    assert EVIL.replace("\udcff", "\\udcff") in page.texts
    for text in ("4321", "1.5", "train.name", "<i>&", "train.tags", "a, b", "train.amp", "true"):
        assert text in page.texts


def test_report_scores_the_best_and_the_last(run):
    page = Page(write_report(run))
    best = page.texts.index("best")
    assert page.texts[best + 1 : best + 4] == ["70", "0.6", "0.1"]
    assert page.texts[best + 4 : best + 8] == ["30.70", "28.40", "+2.30", "0.8125"]
    assert page.texts[page.texts.index("last") + 1] == "90"


def test_pictures_are_embedded_first_to_last(run):
    embedded = pictures(Page(write_report(run)))
    there = [path.read_bytes() for path in sorted((run / "previews").iterdir())]
    assert len(embedded) == 8
    assert embedded[0] == there[0]
    assert embedded[-1] == there[-1]
    assert [there.index(picture) for picture in embedded] == sorted(
        {there.index(picture) for picture in embedded}
    )


def test_pictures_that_are_missing_or_none_are_left_out(run):
    previews = sorted((run / "previews").iterdir())
    previews[0].unlink()
    previews[1].write_bytes(b"half")
    (run / "secret.png").write_bytes(previews[2].read_bytes() + b"secret")
    evil = [validation(91 + i, picture=path) for i, path in enumerate(["../secret.png", "\0", 3])]
    write_log(run / "metrics.jsonl", evil)
    embedded = pictures(Page(write_report(run)))
    assert embedded == [path.read_bytes() for path in previews[2:]]


def numbers(text):
    return [float(number) for number in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", text)]


def check_inside(page):
    """Check that every coordinate is inside its picture; return how many were looked at."""
    xs, ys = [], []
    for tag, attributes in page.tags:
        if tag == "polyline":
            pairs = numbers(attributes["points"])
            xs += pairs[::2]
            ys += pairs[1::2]
        elif tag in ("circle", "text"):
            xs.append(float(attributes.get("cx", attributes.get("x"))))
            ys.append(float(attributes.get("cy", attributes.get("y"))))
    assert all(0 <= x <= CURVES.width for x in xs)
    assert all(0 <= y <= CURVES.height for y in ys)
    return len(xs)


def test_curves_are_inside_their_pictures(run):
    page = Page(write_report(run))
    assert len(page.find("svg")) == 3
    assert check_inside(page) > 3 * 90
    assert "step 90, 0.8 min: denoised 30.9 dB" in page.texts


VALUES = st.floats(-1e29, 1e29) | st.floats(0, 1e-20) | st.sampled_from([0.0, 1.0, 1e-3, 1.001])


@example([(0, 0.0), (1, 5e-324)], True)
@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**12), VALUES), min_size=1, max_size=9), st.booleans())
def test_any_values_are_drawn_inside_the_picture(points, log):
    points = sorted(points)
    curves = [Curve("<a>", "raw", points), Curve("b", "smooth", smooth(points))]
    drawn = plot_curves("T & <t>", "dB", curves, [(step, step / 7) for step, _ in points], log)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "page.html"
        path.write_text(drawn)
        assert check_inside(Page(path))
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_long_runs_make_no_large_page(run):
    write_log(
        run / "metrics.jsonl", [step(i, loss=1 + i % 7, extra="x") for i in range(91, 60_000)]
    )
    assert write_report(run).stat().st_size < 150_000


def test_peaks_stay_visible_in_long_curves():
    points = [(float(i), 1.0) for i in range(50_000)]
    points[31_234] = (31_234.0, 9.0)
    drawn = plot_curves("T", "", [Curve("a", "raw", points)], [])
    line = numbers(re.search(r'polyline class="raw" points="([^"]*)"', drawn)[1])
    assert len(line) < 2000
    assert sum(y < CURVES.height / 4 for y in line[1::2]) == 1


def test_smoothing_does_not_pull_the_start_towards_zero():
    assert [value for _, value in smooth([(float(i), 5.0) for i in range(500)])] == pytest.approx(
        [5.0] * 500
    )


@pytest.mark.parametrize("left", ["config.toml", "metrics.jsonl"])
def test_report_works_with_little_there(run, left):
    for path in (run / "config.toml", run / "data.json", run / "metrics.jsonl"):
        if path.name != left:
            path.unlink()
    page = Page(write_report(run))
    assert ("seed" in page.texts) == (left == "config.toml")
    assert bool(page.find("svg")) == (left == "metrics.jsonl")
    assert ("This run has logged nothing yet." in page.texts) == (left == "config.toml")


@pytest.mark.parametrize("content", ["", "[", "{}", '{"sources": [1]}', '{"sources": 3}', "[]"])
def test_damaged_side_files_are_said_to_be_so(run, content):
    (run / "data.json").write_text(content)
    (run / "config.toml").write_bytes(b"\xff = [")
    texts = Page(write_report(run)).texts
    assert "data.json cannot be read." in texts
    assert "config.toml cannot be read." in texts


def test_report_draws_the_noise_that_was_measured(run):
    points = [[40.0, 4.0], [200.5, 9.25]]
    noise = {
        "found": True,
        "deviations": dict.fromkeys(("red", "green", "blue"), points),
        "neighbours": {"horizontal": [0.5, 0.25], "vertical": [0.5, 0.125]},
        "channels": {"red-green": 0.125},
    }
    photo = {"input": EVIL, "noise": noise, "finding": "Noise of 4."}
    unknown = {"input": "b.png", "noise": None, "finding": "The noise cannot be measured."}
    record = {"sources": [], "noise": {"photos": [photo, unknown], "summary": "All in all."}}

    def written():
        (run / "data.json").write_text(json.dumps(record))
        return Page(write_report(run))

    page = written()
    assert [svg["aria-label"] for svg in page.find("svg")][-2:] == [
        "Standard deviation", "Correlation",
    ]  # fmt: skip
    assert "brightness 200: red 9.25" in page.texts
    for text in (EVIL.replace("\udcff", "\\udcff"), unknown["finding"], "All in all."):
        assert text in page.texts
    check_inside(page)
    # Anybody may have written it.
    for odd in (None, "a", [], {}, 3, [[1, float("nan")]], [[1, 1e999]], [[1, 2, 3]], [["a", "b"]]):
        noise["deviations"]["blue"] = odd
        page = written()
        check_inside(page)
        assert "nan" not in "".join(line["points"] for line in page.find("polyline"))


def test_values_of_any_type_in_the_log_do_no_harm(run):
    odd = [None, "a", True, 10**400, -(10**400), 1e300, [], {}]
    keys = ["seconds", "loss", "psnr", "ssim", "psnr_noisy", "learning_rate", "best"]
    for i, value in enumerate(odd):
        values = dict.fromkeys(keys, value)
        pair = [step(91 + i, **values), validation(91 + i, **values)]
        write_log(run / "metrics.jsonl", pair)
    write_log(run / "metrics.jsonl", [{"event": "step", "step": 10**400}])
    check_inside(Page(write_report(run)))


def test_report_without_pairs_says_what_is_missing(run):
    (run / "metrics.jsonl").unlink()
    write_log(run / "metrics.jsonl", [step(1), validation(1, best=True)])
    page = Page(write_report(run))
    assert "PSNR" not in page.texts
    assert "PSNR and SSIM need validation photos with clean counterparts." in page.texts
    assert "last" not in page.texts


def test_what_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OptionError, match="is not a training run") as caught:
            write_report(path)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    for number in (1, 2, 10):
        (tmp_path / f"round-{number}").mkdir()
        (tmp_path / f"round-{number}/config.toml").touch()
    with pytest.raises(OptionError, match=r"last round of .* has not begun") as caught:
        write_report(tmp_path)
    assert "round-10" in caught.value.hint


def test_no_link_in_a_run_is_written_through(run, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (run / "report.html").symlink_to(outside)
    with pytest.raises(ImageError, match="link"):
        write_report(run)
    assert outside.read_text() == "mine"


def test_a_page_that_cannot_be_written_is_told(run):
    (run / "report.html").mkdir()
    with pytest.raises(ImageError, match="is a folder"):
        write_report(run)


def test_reports_need_no_torch_and_values_of_options_stay_as_they_are(tmp_path):
    code = """
import atexit, sys
from ssbsn_cli.__main__ import main
atexit.register(lambda: print("torch" in sys.modules, flush=True))
main()
"""
    run = tmp_path / "ideographic\u3000space"
    run.mkdir()
    write_log(run / "metrics.jsonl", [step(1)])
    words = [sys.executable, "-c", code, "train", f"--report={run}"]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr


def card(**changes):
    descriptor = {
        "architecture": "ssbsn",
        "parameters": {"channels": 48, "blocks": ["plain", "plain", "ss"]},
        "refine": "once",
    }
    source = {"path": EVIL, "kind": "sidd", "photos": 320, "skipped": 1, "share": 0.5}
    origin = {
        "config": load_config("small"),
        "record": {"sources": [source]},
        "licence": "CC BY-NC 4.0",
        "init": None,
    }
    scores = {"psnr": 31.25, "loss": 0.03}
    return model_card("my run", descriptor, Origin(**origin | changes), 12000, 90.25, scores)


def test_card_says_what_it_learned_from():
    assert "noisy photos alone" in card()
    both = card(config=load_config("small", ["training.objectives={self=1, pairs=1}"]))
    assert "pairs, self" in both
    assert "alone" not in both


def test_card_says_what_there_is_to_know():
    text = card()
    text.encode("utf-8")
    for part in (
        "SS-BSN, 48 channels, blocks 2 plain, 1 ss",
        "| sidd | 320 | 1 | 0.5 |",
        "random weights and took 12,000 steps in 90.2 minutes",
        "| psnr | 31.25 | PSNR of",
        "CC BY-NC 4.0.",
        "bind the weights",
        "```sh\nssbsn denoise photo.png --weights 'my run'\n```",
        f"```toml\n{load_config('small').to_toml()}```",
    ):
        assert part in text
    assert "Training began with `/tmp/old`" in card(init="/tmp/old")
    assert "None was chosen" in card(licence="")


def test_nothing_escapes_from_the_cards_quotes():
    path = "/a|b`c``\n# Title"
    source = {"path": path, "kind": "folder", "photos": 1, "skipped": 0, "share": 1.0}
    config = load_config("small", options={"data.licence": "```\n# Title"})
    text = card(record={"sources": [source]}, config=config)
    assert "| ```/a\\|b`c`` # Title``` |" in text
    assert f"````toml\n{config.to_toml()}````\n" in text
