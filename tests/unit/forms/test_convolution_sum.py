"""Convolutions of one image that are added become one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilemod.forms.rewrites.strided_slice import slices_as_convolutions
from mobilemod.forms.rewrites.sums.convolution_sum import add_convolutions
from tests.unit.forms.graphs import kinds, rewritten


def depthwise(kernel, stride=1, padding=None, dilation=1, channels=5, bias=True):
    padding = kernel // 2 * dilation if padding is None else padding
    return nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation, groups=channels, bias=bias
    )


def two(m, x):
    return m.a(x) + m.b(x)


def test_a_strided_slice_goes_into_the_centre():
    conv = depthwise(3, 2)
    graph, _ = rewritten(
        lambda m, x: m.conv(x) + x[:, :, ::2, ::2], (5, 9, 8),
        slices_as_convolutions, add_convolutions, conv=conv,
    )  # fmt: skip
    assert kinds(graph) == ["NamedConv2d"]
    change = graph.nodes[1].op.weight - conv.weight
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    assert torch.allclose(change, centre.expand(5, 1, 3, 3), atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [((7,), (3,)), ((7, 2), (3, 2)), ((3, 1, None, 2), (3, 1, 2, 2)), ((5,), (3, 1, 2, 2)),
     ((7,), (3, 1, 3, 3)), ((3, 1, None, 1, 5, False), (3, 1, None, 1, 5, False))],
)  # fmt: skip
def test_two_kernels_become_one(a, b):
    graph, count = rewritten(two, (5, 12, 11), add_convolutions, a=depthwise(*b), b=depthwise(*a))
    assert count == 1 and kinds(graph) == ["NamedConv2d"]


@pytest.mark.parametrize("groups", [1, 5])
def test_branches_of_a_block_become_one(groups):
    a, b = (nn.Conv2d(5, 10, k, 2, k // 2, groups=groups) for k in (3, 1))
    graph, count = rewritten(two, (5, 9, 8), add_convolutions, a=a, b=b)
    assert count == 1 and graph.nodes[1].op.kernel_size == (3, 3)


def read_twice(m, x):
    y = m.a(x)
    return (y + m.b(x)) * y


@pytest.mark.parametrize(
    ("function", "a", "b"),
    [
        (two, depthwise(3, 1, None, 2), depthwise(3)),
        (lambda m, x: m.a(x) + m.b(torch.relu(x)), depthwise(3), depthwise(3)),
        (two, nn.Conv2d(5, 5, 3, padding=1), depthwise(3)),
        (read_twice, depthwise(3), depthwise(3)),
        (lambda m, x: torch.add(m.a(x), m.b(x), alpha=2), depthwise(3), depthwise(3)),
    ],
    ids=["taps apart", "two images", "not depthwise", "read twice", "a factor"],
)
def test_where_it_must_not(function, a, b):
    _, count = rewritten(function, (5, 10, 10), add_convolutions, a=a, b=b)
    assert count == 0
