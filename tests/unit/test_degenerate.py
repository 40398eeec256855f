"""Near-constant, tiny, huge and dead tensors: ranges, parameters, and whole programs of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantization.observers import OBSERVERS, ranges
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, activation_params

BINS = 2048
NEAR_CONSTANT = [
    (0.99996, 0.99997),
    (-0.99997, -0.99996),
    (1.0, float(np.nextafter(np.float32(1), np.float32(2)))),
    (0.0, 1e-45),
    (-1e-45, 1e-45),
    (1e-30, 1.000001e-30),
    (1e30, 1.000001e30),
    (-3.4e38, 3.4e38),
]


def error_in_steps(params, values: np.ndarray) -> float:
    """The largest error of `values` on the grid of `params`, in steps."""
    scale, zero = params.scale[0], params.zero_point[0]
    codes = np.clip(np.rint(values / scale) + zero, ACTIVATION_MIN, ACTIVATION_MAX)
    return float(np.abs((codes - zero) * scale - values).max() / scale)


@pytest.mark.parametrize("low,high", NEAR_CONSTANT)
def test_near_constant_values_have_ranges(low, high):
    """Every observer gives a range within the extremes, whose grid meets the values."""
    values = np.linspace(low, high, 4096).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    found = ranges(values, low, high, BINS)
    assert list(found) == list(OBSERVERS)
    for name, (a, b) in found.items():
        assert low <= a <= b <= high, name
    if low > 0 or high < 0:
        for a, b in found.values():
            assert error_in_steps(activation_params("t", a, b), values.astype(np.float64)) <= 0.5


@given(st.floats(-(2.0**126), 2.0**126, width=32), st.sampled_from(list(OBSERVERS)))
def test_a_constant_lies_on_its_grid(value, observer):
    low, high = ranges(np.full(9, value, np.float32), value, value, BINS)[observer]
    assert (low, high) == (value, value)
    assert error_in_steps(activation_params("t", low, high), np.array([value])) <= 0.5


@given(st.floats(-8192, 8192, width=32), st.integers(1, 200))
def test_neighbours_of_a_number_are_counted(value, steps):
    """A spread of a few float32 neighbours, which float32 edges can't cut into bins."""
    values = np.float32(value) + np.arange(steps + 1) * np.spacing(np.float32(value))
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    for a, b in ranges(values, low, high, BINS).values():
        assert low <= a <= b <= high


@pytest.mark.parametrize("low,high", [(np.nan, 1.0), (0.0, np.inf), (1.0, 0.0)])
def test_no_range_of_what_is_no_range(low, high):
    with pytest.raises(ValueError, match="no range"):
        ranges(np.ones(3, np.float32), low, high, BINS)
