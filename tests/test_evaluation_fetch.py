"""Data sets are downloaded once, checked, and completed after an interruption."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from commands import ssbsn
from weights_files import break_off

from ssbsn_cli.core.errors import OptionError, SsbsnError
from ssbsn_cli.core.evaluation.datasets import catalogue
from ssbsn_cli.core.evaluation.datasets.catalogue import (
    DATASETS,
    Address,
    addresses,
    fetch_dataset,
)
from ssbsn_cli.core.imaging import Photo, encode_photo


def _png(level):
    noise = np.random.default_rng(level).integers(0, level, (40, 40, 3), np.uint8)
    return encode_photo(Photo(noise), "png")


CONTENT = {"a_real.png": _png(90), "a_mean.png": _png(80), "b_real.png": _png(70)}


@pytest.fixture
def server(server, monkeypatch):
    # Try again at once.
    monkeypatch.setattr("ssbsn_cli.core.runtime.download._PAUSE", 0)
    server.answers.update({f"/{name}": content for name, content in CONTENT.items()})
    return server


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SSBSN_CACHE", str(tmp_path))
    return tmp_path / "datasets" / "cc15"


@pytest.fixture
def fetch(server, home, monkeypatch):
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    address = Address("Tiny", "https://example.org", "free", server.url("/"), digests)
    monkeypatch.setattr(catalogue, "addresses", lambda: {"cc15": address})

    def fetch(said=None, progress=lambda done, total: None):
        fetch_dataset("cc15", (said if said is not None else []).append, progress)
        return {path.name: path.read_bytes() for path in home.iterdir()}

    return fetch


def test_every_file_comes_and_the_terms_are_said(fetch):
    said, counts = [], []
    assert fetch(said, lambda done, total: counts.append((done, total))) == CONTENT
    assert "free" in said[0]
    assert counts == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_what_is_there_is_not_fetched_again(fetch, server, home):
    fetch()
    assert len(server.requests) == 3
    fetch()
    assert len(server.requests) == 3
    (home / "a_mean.png").write_bytes(b"damaged")
    assert fetch() == CONTENT
    assert server.requests[3:] == ["/a_mean.png"]


def test_an_interrupted_download_goes_on(fetch, server):
    server.answers["/a_mean.png"] = break_off(CONTENT["a_mean.png"])
    with pytest.raises(SsbsnError, match="was lost") as error:
        fetch()
    assert "kept" in error.value.hint
    server.answers["/a_mean.png"] = CONTENT["a_mean.png"]
    assert fetch() == CONTENT
    assert server.requests.count("/a_real.png") == 1


def test_a_file_that_changed_is_refused_and_not_kept(fetch, server, home):
    server.answers["/a_mean.png"] = b"something else"
    with pytest.raises(SsbsnError, match="digest") as error:
        fetch()
    assert "--data" in error.value.hint
    assert {path.name for path in home.iterdir()} == {"a_real.png"}


def test_what_a_killed_fetch_left_is_removed(fetch, home):
    home.mkdir(parents=True)
    (home / ".ssbsn-0123456789ab.part").write_bytes(b"half")
    assert fetch() == CONTENT


def test_a_missing_file_is_named(fetch, server):
    server.answers["/b_real.png"] = 404
    with pytest.raises(SsbsnError, match=r"b_real\.png: the server answered 404"):
        fetch()


def test_a_folder_that_cannot_be_made_is_named(fetch, home):
    home.parent.write_text("")
    with pytest.raises(SsbsnError, match="cc15") as error:
        fetch()
    assert "SSBSN_CACHE" in error.value.hint


def test_the_command_fetches_and_scores(fetch, server):
    found = ssbsn("eval", "--dataset", "cc15", "--fetch", "--weights", "none", "--json")
    assert [row["images"] for row in json.loads(found.stdout)["rows"]] == [1]
    assert len(server.requests) == 3
    assert "free" in found.stderr


@pytest.mark.parametrize("name", [n for n in DATASETS if n not in ("cc15", "polyu")])
def test_what_has_no_address_says_what_to_do(name):
    with pytest.raises(OptionError, match=name) as error:
        fetch_dataset(name, pytest.fail, pytest.fail)
    assert "cc15" in error.value.hint


@pytest.mark.parametrize("name", sorted(addresses()))
def test_the_addresses_make_sense(name):
    address = addresses()[name]
    assert name in DATASETS
    assert re.fullmatch(r"https://\S+/[0-9a-f]{40}/\S+/", address.base)
    assert address.terms
    assert address.page.startswith("https://")
    stems = {re.sub(r"_(real|mean)\.\w+$", "", file) for file in address.files}
    assert len(address.files) == 2 * len(stems) == len(set(address.files.values()))
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in address.files.values())


@pytest.mark.network
def test_a_real_file_is_what_it_was(home, monkeypatch):
    address = addresses()["cc15"]
    (first, digest), *_ = address.files.items()
    one = replace(address, files={first: digest})
    monkeypatch.setattr(catalogue, "addresses", lambda: {"cc15": one})
    fetch_dataset("cc15", lambda _: None, lambda done, of: None)
    assert (home / first).is_file()
