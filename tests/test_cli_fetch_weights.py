"""``ssbsn fetch-weights`` as people and scripts meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner
from weights_files import tiny_checkpoint, tiny_facts, write_registry

from ssbsn_cli.cli.app import app

ROOT = Path(__file__).parents[1]
STRICT = """
import warnings
warnings.simplefilter("error")
from ssbsn_cli.__main__ import main
main()
"""


@pytest.fixture
def good(tmp_path):
    return tiny_checkpoint(tmp_path / "good.pth")


@pytest.fixture
def cache(tmp_path, server, good, monkeypatch):
    """A cache, and a registry with `tiny` (there), `gone` (404) and `page` (a web page)."""
    server.answers.update({"/tiny": good.read_bytes(), "/page": b"<html>quota</html>"})
    facts = {
        name: tiny_facts(
            filename=f"{name}.pth",
            urls=[server.url(f"/{name}")],
            page=f"https://example.org/{name}",
        )
        for name in ("tiny", "gone", "page")
    }
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(write_registry(tmp_path, **facts)))
    monkeypatch.setenv("SSBSN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*arguments: str | Path):
    return CliRunner().invoke(app, ["fetch-weights", *map(str, arguments)])


def records(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def start(forked):
    def call(*arguments: str) -> subprocess.Popen[str]:
        command = [*forked, "-c", STRICT, "fetch-weights", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return call


def test_fetch_says_what_it_did_and_then_that_it_is_done(cache):
    first = run("tiny")
    assert first.exit_code == 0
    assert first.stdout == ""
    assert f"tiny: downloaded: {cache / 'tiny.pth'}" in first.stderr
    (recorded,) = (line for line in first.stderr.splitlines() if "states no SHA-256" in line)
    assert recorded.startswith("Its publisher")

    second = run("tiny")
    assert second.exit_code == 0
    assert "tiny: is already here" in second.stderr
    assert "states no SHA-256" not in second.stderr


def test_json_is_one_object_an_entry(cache):
    result = run("tiny", "photo", "gone", "--json", "--quiet")
    assert result.exit_code == 3
    tiny, photo, gone = records(result)
    assert (tiny["name"], tiny["status"], tiny["digest_recorded"]) == ("tiny", "downloaded", True)
    assert tiny["path"] == str(cache / "tiny.pth")
    assert len(tiny["sha256"]) == 64
    assert (photo["status"], photo["digest_recorded"]) == ("bundled", False)
    assert gone["name"] == "gone"
    assert "404" in gone["error"]
    assert "--from-file" in gone["hint"]


def test_one_failure_does_not_stop_the_others(cache):
    result = run("gone", "page", "tiny")
    assert result.exit_code == 3
    assert (cache / "tiny.pth").exists()
    assert "404" in result.stderr
    assert "web page" in result.stderr
    assert "ssbsn fetch-weights page --from-file PATH" in result.stderr


def test_quiet_prints_errors_only(cache):
    assert run("tiny", "--quiet").output == ""
    assert "404" in run("gone", "--quiet").stderr


def test_bundled_weights_are_said_to_be_there(cache):
    result = run("photo")
    assert result.exit_code == 0
    assert "photo: is inside the package" in result.stderr


def test_list_shows_every_entry_and_uses_no_network(cache, server):
    run("tiny")
    before = list(server.requests)
    result = run("--list")
    assert result.exit_code == 0
    states = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "bundled" in states["photo"]
    assert "4.6 MB" in states["photo"]
    assert "present" in states["tiny"]
    assert "not fetched" in states["apbsn-sidd-benchmark"]
    assert server.requests == before

    listed = {record["name"]: record for record in records(run("--list", "--json"))}
    assert set(states) >= set(listed)
    assert listed["tiny"]["state"] == "present"
    assert listed["tiny"]["size"] == (cache / "tiny.pth").stat().st_size
    assert listed["ssbsn-sidd"]["state"] == "not fetched"
    assert listed["ssbsn-sidd"]["licence"].startswith("MIT")
    assert listed["ssbsn-sidd"]["scores"][0]["psnr"] == 37.42
    assert [record["name"] for record in records(run("tiny", "--list", "--json"))] == ["tiny"]


def test_file_by_hand(cache, good):
    result = run("gone", "--from-file", good, "--json")
    assert result.exit_code == 0
    assert records(result)[0]["status"] == "copied"
    assert good.exists()
    assert (cache / "gone.pth").read_bytes() == good.read_bytes()


def test_directory_in_place_of_the_cache(cache, tmp_path):
    assert run("tiny", "--dest", tmp_path / "there").exit_code == 0
    assert (tmp_path / "there" / "tiny.pth").exists()
    assert not cache.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["No weights were named", "--all", "photo"]),
        (["tinny"], ["tinny", "Did you mean tiny"]),
        (["tiny", "tinny"], ["tinny"]),
        (["tiny", "--all"], ["--all"]),
        (["--from-file", "a.pth"], ["exactly one name"]),
        (["tiny", "gone", "--from-file", "a.pth"], ["exactly one name"]),
        (["--all", "--from-file", "a.pth"], ["exactly one name"]),
        (["tiny", "--list", "--dest", "a"], ["--list"]),
        (["photo", "--from-file", "a.pth"], ["inside the package"]),
        (["photo", "--dest", "a"], ["inside the package"]),
    ],
)
def test_wrong_use_is_explained_and_fetches_nothing(cache, server, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words)
    assert server.requests == []
    assert not cache.exists()


def test_malformed_registry_is_an_error_and_no_traceback(cache, tmp_path):
    (tmp_path / "lab.toml").write_text("[tiny]\nsize = 0")
    result = run("--list")
    assert result.exit_code == 3
    assert "lab.toml: tiny." in result.stderr


def test_bar_is_shown_to_a_terminal_only_and_on_stderr(cache, tmp_path, monkeypatch):
    assert "(MB)" not in run("tiny", "--dest", tmp_path / "1").output
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = run("tiny", "--dest", tmp_path / "2")
    assert "tiny (MB)" in result.stderr
    assert "tiny (MB)" not in result.stdout
    assert "(MB)" not in run("tiny", "--quiet", "--dest", tmp_path / "3").output


def test_two_processes_fetching_at_once_both_succeed(cache, server, good, start):
    together = threading.Barrier(2)

    def answer(handler):
        together.wait(60)
        handler.send_response(200)
        handler.send_header("Content-Length", str(good.stat().st_size))
        handler.end_headers()
        handler.wfile.write(good.read_bytes())

    server.answers["/tiny"] = answer
    processes = [start("tiny", "--json"), start("tiny", "--json")]
    results = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert {json.loads(out)["status"] for out, _ in results} == {"downloaded"}
    assert {path.name for path in cache.iterdir()} == {"tiny.pth", "tiny.pth.sha256"}
    assert "is already here" in run("tiny").stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_download_leaves_nothing(cache, server, good, start, number):
    begun, done = threading.Event(), threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(b"PK\x03\x04" * 50_000)
        begun.set()
        done.wait(60)

    server.answers["/tiny"] = answer
    process = start("tiny")
    assert begun.wait(60)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    done.set()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert stderr.strip() == "Interrupted."
        assert list(cache.iterdir()) == []
    assert "not fetched" in run("tiny", "--list").stdout
    # A killed process cleans nothing up, so the next one does.
    server.answers["/tiny"] = good.read_bytes()
    again = start("tiny")
    _, stderr = again.communicate(timeout=60)
    assert again.returncode == 0, stderr
    assert {path.name for path in cache.iterdir()} == {"tiny.pth", "tiny.pth.sha256"}


def test_list_imports_nothing_heavy():
    code = "import sys; from ssbsn_cli.cli.app import app; app(['fetch-weights', '--list'], "
    code += "standalone_mode=False); print(sorted({'torch', 'requests'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
