"""Maps as runs: there and back, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from mobilemod.evaluation.runs import from_runs, to_runs


@pytest.mark.parametrize("classes", [1, 2, 11, 256])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (32, 48)])
def test_there_and_back(shape, classes):
    found = np.random.default_rng(0).integers(0, classes, shape).astype(np.uint8)
    runs = to_runs(found)
    assert (from_runs(runs, found.size) == found.ravel()).all()
    assert len(runs) <= 2 * found.size


def test_runs_go_over_rows():
    assert to_runs(np.array([[3, 3, 0], [0, 0, 255]], np.uint8)) == [3, 2, 0, 3, 255, 1]
    assert to_runs(np.zeros((128, 128), np.uint8)) == [0, 16384]


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([0, 3, 1], "pairs"),
        ([0, 2.0, 1, 2], "pairs"),
        ([0, True, 1, 3], "pairs"),
        ([[0], [4]], "pairs"),
        ([256, 4], "from 0 to 255"),
        ([-1, 4], "from 0 to 255"),
        ([0, 0, 1, 4], "1 or more"),
        ([0, 2, 0, 2], "different classes"),
        ([0, 5], "of 5 pixels, not of 4"),
        ([0, 2**62, 1, 2**62], "pixels, not of 4"),
        ([], "of 0 pixels"),
    ],
)
def test_what_are_no_runs(runs, why):
    with pytest.raises(ValueError, match=why):
        from_runs(runs, 4)
