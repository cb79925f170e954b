"""A quick look for damaged files that do harm; ``python tests/fuzz.py`` takes a longer one."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from fuzz import HARMFUL, fuzz, make_seeds, table


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
def test_damaged_files_give_an_answer_or_a_sentence():
    findings = list(fuzz(make_seeds(), files=1500, seconds=600, seed=0, processes=1))
    assert not [
        (each.number, each.kind, each.outcome, each.words)
        for each in findings
        if each.outcome in HARMFUL
    ]
    counts = Counter((each.kind, each.outcome) for each in findings)
    # That most are refused, and some are not, tells that files are damaged but not beyond all.
    assert {outcome for _, outcome in counts} == {"answer", "sentence"}, table(counts)
