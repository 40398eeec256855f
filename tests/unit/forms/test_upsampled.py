"""1x1 convolutions go before upsamplings, alone or joined with others, and nothing else does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilemod.forms.rewrites.upsampled import convolve_before_upsampling
from tests.unit.forms.graphs import kinds, rewritten

SHAPE = (8, 5, 6)


def up(x, size=(10, 18), mode="bilinear", **options):
    return F.interpolate(x, size=size, mode=mode, **options)


def conv(cin, cout, *args, **options):
    return nn.Conv2d(cin, cout, 1, *args, **options)


@pytest.mark.parametrize(
    "resize",
    [
        up,
        lambda x: up(x, align_corners=True),
        lambda x: up(x, (20, 24), "bicubic"),
        lambda x: up(x, (15, 7), "nearest"),
        lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
        lambda x: up(x.mean((2, 3), keepdim=True)),
    ],
    ids=["bilinear", "corners", "bicubic", "nearest", "by a factor", "of one pixel"],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_the_upsampled(resize, bias):
    graph, count = rewritten(
        lambda m, x: m.conv(resize(torch.tanh(x))), SHAPE, convolve_before_upsampling,
        conv=conv(8, 5, bias=bias),
    )  # fmt: skip
    assert count == 1 and kinds(graph)[-2] == "NamedConv2d"
    assert kinds(graph)[-1].startswith("upsample_")


def join(m, x):
    large = up(x)
    return m.conv(torch.cat([up(m.a(x)), m.b(large), up(m.c(x), mode="nearest"), large.exp()], 1))


def test_parts_of_a_join_go_before_theirs_and_the_rest_stay_one():
    graph, count = rewritten(
        join, SHAPE, convolve_before_upsampling, a=conv(8, 6), b=nn.Conv2d(8, 4, 3, padding=1),
        c=conv(8, 7), conv=conv(25, 6),
    )  # fmt: skip
    ops = ["NamedConv2d"] * 6 + ["add"] * 2 + ["cat", "exp"]
    ops += ["upsample_bilinear2d"] * 2 + ["upsample_nearest2d"]
    assert count == 1 and sorted(kinds(graph)) == sorted(ops)
    pieces = [n.op for n in graph.nodes if n.path == "conv" and isinstance(n.op, nn.Conv2d)]
    assert [op.in_channels for op in pieces] == [6, 7, 4 + 8]
    assert [op.bias is None for op in pieces] == [False, True, True]


def test_one_other_part_is_no_join():
    graph, count = rewritten(
        lambda m, x: m.conv(torch.cat([m.stem(x), up(m.small(x), (5, 6))], 1)), SHAPE,
        convolve_before_upsampling, stem=conv(8, 8), small=nn.Conv2d(8, 8, 3), conv=conv(16, 4),
    )  # fmt: skip
    assert count == 1 and "cat" not in kinds(graph)


def read_twice(m, x):
    large = up(x)
    return m.conv(large) * large.mean(1, keepdim=True)


def join_read_twice(m, x):
    large = torch.cat([up(x), up(x.exp())], 1)
    return m.both(large) * large.mean(1, keepdim=True)


@pytest.mark.parametrize(
    "function",
    [
        read_twice,
        join_read_twice,
        lambda m, x: m.conv(up(x, (4, 3))),
        lambda m, x: m.more(up(x)),
        lambda m, x: m.wide(up(x)),
        lambda m, x: m.strided(up(x)),
        lambda m, x: m.groups(up(x)),
        lambda m, x: m.padded(up(x)),
        lambda m, x: m.conv(torch.relu(up(x))),
        lambda m, x: m.conv(torch.cat([up(x), up(x.exp())], 2)),
    ],
    ids=["read twice", "join read twice", "made smaller", "more channels", "a larger kernel",
         "stride", "groups", "padding", "something between", "joined in height"],
)  # fmt: skip
def test_where_it_must_not(function):
    layers = {
        "conv": conv(8, 4), "more": conv(8, 9), "wide": nn.Conv2d(8, 4, 3),
        "strided": conv(8, 4, stride=2), "groups": conv(8, 4, groups=2),
        "padded": conv(8, 4, padding=1), "both": conv(16, 4),
    }  # fmt: skip
    _, count = rewritten(function, SHAPE, convolve_before_upsampling, **layers)
    assert count == 0
