"""The agreement benchmark: what is counted, whose top-1 part, how near answers lie."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.agreement import (
    OneCode,
    close_calls,
    compare,
    nudged,
    one_code_table,
    pairs_table,
    parse,
    partings,
    partings_table,
)
from export.diff.named import TappedTensor
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions

STEP = 0.5
A = np.array([[5, 4, 0], [2, 2, 0], [1, 3, 0], [9, 0, 0]], np.float32) * STEP


def files(*logits: np.ndarray) -> list[Predictions]:
    return [Predictions(f"file {i}", x, "int8") for i, x in enumerate(logits)]


@pytest.fixture
def three() -> list[Predictions]:
    """The second as the first; the third has another answer for two images of four."""
    other = A.copy()
    other[0, 1] = 7 * STEP
    other[1, 1] = 3 * STEP
    other[3, 2] = STEP
    return files(A, A.copy(), other)


def test_pairs_count_images(three):
    same, first, second = compare(three)
    assert (same.logits_differ, same.top1_differ, same.sqnr_db) == (0, 0, np.inf)
    assert (first.logits_differ, first.top1_differ) == (3, 2)
    noise = (3**2 + 1 + 1) * STEP**2
    assert first.sqnr_db == pytest.approx(10 * np.log10((A**2).sum() / noise))
    assert second.sqnr_db == first.sqnr_db
    assert pairs_table([same, first])[1:] == [
        ["file 0 / file 1", "0", "0", "∞"],
        ["file 0 / file 2", "3", "2", f"{first.sqnr_db:.1f}"],
    ]


def test_partings_name_the_image_and_how_near_it_was(three):
    found = partings(three, STEP, ["a", "b", "c", "d"], ["dog", "cat", "cow"])
    # The second file says what the first says: it isn't listed again.
    assert {(p.a, p.b) for p in found} == {("file 0", "file 2")}
    assert [(p.image, p.a_class, p.b_class, p.a_lead, p.b_lead) for p in found] == [
        ("a", "dog", "cat", 1, 2),
        ("b", "dog", "cat", 0, 1),
    ]
    assert [row[-2] for row in partings_table(found)[1:]] == ["1 / 2", "0 / 1"]


def test_close_calls_are_cumulative():
    assert close_calls(files(A)[0], STEP) == {0: 1, 1: 2, 4: 3}


def test_one_code_changes_by_one_step_and_stays_in_range():
    tensor = TappedTensor("t", np.full((1, 2, 3, 3), 127, np.int8), 0.1, 3)
    tensor.values[0, 0] = -128
    for seed in range(20):
        changed = nudged(tensor, np.random.default_rng(seed))
        difference = changed.values.astype(int) - tensor.values
        assert np.abs(difference).sum() == 1 and changed.scale == 0.1 and changed.zero_point == 3


def test_table_of_codes_leaves_out_what_comes_before():
    late = OneCode("layers.3.blocks.0.norm:out", 4, 25.0, 40.25, {"head:out": 12.5})
    never = OneCode("layers.3.blocks.0.norm:out", 4, 100.0, np.nan, {"head:out": 0.0})
    rows = one_code_table([late, never])[1:]
    assert [row[1:] for row in rows] == [
        ["25", "40.2", "–", "–", "–", "12"],
        ["100", "–", "–", "–", "–", "0"],
    ]


def test_bad_options_are_one_line(monkeypatch):
    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)
    with pytest.raises(UserError, match="no images"):
        parse(["bundle"])
    with pytest.raises(UserError, match="--codes must be 1"):
        parse(["bundle", "--data", "x", "--codes", "0"])
