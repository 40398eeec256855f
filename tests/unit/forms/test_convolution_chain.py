"""A 1x1 convolution goes into the convolution before it, where that has no more to compute."""

from __future__ import annotations

import pytest
from torch import nn

from mobilemod.forms.rewrites.convolution_chain import merge_chains
from tests.unit.forms.graphs import kinds, rewritten

SHAPE = (6, 9, 8)


def chain(m, x):
    return m.b(m.a(x))


@pytest.mark.parametrize(
    "a",
    [
        nn.Conv2d(6, 6, 1),
        nn.Conv2d(6, 6, 1, bias=False),
        nn.Conv2d(6, 7, 3, 2, 1),
        nn.Conv2d(6, 8, (3, 5), padding=(2, 4), dilation=2),
    ],
    ids=["1x1", "no bias", "stride", "dilation"],
)
@pytest.mark.parametrize("bias", [True, False])
def test_two_become_one(a, bias):
    b = nn.Conv2d(a.out_channels, 6, 1, bias=bias)
    graph, count = rewritten(chain, SHAPE, merge_chains, a=a, b=b)
    assert count == 1 and kinds(graph) == ["NamedConv2d"]
    merged = graph.nodes[1].op
    assert merged.weight.shape == (6, 6, *a.kernel_size)
    assert (merged.bias is None) == (a.bias is None and not bias)


def test_three_become_one():
    layers = {"a": nn.Conv2d(6, 6, 3), "b": nn.Conv2d(6, 6, 1), "c": nn.Conv2d(6, 4, 1)}
    graph, count = rewritten(lambda m, x: m.c(m.b(m.a(x))), SHAPE, merge_chains, **layers)
    assert count == 2 and kinds(graph) == ["NamedConv2d"]


@pytest.mark.parametrize(
    "function,a,b",
    [
        (chain, nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)),
        (chain, nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 6, 1)),
        (chain, nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3)),
        (chain, nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1, 2)),
        (chain, nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1, groups=2)),
        (chain, nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1, padding=1)),
        (lambda m, x: m.b(y := m.a(x)) * y, nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)),
        (lambda m, x: m.b(m.a(x).relu()), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)),
    ],
    ids=[
        "a bottleneck",
        "depthwise",
        "3x3",
        "stride",
        "groups",
        "padding",
        "read twice",
        "between",
    ],
)
def test_where_it_must_not(function, a, b):
    _, count = rewritten(function, SHAPE, merge_chains, a=a, b=b)
    assert count == 0
