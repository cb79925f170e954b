"""The report of an evaluation is one safe file that says what was measured, and its viewer works.

The tests of the viewer need Chromium and are left out by default: ``pytest -m browser``.
"""

from __future__ import annotations

import base64
import json
import re

import cv2
import numpy as np
import pytest
from browser import Browser

from ssbsn_cli.core.report.evaluation import make_report

NASTY = "</script><b>\"&'<!-- x\udcff"


def evaluation(names=("one", "two"), groups=("", ""), referenced=True):
    metric = {"name": "psnr", "title": "PSNR (dB)", "description": "Peak <255>.", "digits": 2}
    scores = {"noisy": 28.0, "net": 33.25, "tv": 31.5}
    seconds = {"noisy": None, "net": 2.5, "tv": 0.5}

    def row(method, group):
        return {
            "method": method,
            "group": group,
            "images": len(names),
            "scores": {"psnr": scores[method]},
            "worse": 1 if referenced and method != "noisy" else None,
            "least_gain": -0.5 if referenced and method != "noisy" else None,
            "seconds_per_megapixel": seconds[method],
            "peak_mib": None if method == "noisy" else 812.4,
        }

    results = {m: {"scores": {"psnr": s}, "seconds": 1} for m, s in scores.items()}
    sections = [g for g in dict.fromkeys(groups) if g] + [""]
    return {
        "dataset": {"name": "pairs", "title": "Pairs", "comparison": "All.", "samples": len(names)},
        "protocol": "tiled",
        "rounding": "Rounded.",
        "metrics": [{**metric, "higher_is_better": True}],
        "methods": [
            {"name": m, "title": f"Title {m}", "description": "", "settings": {}} for m in scores
        ],
        "rows": [row(method, group) for group in sections for method in scores],
        "images": [
            {"name": name, "group": group, "width": 9, "height": 9, "results": results}
            for name, group in zip(names, groups, strict=True)
        ],
        "machine": {"cpu": "A CPU", "cores": 2, "ssbsn": "1", "torch": "2"},
    }


def pictures(names=("one", "two"), views=("noisy", "net", "tv", "clean")):
    ramp = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)
    return {
        name: {v: np.dstack([ramp + 10 * n, ramp, ramp + 5 * i]) for n, v in enumerate(views)}
        for i, name in enumerate(names)
    }


def test_nothing_is_loaded_from_elsewhere():
    page = make_report(evaluation(), pictures()).decode()
    assert "default-src 'none'" in page
    assert not re.findall(r"https?://", page)


def test_names_of_files_are_harmless():
    names = (NASTY, "two")
    page = make_report(evaluation(names), pictures(names)).decode()
    assert "<b>&quot;" not in page
    assert '<b>"' not in page
    assert page.count("</script>") == page.count("<script")
    (data,) = re.findall(r'id="images">(.*?)</script>', page)
    assert json.loads(data)[0]["name"] == NASTY


def test_the_best_is_bold_and_the_table_has_all_figures():
    page = make_report(evaluation(), {}).decode()
    assert "<b>33.25</b>" in page
    assert "<b>31.50</b>" not in page
    for figure in ("28.00", "1 of 2", "-0.50", "2.5", "812", "Peak &lt;255&gt;."):
        assert figure in page


def test_groups_have_sections():
    page = make_report(evaluation(groups=("cats", "dogs")), {}).decode()
    assert re.findall(r'class="group"><th colspan="6">(\w+)', page) == ["cats", "dogs", "all"]


def test_the_plot_puts_better_higher_and_slower_to_the_right():
    page = make_report(evaluation(), {}).decode()
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="5"><title>Title (\w+)', page)
    places = {name: (float(x), float(y)) for x, y, name in dots}
    assert set(places) == {"net", "tv"}
    assert places["net"][0] > places["tv"][0]
    assert places["net"][1] < places["tv"][1]


def test_without_references_there_is_no_plot():
    page = make_report(evaluation(referenced=False), pictures(views=("noisy", "net"))).decode()
    assert "no clean photos" in page
    assert "<svg" not in page


def test_without_pictures_there_is_no_script():
    assert b"<script" not in make_report(evaluation(), {})


def test_pictures_are_those_that_were_given():
    page = make_report(evaluation(), pictures()).decode()
    (data,) = re.findall(r'id="images">(.*?)</script>', page)
    shown = json.loads(data)
    assert [view["title"] for view in shown[0]["views"]] == [
        "Title noisy", "Title net", "Title tv", "clean reference",
    ]  # fmt: skip
    for image, given in zip(shown, pictures().values(), strict=True):
        for view, name in zip(image["views"], ("noisy", "net", "tv", "clean"), strict=True):
            content = base64.b64decode(view["picture"].partition(",")[2])
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            assert np.abs(decoded.astype(int) - given[name]).mean() < 4


# The viewer


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(make_report(evaluation(), pictures()))
    return path


@pytest.fixture
def viewer(page):
    with Browser() as browser:
        browser.open(page)
        browser.run("document.querySelector('button.open').click()")
        settle(browser)
        yield browser
        assert browser.complaints == []


def settle(browser):
    browser.run("new Promise((done) => setTimeout(done, 400))")


def place(browser):
    return int(browser.run("document.getElementById('divider').getAttribute('aria-valuenow')"))


def box(browser):
    return browser.run(
        "(() => { const b = document.getElementById('stage').getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height]; })()"
    )


@pytest.mark.browser
def test_arrow_keys_move_the_divider(viewer):
    assert place(viewer) == 50
    viewer.press("ArrowRight")
    viewer.press("ArrowRight", shift=True)
    assert place(viewer) == 61
    clip = viewer.run("document.getElementById('left-view').style.clipPath")
    assert "39%" in clip
    viewer.press("Home")
    viewer.press("ArrowLeft")
    assert place(viewer) == 0


@pytest.mark.browser
@pytest.mark.parametrize("way", ["drag", "swipe"])
def test_mouse_and_finger_move_the_divider(viewer, way):
    left, top, width, height = box(viewer)
    getattr(viewer, way)(left + width / 2, top + height / 2, left + 0.8 * width)
    assert place(viewer) == pytest.approx(80, abs=1)


@pytest.mark.browser
def test_views_and_images_are_chosen_by_keys(viewer):
    viewer.press("4")
    settle(viewer)
    assert "clean reference" in viewer.run("document.getElementById('right-view').alt")
    viewer.press("j")
    settle(viewer)
    assert viewer.run("document.getElementById('name').textContent") == "two"
    assert "clean reference" in viewer.run("document.getElementById('right-view').alt")
    assert "28.00" in viewer.run("document.getElementById('scores').textContent")


@pytest.mark.browser
def test_the_difference_is_black_where_views_are_equal(viewer):
    brightest = (
        "(() => { const c = document.getElementById('canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return Math.max(...d.filter((_, i) => i % 4 < 3)); })()"
    )
    viewer.press("d")
    settle(viewer)
    assert viewer.run("document.getElementById('canvas').hidden") is False
    assert viewer.run(brightest) > 20
    viewer.press("1")
    settle(viewer)
    assert viewer.run(brightest) == 0


@pytest.mark.browser
def test_escape_closes_and_the_row_has_the_focus_again(viewer):
    viewer.run("document.getElementById('viewer').close()")
    settle(viewer)
    assert viewer.run("document.activeElement.className") == "open"


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_needs_no_scrolling_sideways(page, dark):
    with Browser(390, 800, dark) as browser:
        browser.open(page)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.run(wide) <= 0
        browser.run("document.querySelector('button.open').click()")
        settle(browser)
        assert browser.run(wide.replace("documentElement", "getElementById('viewer')")) <= 0
        assert browser.complaints == []
