"""JSON and TOML that anybody may have written is harmless, or one ValueError with a sentence."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from ssbsn_cli.core.runtime.parsing import parse_json, parse_toml
from ssbsn_cli.core.types import count_of

HOSTILE = {
    "deep": "[" * 100_000,
    "deep and whole": "[" * 500 + "]" * 500,
    "many digits": "9" * 5000,
    "more than 64 bits": "9" * 20,
    "cut short": '"a',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_is_wrong_is_one_line(text):
    for parse in (lambda: parse_json(text), lambda: parse_toml(f"a = {text}".encode())):
        with pytest.raises(ValueError, match=r"\A.+\Z"):
            parse()


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(content):
    for parse in (parse_json, parse_toml):
        with suppress(ValueError):
            parse(content)


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 steps"), (1, "1 step"), (1.0, "1 step"), (0.5, "0.5 steps"), (12_000, "12,000 steps")],
)
def test_counts_are_said_in_the_right_number(number, said):
    assert count_of(number, "step") == said


def test_ordinary_values_come_back():
    values = {"a": [1, -(2**63), 2**63 - 1, 0.5, True], "b": {"c": ["ä", "", "😀"]}}
    assert parse_json(json.dumps(values)) == values
    assert parse_toml(tomli_w.dumps(values).encode()) == values
