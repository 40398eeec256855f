"""A join of all strided slices becomes one move."""

from __future__ import annotations

import pytest
import torch

from mobilemod.forms.rewrites.space_to_depth import space_to_depth
from tests.unit.forms.graphs import kinds, rewritten


def joined(starts, s, t, rows_last=False):
    def function(_, x):
        if rows_last:
            return torch.cat([x[:, :, :, j::t][:, :, i::s] for i, j in starts], 1)
        return torch.cat([x[:, :, i::s, j::t] for i, j in starts], 1)

    return function


ROWS_FIRST = [(0, 0), (0, 1), (1, 0), (1, 1)]
COLUMNS_FIRST = [(0, 0), (1, 0), (0, 1), (1, 1)]  # Swin's
WIDE = [(i, j) for i in range(2) for j in range(3)]


@pytest.mark.parametrize(
    ("starts", "s", "t"), [(ROWS_FIRST, 2, 2), (COLUMNS_FIRST, 2, 2), (WIDE, 2, 3)]
)
def test_one_move(starts, s, t):
    graph, count = rewritten(joined(starts, s, t, s == t), (5, 8, 12), space_to_depth)
    assert count == 1 and kinds(graph) == ["Rearrange"]


def test_channels_last_as_swin_has_them():
    def function(_, x):
        x = x.permute(0, 2, 3, 1)
        x = torch.cat([x[:, i::2, j::2, :] for i, j in COLUMNS_FIRST], -1)
        return x.permute(0, 3, 1, 2)

    graph, count = rewritten(function, (5, 8, 12), space_to_depth)
    assert count == 1 and kinds(graph) == ["Rearrange"]


@pytest.mark.parametrize(
    ("starts", "s", "height"),
    [(ROWS_FIRST[:3], 2, 8), ([(0, 0), (1, 1), (0, 1), (1, 0)], 2, 8), (ROWS_FIRST, 3, 6)],
    ids=["one is missing", "an order of no axes", "a step beyond the slices"],
)
def test_not_where_it_is_no_move(starts, s, height):
    _, count = rewritten(joined(starts, s, s), (5, height, 12), space_to_depth)
    assert count == 0


def test_not_for_slices_of_two_images():
    def function(_, x):
        y = torch.relu(x)
        return torch.cat([(x if i else y)[:, :, i::2, j::2] for i, j in ROWS_FIRST], 1)

    assert rewritten(function, (5, 8, 12), space_to_depth)[1] == 0
