"""Files of weights: what is loaded, what is refused, and that nothing in them ever runs."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
import tempfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_files import (
    TINY_BLOCKS,
    Evil,
    author_network,
    author_state,
    save_author_checkpoint,
    tiny_checkpoint,
)

from ssbsn_cli.core.errors import WeightsError
from ssbsn_cli.core.model.descriptor import Descriptor
from ssbsn_cli.core.weights.checkpoints import encode_checkpoint, load_checkpoint

TINY = Descriptor("ssbsn", {"channels": 4, "blocks": list(TINY_BLOCKS)}, refine="once")


def save_tiny(path: Path, **changes: Any) -> Path:
    path.write_bytes(encode_checkpoint(author_network().state_dict(), replace(TINY, **changes), {}))
    return path


def image(size: int = 12) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_safetensors_keep_weights_and_descriptor(tmp_path):
    network = author_network()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(encode_checkpoint(network.state_dict(), TINY, {"licence": "none"}))

    loaded, descriptor = load_checkpoint(path, {"refine": "r3", "value_range": 255.0})

    assert descriptor == TINY
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata()["licence"] == "none"


def test_weights_in_a_folder_whose_name_is_not_utf8_are_loaded(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.safetensors"))
    path.write_bytes(encode_checkpoint(author_network().state_dict(), TINY, {}))
    assert load_checkpoint(path)[1] == TINY


def test_half_precision_file_is_loaded_as_float32(tmp_path):
    state = {key: value.half() for key, value in author_network().state_dict().items()}
    (tmp_path / "half.safetensors").write_bytes(
        encode_checkpoint(state, replace(TINY, value_range=255.0), {})
    )

    network, _ = load_checkpoint(tmp_path / "half.safetensors")

    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    bias = "bsn.head.0.bias"
    assert torch.equal(network.state_dict()[bias], state[bias].float() / 255)
    assert not network.training


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_authors_checkpoint_computes_what_theirs_does(tmp_path, legacy, prefix):
    theirs = author_network()
    path = save_author_checkpoint(
        tmp_path / "a.pth",
        author_state(theirs, prefix),
        _use_new_zipfile_serialization=not legacy,
    )

    ours, descriptor = load_checkpoint(path, {"refine": "none"})

    assert descriptor.value_range == 255
    assert descriptor.refine == "none"
    with torch.no_grad():
        torch.testing.assert_close(ours(image(), 2), theirs(image() * 255, 2) / 255)


def test_checkpoint_of_a_later_pickle_protocol_is_loaded_without_a_warning(tmp_path):
    load_checkpoint(tiny_checkpoint(tmp_path / "a.pth", pickle_protocol=3))


def test_content_decides_and_not_the_suffix(tmp_path):
    load_checkpoint(tiny_checkpoint(tmp_path / "pickle.safetensors"))
    load_checkpoint(save_tiny(tmp_path / "tensors.pth"))


@pytest.mark.parametrize(
    ("architecture", "channels", "blocks"),
    [
        ("ssbsn", 128, ["plain"] * 6 + ["ss"] * 3),
        ("ssbsn", 6, ["ss"]),
        ("ssbsn", 2, ["plain", "ss", "plain"]),
        ("apbsn", 128, ["light"] * 9),
        ("apbsn", 8, ["light"]),
    ],
)
def test_hyper_parameters_are_deduced(tmp_path, architecture, channels, blocks):
    state = author_state(author_network(channels, blocks))
    _, descriptor = load_checkpoint(save_author_checkpoint(tmp_path / "a.pth", state))
    assert descriptor.architecture == architecture
    assert descriptor.parameters == {"channels": channels, "blocks": blocks}
    assert descriptor.refine == "r3"


@pytest.mark.parametrize("block", ["plain", "light"])
def test_centre_taps_in_the_file_do_not_open_the_blind_spot(tmp_path, block):
    state = author_state(author_network(4, [block]))
    network, _ = load_checkpoint(save_author_checkpoint(tmp_path / "a.pth", state))
    before, after = image(), image()
    after[0, :, 5, 6] = 1 - after[0, :, 5, 6]

    def change_at_pixel() -> float:
        with torch.no_grad():
            difference = network.bsn(after) - network.bsn(before)
        return difference[0, :, 5, 6].abs().max().item()

    assert change_at_pixel() == 0
    for branch in (network.bsn.branch1, network.bsn.branch2):
        branch.body[0].mask.fill_(1)
    assert change_at_pixel() > 0


def evil_files(directory: Path, marker: Path) -> list[Path]:
    evil = {"model_weight": {"denoiser": {"a": torch.ones(1), "b": Evil(marker)}}}
    torch.save(evil, directory / "zip.pth")
    torch.save(evil, directory / "legacy.pth", _use_new_zipfile_serialization=False)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps(Evil(marker), protocol)
        (directory / f"raw{protocol}.pth").write_bytes(content)
    return sorted(directory.glob("*.pth"))


def test_nothing_in_a_file_is_run(tmp_path):
    marker = tmp_path / "ran"
    paths = evil_files(tmp_path, marker)
    assert len(paths) == 8
    for path in paths:
        with pytest.raises(WeightsError, match=path.name):
            load_checkpoint(path)
    for name in ("zip.pth", "legacy.pth"):
        with pytest.raises(WeightsError, match="nothing in it was run"):
            load_checkpoint(tmp_path / name)
    assert not marker.exists()

    # The files do run where nobody takes care, so that the check above means something.
    pickle.loads((tmp_path / "raw2.pth").read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"just some text\n", "not a file of weights"),
        (b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>", "is a web page"),
        (b"\xef\xbb\xbf\n <html></html>", "is a web page"),
        (bytes(range(256)) * 9, "not a file of weights"),
        (b"PK\x03\x04 and then nothing", "is damaged"),
        (b"\x80\x02 and then nothing", "is damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{}", "is damaged"),
        (b"\x02\0\0\0\0\0\0\0{}", "do not fit"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, words):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_missing_file_and_directory_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pth", tmp_path / "a" / "b.pth"):
        with pytest.raises(WeightsError, match=r"is a folder|does not exist"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"model_weight": 3},
        {"model_weight": {"denoiser": {"bsn.head.0.weight": "text"}}},
        {7: torch.ones(1)},
        {},
    ],
)
def test_checkpoints_of_something_else_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth"):
        load_checkpoint(tmp_path / "a.pth")


def without(state: dict[str, torch.Tensor]) -> None:
    del state["bsn.tail.0.weight"]


def extra(state: dict[str, torch.Tensor]) -> None:
    state["bsn.tail.9.weight"] = torch.ones(1)


def reshaped(state: dict[str, torch.Tensor]) -> None:
    state["bsn.tail.0.weight"] = state["bsn.tail.0.weight"][:, :-1]


def not_a_number(state: dict[str, torch.Tensor]) -> None:
    state["bsn.tail.0.weight"][0, 0] = float("nan")


def integers(state: dict[str, torch.Tensor]) -> None:
    state["bsn.tail.0.weight"] = state["bsn.tail.0.weight"].int()


@pytest.mark.parametrize("damage", [without, extra, reshaped, not_a_number, integers])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_wrong_weights_are_refused_and_the_culprit_is_named(tmp_path, damage, kind):
    state = author_state(author_network())
    damage(state)
    path = tmp_path / f"a.{kind}"
    if kind == "pth":
        save_author_checkpoint(path, state)
    else:
        state = {key: value for key, value in state.items() if not key.endswith("mask")}
        path.write_bytes(encode_checkpoint(state, TINY, {}))
    with pytest.raises(WeightsError, match=r"a\.\w+( do not fit)?: .*bsn\.tail\.[09]\.weight"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": {"channels": 10**9}},
        {"parameters": {"channels": 1000}},
        {"parameters": {"channels": 10**400}},
        {"parameters": {"channels": -2}},
        {"parameters": {"channels": "many"}},
        {"parameters": {"blocks": ["unheard of"]}},
        {"parameters": {"blocks": ["plain"] * 100_000}},
        {"parameters": {"pd_b": 10**9}},
        {"parameters": {"unheard_of": 1}},
        {"parameters": [1]},
        {"architecture": "unheard of"},
        {"architecture": ["ssbsn"]},
        {"value_range": float("inf")},
        {"value_range": float("nan")},
        {"value_range": "white"},
        {"value_range": 10**400},
        {"value_range": 1e-300},
        {"detail": "yes"},
        {"architecture": "unet", "parameters": {"widths": [2] * 999, "depths": [999] * 999}},
        {"architecture": "unet", "parameters": {"widths": [10**400], "depths": [1]}},
        {"halo": 10**9},
        {"unheard_of": 1},
    ],
)
def test_absurd_descriptors_are_refused_before_memory_is_taken(tmp_path, fields, monkeypatch):
    described = TINY.to_dict()
    described.update(fields)
    if isinstance(fields.get("parameters"), dict) and "architecture" not in fields:
        described["parameters"] = {**TINY.parameters, **fields["parameters"]}
    path = tmp_path / "a.safetensors"
    state = author_network().state_dict()
    safetensors.torch.save_file(state, path, metadata={"ssbsn": json.dumps(described)})
    built_on = []
    build = Descriptor.build

    def spy(descriptor: Descriptor) -> Any:
        built_on.append(torch.empty(0).device.type)
        return build(descriptor)

    monkeypatch.setattr(Descriptor, "build", spy)
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        load_checkpoint(path)
    assert set(built_on) <= {"meta"}


def test_metadata_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    state = author_network().state_dict()
    safetensors.torch.save_file(state, path, metadata={"ssbsn": "[" * 100_000})
    with pytest.raises(WeightsError):
        load_checkpoint(path)


def test_small_file_that_claims_huge_tensors_is_refused(tmp_path):
    state = author_state(author_network())
    for key, value in state.items():
        # A stride of zero: 400 GB of weights out of one number.
        width = [100_000 if size == 4 else 50_000 if size == 2 else size for size in value.shape]
        state[key] = torch.ones(1).as_strided(width, [0] * value.ndim)
    path = save_author_checkpoint(tmp_path / "a.pth", state)
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="more than its size allows"):
        load_checkpoint(path)


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("good")
    return {
        "zip": tiny_checkpoint(directory / "zip.pth").read_bytes(),
        "legacy": tiny_checkpoint(
            directory / "legacy.pth", _use_new_zipfile_serialization=False
        ).read_bytes(),
        "safetensors": save_tiny(directory / "a.safetensors").read_bytes(),
    }


def load_bytes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "weights"
        path.write_bytes(content)
        load_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_truncation_is_refused(good_files, kind):
    content = good_files[kind]
    load_bytes(content)
    for length in range(0, len(content), len(content) // 40):
        with pytest.raises(WeightsError):
            load_bytes(content[:length])


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_files_raise_nothing_but_weights_error(good_files, kind, data):
    content = bytearray(good_files[kind])
    # The structure lies at the start; past it are numbers, of which any may be right.
    ends = st.sampled_from([64, 4000, len(content) - 1])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, data.draw(ends)))
        length = data.draw(st.integers(0, 3))
        content[position : position + length] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(WeightsError):
        load_bytes(bytes(content))


# Files that cost more than they hold.


def rezip(path: Path, change: Any, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a checkpoint whose parts are what `change` makes of name and content."""
    source = zipfile.ZipFile(tiny_checkpoint(path.with_name("source.pth")))
    with source, zipfile.ZipFile(path, "w", compression) as archive:
        for part in source.namelist():
            for name, content in change(part, source.read(part)):
                archive.writestr(name, content)
    return path


def test_an_archive_that_was_packed_again_is_loaded(tmp_path):
    load_checkpoint(rezip(tmp_path / "a.pth", lambda name, content: [(name, content)]))


def test_an_archive_that_inflates_is_refused_before_it_does(tmp_path, monkeypatch):
    def change(name: str, content: bytes) -> list[tuple[str, bytes]]:
        return [(name, bytes(50_000_000) if name.endswith("data/0") else content)]

    path = rezip(tmp_path / "a.pth", change, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="is damaged"):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_parts_that_share_their_bytes_are_refused(tmp_path):
    path = rezip(tmp_path / "a.pth", lambda name, content: [(name, content)])
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start : content.index(b"PK\x01\x02", start + 4)]
    many = content[start:end] + entry * 10_001
    head = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(many), start, 0)
    path.write_bytes(content[:start] + many + head)
    with pytest.raises(WeightsError, match="is damaged"):
        load_checkpoint(path)


def knot(levels: int) -> bytes:
    """A pickle of {tuple: 1}, each level of which holds the one below twice."""
    start = b"\x80\x02}(X\x01\0\0\0aq\0h\0"
    return start + b"".join(b"\x86q%ch%c" % (n, n) for n in range(1, levels)) + b"\x86K\x01u."


CALLS = {
    "knot": knot(60),
    "text": b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x08\0\0\0punycode\x86R.",
    "memory": b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "tensor": b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
    "endless": b"\x80\x02" + b"N" * (2 << 20) + b".",
}


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("name", CALLS)
def test_pickles_that_take_ever_so_long_are_refused_unread(tmp_path, monkeypatch, name, kind):
    content = CALLS[name]
    path = tmp_path / "a.pth"
    if kind == "legacy":
        path.write_bytes(content)
    else:
        rezip(path, lambda n, old: [(n, content if n.endswith("data.pkl") else old)])
    monkeypatch.setattr(torch, "load", lambda *_args, **_options: pytest.fail("it was read"))
    with pytest.raises(WeightsError, match=r"a\.pth (is damaged|holds more than weights)"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"{" + b" " * (2 << 20) + b"}", "header is too large"),
        (b'{"a\\u001b]0;b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', "usable name"),
        (b'{"%s":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' % (b"a" * 999), "usable name"),
    ],
)
def test_headers_of_safetensors_are_checked(tmp_path, header, words):
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=words) as caught:
        load_checkpoint(path)
    assert len(str(caught.value)) < 300
