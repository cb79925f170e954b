"""Fetching weights: whatever goes wrong, only checked files lie where weights are looked for."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import requests
import torch
import urllib3
from weights_files import (
    Evil,
    Server,
    author_network,
    author_state,
    break_off,
    redirect_to,
    save_author_checkpoint,
    tiny_checkpoint,
    tiny_entry,
    tiny_facts,
    write_registry,
)

from ssbsn_cli.core.errors import OptionError, WeightsError
from ssbsn_cli.core.runtime import download
from ssbsn_cli.core.runtime.storage import cache_dir
from ssbsn_cli.core.runtime.temporary import HALF_WRITTEN
from ssbsn_cli.core.weights import registry
from ssbsn_cli.core.weights.fetch import fetch, local_path, verified_path
from ssbsn_cli.core.weights.locate import load_weights
from ssbsn_cli.core.weights.registry import Entry, default_name, entries, read_registry

PAGE = b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Try again at once."""
    monkeypatch.setattr("ssbsn_cli.core.runtime.download._PAUSE", 0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SSBSN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("good") / "tiny.pth").read_bytes()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


# What the package knows.


def test_every_entry_can_be_fetched_or_is_in_the_package():
    known = entries()
    assert list(known) == [
        "photo",
        "photo-white",
        "photo-next",
        "photo-large",
        "ssbsn-photo",
        "ssbsn-sidd",
        "apbsn-sidd",
        "apbsn-sidd-benchmark",
        "apbsn-dnd",
        "apbsn-nind",
    ]
    assert default_name() == "photo"
    for entry in known.values():
        assert entry.bundled or all(url.startswith("https://") for url in entry.urls)
        assert entry.bundled or entry.page
        assert entry.bundled or (entry.value_range, entry.refine) == (255, "r3")


@pytest.mark.parametrize(
    "name", ["photo", "photo-white", "photo-next", "photo-large", "ssbsn-photo"]
)
def test_bundled_weights_are_what_the_registry_says(name):
    weights = load_weights(name)
    entry = entries()[name]
    assert (weights.name, weights.digest) == (name, entry.sha256)
    assert local_path(entry).stat().st_size == entry.size < 2 * entry.parameters + 20_000
    assert sum(p.numel() for p in weights.network.parameters()) == entry.parameters
    assert weights.descriptor.architecture == entry.architecture
    assert weights.descriptor.refine == entry.refine
    assert weights.network.blind == weights.descriptor.detail == (name == "ssbsn-photo")


@pytest.mark.parametrize(
    "name", ["photo", "photo-white", "photo-next", "photo-large", "ssbsn-photo"]
)
def test_bundled_weights_denoise(name):
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(64) / 64, torch.arange(64) / 64, indexing="ij")
    clean = torch.stack([0.3 + 0.4 * rows, 0.7 - 0.4 * columns, 0.2 + 0.5 * rows * columns])[None]
    noisy = clean + 0.1 * torch.randn_like(clean)
    with torch.no_grad():
        result = load_weights(name).network.denoise(noisy)
    assert (result - clean).square().mean() < (noisy - clean).square().mean() / 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sha256 = 'abc'", "lab.sha256"),
        ("filename = '../../bashrc'", "lab.filename"),
        ("filename = '.hidden'", "lab.filename"),
        ("urls = ['file:///etc/passwd']", "lab.urls.0"),
        ("parameters = -1", "lab.parameters"),
        ("value_range = nan", "lab.value_range"),
        ("refine = 'twice'", "lab.refine"),
        ("colour = 'red'", "lab.colour"),
        ("bundled = true", "either bundled is true or urls"),
        ("urls = []", "either bundled is true or urls"),
        ("training_data = 3", "lab.training_data"),
        ("not toml", "is not TOML"),
    ],
)
def test_malformed_registry_says_what_is_wrong(tmp_path, change, words):
    facts = {**tiny_facts(), "urls": ["https://example.org/tiny.pth"]}
    lines = {key: f"{key} = {value!r}" for key, value in facts.items()}
    path = tmp_path / "lab.toml"
    path.write_text("[lab]\n" + "\n".join(lines.values()))
    assert list(read_registry(path)[1]) == ["lab"]

    lines[change.split()[0]] = change
    path.write_text("[lab]\n" + "\n".join(lines.values()))
    with pytest.raises(WeightsError, match=words) as caught:
        read_registry(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["lab = 3", "default = 3", "default = 'unheard-of'", "\xff"])
def test_registry_without_sense_is_refused(tmp_path, monkeypatch, text):
    path = tmp_path / "lab.toml"
    path.write_text(text, "latin-1")
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(path))
    with pytest.raises(WeightsError, match=r"lab\.toml"):
        entries()


def test_missing_registry_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(tmp_path / "none.toml"))
    with pytest.raises(WeightsError, match=r"none\.toml") as caught:
        entries()
    assert "SSBSN_WEIGHTS_TOML" in caught.value.hint


def test_two_entries_cannot_share_a_file(tmp_path, monkeypatch):
    facts = {**tiny_facts(filename="SSBSN_SIDD.pth"), "urls": ["https://example.org/a"]}
    path = tmp_path / "lab.toml"
    path.write_text("[lab]\n" + "\n".join(f"{key} = {value!r}" for key, value in facts.items()))
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(path))
    with pytest.raises(WeightsError, match=r"SSBSN_SIDD\.pth"):
        entries()


def test_registry_inside_the_package_goes_before_the_one_beside_it(tmp_path, monkeypatch):
    beside = Path(registry.PACKAGE.parent / "weights.toml").read_text("utf-8")
    (tmp_path / "weights.toml").write_text(beside, "utf-8")
    package = tmp_path / "ssbsn_cli"
    package.mkdir()
    monkeypatch.setattr(registry, "PACKAGE", package)
    assert "ssbsn-sidd" in entries()
    (package / "weights.toml").write_text(beside.replace("ssbsn-sidd", "renamed"), "utf-8")
    assert "renamed" in entries()


# Where fetched files go.


def test_cache_is_the_systems_unless_chosen(monkeypatch, tmp_path):
    monkeypatch.delenv("SSBSN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().name == "ssbsn"
    monkeypatch.setenv("SSBSN_CACHE", "~/weights")
    assert cache_dir() == Path.home() / "weights"


# Good downloads.


def test_first_digest_is_recorded_and_no_network_is_used_again(server, cache, good):
    server.answers["/tiny"] = good
    entry = tiny_entry(server.url("/tiny"))
    assert local_path(entry) is None

    first = fetch(entry)
    second = fetch(entry)

    assert (first.status, first.recorded) == ("downloaded", True)
    assert (second.status, second.recorded) == ("present", False)
    assert first.path == local_path(entry) == verified_path(entry) == cache / "tiny.pth"
    assert first.digest == second.digest == digest(good)
    assert first.path.read_bytes() == good
    assert server.requests == ["/tiny"]
    assert names(cache) == {"tiny.pth", "tiny.pth.sha256"}
    check = subprocess.run(["sha256sum", "-c", "tiny.pth.sha256"], cwd=cache, check=False)
    assert check.returncode == 0


def test_published_digest_is_used(server, cache, good):
    server.answers["/tiny"] = good
    fetched = fetch(tiny_entry(server.url("/tiny"), sha256=digest(good)))
    assert (fetched.status, fetched.recorded) == ("downloaded", False)


def test_directory_of_ones_own(server, cache, tmp_path, good):
    server.answers["/tiny"] = good
    entry = tiny_entry(server.url("/tiny"))
    assert fetch(entry, dest=tmp_path / "a" / "b").path == tmp_path / "a" / "b" / "tiny.pth"
    assert fetch(entry, dest=tmp_path / "a" / "b").status == "present"
    assert not cache.exists()


def test_next_address_is_tried(server, cache, good):
    server.answers.update({"/page": PAGE, "/bad": good[:-1], "/good": good})
    urls = [server.url(path) for path in ("/gone", "/page", "/bad", "/good")]
    fetched = fetch(tiny_entry(*urls, sha256=digest(good)))
    assert fetched.path.read_bytes() == good
    assert server.requests == ["/gone", "/page", "/bad", "/good"]


def test_redirect_is_followed(server, cache, good):
    server.answers.update({"/old": redirect_to("/new"), "/new": good})
    assert fetch(tiny_entry(server.url("/old"))).digest == digest(good)


def test_passing_trouble_is_waited_out(server, cache, good):
    troubles = [503, break_off(good), good]

    def trouble(handler):
        server.answers["/now"] = troubles.pop(0)
        handler.path = "/now"
        handler.do_GET()

    server.answers["/tiny"] = trouble
    assert fetch(tiny_entry(server.url("/tiny"))).path.read_bytes() == good
    assert not troubles


def test_progress_is_told(server, cache, good):
    server.answers["/tiny"] = good
    told = []
    fetch(tiny_entry(server.url("/tiny")), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(good), len(good))
    assert told == sorted(told)


# Bad downloads: refused, explained, and nothing stays.


def refused(entry: Entry, cache: Path, **options) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        fetch(entry, **options)
    assert names(cache) == set()
    assert HALF_WRITTEN not in str(caught.value)
    assert local_path(entry) is None
    return caught.value


def by_hand(error: WeightsError) -> bool:
    return "https://example.org/tiny" in error.hint and (
        "ssbsn fetch-weights tiny --from-file PATH" in error.hint
    )


def test_wrong_digest(server, cache, good):
    server.answers["/tiny"] = good
    error = refused(tiny_entry(server.url("/tiny"), sha256="0" * 64), cache)
    assert digest(good) in str(error)
    assert "0" * 64 in str(error)
    assert server.requests == ["/tiny"]


def test_missing_file(server, cache):
    error = refused(tiny_entry(server.url("/gone")), cache)
    assert "404" in str(error)
    assert server.url("/gone") in str(error)
    assert by_hand(error)
    assert server.requests == ["/gone"]


def test_web_page(server, cache):
    server.answers["/tiny"] = PAGE
    error = refused(tiny_entry(server.url("/tiny"), sha256="0" * 64), cache)
    assert "web page" in str(error)
    assert by_hand(error)


def test_connection_that_breaks_off(server, cache, good):
    server.answers["/tiny"] = break_off(good)
    error = refused(tiny_entry(server.url("/tiny")), cache)
    assert "was lost" in str(error)
    assert by_hand(error)
    assert server.requests == ["/tiny"] * 3


def test_truncated_file_of_unknown_length(server, cache, good):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(good[:-500])

    server.answers["/tiny"] = answer
    error = refused(tiny_entry(server.url("/tiny")), cache)
    assert "damaged" in str(error)


def test_server_that_is_down(cache):
    with Server().running() as server:
        entry = tiny_entry(server.url("/tiny"))
    error = refused(entry, cache)
    assert "cannot be reached" in str(error)
    assert by_hand(error)


@pytest.mark.parametrize("begins", [False, True])
def test_server_that_falls_silent(server, cache, begins, monkeypatch):
    monkeypatch.setattr(download, "_PATIENCE", 0.1)

    def answer(handler):
        if begins:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"PK")
        time.sleep(0.4)

    server.answers["/tiny"] = answer
    error = refused(tiny_entry(server.url("/tiny")), cache)
    assert "too long" in str(error)
    assert by_hand(error)


def trickle(handler):
    """Send a byte now and then, so that no wait for one of them is ever too long."""
    with contextlib.suppress(OSError):
        for _ in range(60):
            handler.wfile.write(b"P")
            time.sleep(0.02)


def trickle_content(handler):
    handler.send_response(200)
    handler.end_headers()
    trickle(handler)


@pytest.mark.parametrize("answer", [trickle, trickle_content])
def test_server_that_trickles_is_given_up(server, cache, answer, monkeypatch):
    monkeypatch.setattr(download, "_PATIENCE", 0.2)
    server.answers["/tiny"] = answer
    started = time.monotonic()
    error = refused(tiny_entry(server.url("/tiny")), cache)
    assert time.monotonic() - started < 3
    assert "too long" in str(error)


def endless(handler, status=200):
    handler.send_response(status)
    handler.send_header("Location", "/elsewhere")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 16))
            handler.server.sent = getattr(handler.server, "sent", 0) + (1 << 16)


@pytest.mark.parametrize("size", [18_000, None])
def test_server_that_sends_without_end_is_given_up(server, cache, size):
    server.answers["/tiny"] = endless
    error = refused(tiny_entry(server.url("/tiny"), size=size), cache)
    assert "is larger than" in str(error)
    assert server.requests == ["/tiny"]
    assert server.sent < 10_000_000


def test_file_whose_stated_length_is_too_large_is_not_begun(server, cache):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**15))
        handler.end_headers()

    server.answers["/tiny"] = answer
    assert "is larger than" in str(refused(tiny_entry(server.url("/tiny")), cache))


def test_what_comes_with_a_redirect_is_not_read(server, cache, good):
    server.answers.update({"/tiny": partial(endless, status=302), "/elsewhere": good})
    assert fetch(tiny_entry(server.url("/tiny"))).digest == digest(good)
    assert server.sent < 10_000_000


def test_nothing_is_inflated_on_the_way(server, cache):
    bomb = gzip.compress(bytes(10_000_000))

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        handler.wfile.write(bomb)

    server.answers["/tiny"] = answer
    assert "not a file of weights" in str(refused(tiny_entry(server.url("/tiny")), cache))


def test_https_is_never_left(cache, monkeypatch):
    asked = []

    def send(_adapter, request, **_):
        asked.append(request.url)
        response = requests.Response()
        response.status_code, response.request, response.url = 302, request, request.url
        response.headers["Location"] = "http://example.org/tiny"
        response.raw = urllib3.HTTPResponse(io.BytesIO(), preload_content=False)
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    error = refused(tiny_entry("https://example.org/tiny"), cache)
    assert "without https" in str(error)
    assert by_hand(error)
    assert asked == ["https://example.org/tiny"]


def test_other_network_than_promised(server, cache, tmp_path):
    path = tmp_path / "other.pth"
    save_author_checkpoint(path, author_state(author_network(6, ["light"])))
    server.answers["/tiny"] = path.read_bytes()
    error = refused(tiny_entry(server.url("/tiny")), cache)
    assert "apbsn" in str(error)


@pytest.mark.parametrize("legacy", [False, True])
def test_file_that_would_run_code(server, cache, tmp_path, legacy):
    marker = tmp_path / "ran"
    state = {**author_state(author_network()), "evil": Evil(marker)}
    path = tmp_path / "evil.pth"
    save_author_checkpoint(path, state, _use_new_zipfile_serialization=not legacy)
    server.answers["/tiny"] = path.read_bytes()
    entry = tiny_entry(server.url("/tiny"))

    assert "nothing in it was run" in str(refused(entry, cache))
    assert "nothing in it was run" in str(refused(entry, cache, source=path))

    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


# What was there before.


def test_publisher_who_changes_the_file_is_noticed(server, cache, good, tmp_path):
    server.answers["/tiny"] = good
    entry = tiny_entry(server.url("/tiny"))
    first = fetch(entry)
    first.path.unlink()
    changed = author_state(author_network())
    changed["bsn.head.0.bias"] += 1
    server.answers["/tiny"] = save_author_checkpoint(tmp_path / "b.pth", changed).read_bytes()

    with pytest.raises(WeightsError, match="refused") as caught:
        fetch(entry)
    assert str(cache / "tiny.pth.sha256") in caught.value.hint
    assert names(cache) == {"tiny.pth.sha256"}

    (cache / "tiny.pth.sha256").unlink()
    assert fetch(entry).recorded


def test_damaged_file_is_refused_when_loaded_and_fetched_again(
    server, cache, good, tmp_path, monkeypatch
):
    lab = write_registry(tmp_path, tiny=tiny_facts(urls=[server.url("/tiny")]))
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(lab))
    server.answers["/tiny"] = good
    entry = entries()["tiny"]
    with pytest.raises(WeightsError, match="not fetched yet") as caught:
        load_weights("tiny")
    assert "ssbsn fetch-weights tiny" in caught.value.hint

    path = fetch(entry).path
    weights = load_weights("tiny")
    assert (weights.name, weights.digest) == ("tiny", digest(good))
    assert weights.descriptor.value_range == 255

    path.write_bytes(good[:-1])
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        load_weights("tiny")
    assert fetch(entry).status == "downloaded"
    assert path.read_bytes() == good


def test_half_a_file_of_an_interrupted_copy_is_never_used(server, cache, good):
    server.answers["/tiny"] = good
    entry = tiny_entry(server.url("/tiny"))
    cache.mkdir()
    (cache / "tiny.pth").write_bytes(good[:100])
    (cache / "tiny.pth.sha256").write_bytes(b"")
    assert local_path(entry) is None
    with pytest.raises(WeightsError, match="exists"):
        fetch(entry)


@pytest.mark.parametrize("own_digest", [False, True])
def test_somebodys_file_in_their_directory_is_not_replaced(
    server, cache, tmp_path, good, own_digest
):
    server.answers["/tiny"] = good
    theirs = tmp_path / "tiny.pth"
    theirs.write_bytes(b"years of work")
    entry = tiny_entry(server.url("/tiny"), sha256=digest(good) if own_digest else None)
    source = tmp_path / "source"
    source.write_bytes(good)
    for origin in (None, source):
        with pytest.raises(WeightsError, match="exists"):
            fetch(entry, dest=tmp_path, source=origin)
    assert theirs.read_bytes() == b"years of work"


# Files brought by hand.


def test_file_by_hand_is_checked_copied_and_kept(cache, good, tmp_path):
    source = tmp_path / "Download (1).pth"
    source.write_bytes(good)
    fetched = fetch(tiny_entry("https://127.0.0.1:1/"), source=source)
    assert (fetched.status, fetched.recorded) == ("copied", True)
    assert source.read_bytes() == fetched.path.read_bytes() == good
    assert names(cache) == {"tiny.pth", "tiny.pth.sha256"}


def test_file_put_into_the_cache_by_hand_can_be_taken_in(cache, good):
    cache.mkdir()
    source = cache / "tiny.pth"
    source.write_bytes(good)
    entry = tiny_entry("https://127.0.0.1:1/")
    assert fetch(entry, source=source).recorded
    assert verified_path(entry) == source


@pytest.mark.parametrize(
    ("content", "words"),
    [(PAGE, "web page"), (b"text", "not a file of weights"), (None, "There is no file")],
)
def test_bad_file_by_hand_is_refused(cache, tmp_path, content, words):
    source = tmp_path / "file.pth"
    if content is not None:
        source.write_bytes(content)
    error = refused(tiny_entry("https://127.0.0.1:1/"), cache, source=source)
    assert words in str(error)
    assert str(source) in str(error)


@pytest.mark.parametrize("into_folder", [False, True])
def test_a_file_by_hand_is_not_ignored_because_the_right_one_is_there(
    cache, tmp_path, good, into_folder
):
    entry = tiny_entry("https://127.0.0.1:1/", sha256=digest(good))
    dest = tmp_path if into_folder else None
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(good)
    wrong.write_bytes(good + b"more")
    path = fetch(entry, dest=dest, source=right).path
    assert fetch(entry, dest=dest, source=right).status == "present"
    with pytest.raises(WeightsError):
        fetch(entry, dest=dest, source=wrong)
    assert path.read_bytes() == good


def test_bundled_weights_need_no_fetching():
    entry = entries()["photo"]
    assert fetch(entry).status == "bundled"
    with pytest.raises(OptionError, match="photo"):
        fetch(entry, source=Path("a"))


# Directories that cannot be written to.


def test_cache_that_is_a_file(server, cache, good):
    server.answers["/tiny"] = good
    cache.write_text("")
    with pytest.raises(WeightsError, match=r"cache/tiny\.pth cannot be written") as caught:
        fetch(tiny_entry(server.url("/tiny")))
    assert "SSBSN_CACHE" in caught.value.hint


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a directory like /proc")
def test_cache_that_cannot_be_made(server, monkeypatch, good):
    monkeypatch.setenv("SSBSN_CACHE", "/proc/ssbsn")
    with pytest.raises(WeightsError, match="/proc/ssbsn") as caught:
        fetch(tiny_entry(server.url("/tiny")))
    assert "SSBSN_CACHE" in caught.value.hint
    assert server.requests == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes anywhere")
def test_cache_without_permission(server, cache, good):
    cache.mkdir(mode=0o500)
    with pytest.raises(WeightsError, match="Permission denied") as caught:
        fetch(tiny_entry(server.url("/tiny")))
    assert "SSBSN_CACHE" in caught.value.hint


# A file-size limit makes writing fail midway, as a full disk does. Python's own files of compiled
# modules would be cut off and stay so, which -B prevents.
FULL = """
import resource, signal, sys
from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.weights.fetch import fetch
from ssbsn_cli.core.weights.registry import Entry
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    fetch(Entry.model_validate_json(sys.argv[1]))
except WeightsError as error:
    sys.exit(f"{error} | {error.hint}")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
def test_full_disk(server, cache, good):
    server.answers["/tiny"] = good
    done = subprocess.run(
        [
            sys.executable,
            "-B",
            "-W",
            "error",
            "-c",
            FULL,
            tiny_entry(server.url("/tiny")).model_dump_json(),
        ],
        cwd=registry.PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "a limit on the size of files stops it. | Raise the limit" in done.stderr
    assert str(cache) in done.stderr
    assert names(cache) == set()


# Finding weights by name or path.


def test_paths_and_training_runs_are_found(tmp_path, good):
    path = tmp_path / "mine.pth"
    path.write_bytes(good)
    weights = load_weights(str(path))
    assert (weights.name, weights.digest) == (str(path), digest(good))

    run = tmp_path / "run"
    run.mkdir()
    (run / "epoch1.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"epoch1\.safetensors is empty"):
        load_weights(str(run))
    (run / "epoch2.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"epoch1\.safetensors, epoch2\.safetensors"):
        load_weights(str(run))
    (run / "weights.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"/weights\.safetensors is empty"):
        load_weights(str(run))
    with pytest.raises(WeightsError, match="none"):
        load_weights(str(tmp_path))


def test_misspelt_name_is_helped():
    with pytest.raises(WeightsError, match="apbsn-sid") as caught:
        load_weights("apbsn-sid")
    assert "Did you mean apbsn-sidd" in caught.value.hint
    assert "photo" in caught.value.hint


def test_registry_in_the_docs_is_right(tmp_path, monkeypatch):
    text = (registry.PACKAGE.parent / "docs" / "weights.md").read_text("utf-8")
    path = tmp_path / "lab.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0], "utf-8")
    monkeypatch.setenv("SSBSN_WEIGHTS_TOML", str(path))
    assert default_name() == "microscope"
    assert {"microscope", "ssbsn-sidd"} <= set(entries())
