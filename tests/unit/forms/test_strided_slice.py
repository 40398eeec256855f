"""Strided slices become convolutions, or the stride of the one that reads them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.rewrites.strided_slice import slices_as_convolutions
from tests.unit.forms.graphs import kinds, rewritten


@pytest.mark.parametrize(("i", "j", "s", "t"), [(0, 0, 2, 2), (1, 0, 2, 3), (0, 2, 1, 4)])
def test_a_slice_alone_is_depthwise(i, j, s, t):
    graph, count = rewritten(
        lambda _, x: torch.relu(x[:, :, i::s, j::t]), (5, 7, 12), slices_as_convolutions
    )
    assert count == 1 and kinds(graph) == ["NamedConv2d", "relu"]
    conv = graph.nodes[1].op
    assert conv.stride == (s, t) and conv.groups == 5 and conv.weight.sum().item() == 5


def test_a_slice_of_half_the_positions_is_one_convolution():
    graph, count = rewritten(
        lambda _, x: x[:, :, ::2][:, :, :, ::2], (5, 8, 8), slices_as_convolutions
    )
    assert count == 1 and kinds(graph) == ["NamedConv2d"]


def test_a_pointwise_convolution_takes_the_stride():
    graph, count = rewritten(
        lambda m, x: m.conv(x[:, :, ::2, ::2]), (5, 8, 9), slices_as_convolutions,
        conv=nn.Conv2d(5, 6, 1, stride=(1, 2)),
    )  # fmt: skip
    assert count == 1 and kinds(graph) == ["NamedConv2d"]
    assert graph.nodes[1].op.stride == (2, 4)


def test_each_reader_gets_what_it_takes():
    def function(m, x):
        y = x[:, :, ::2, ::2]
        return m.one(y) + m.three(y)

    graph, _ = rewritten(
        function, (5, 8, 8), slices_as_convolutions,
        one=nn.Conv2d(5, 6, 1), three=nn.Conv2d(5, 6, 3, padding=1),
    )  # fmt: skip
    assert kinds(graph).count("slice") == 0
    assert len(list(graph.of(NamedConv2d))) == 3


def test_names_of_two_slices_differ():
    graph, count = rewritten(
        lambda _, x: torch.relu(x[:, :, ::2, ::2]) + torch.relu(x[:, :, 1::2, 1::2]),
        (5, 8, 8), slices_as_convolutions,
    )  # fmt: skip
    assert count == 2
    assert len({n.op.tensor for n in graph.of(NamedConv2d)}) == 2


@pytest.mark.parametrize(
    "function",
    [lambda _, x: x[:, :, 2:, 1:], lambda _, x: x[:, :, :5:2], lambda _, x: x[:, :, 3::2],
     lambda _, x: x[:, ::2]],
    ids=["without a stride", "not to the end", "from beyond the first", "channels"],
)  # fmt: skip
def test_other_slices_stay(function):
    assert rewritten(function, (6, 8, 8), slices_as_convolutions)[1] == 0
