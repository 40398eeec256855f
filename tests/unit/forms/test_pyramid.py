"""Two convolutions of a pyramid's level become one of each of its maps, borders included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilemod.forms.graph import Graph
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Call
from mobilemod.forms.rewrites.pyramid.pair import convolve_maps_twice
from tests.unit.forms.exact import assert_exact_alone
from tests.unit.forms.graphs import rewritten

NAME = "two convolutions of a pyramid's level on its maps"
ONE = "convolutions of a pyramid's level on its maps"
WIDE, NARROW = 24, 12


def layers(**others):
    """A level's: fine and coarse maps of an image, its 1x1, the neck's and the head's."""
    return {
        "fine": nn.Conv2d(4, 3, 3, padding=1), "coarse": nn.Conv2d(4, 5, 1),
        "lateral": nn.Conv2d(3, WIDE, 1), "top": nn.Conv2d(5, WIDE, 1),
        "neck": nn.Conv2d(WIDE, WIDE, 3, padding=1), "head": nn.Conv2d(WIDE, NARROW, 3, padding=1),
        **others,
    }  # fmt: skip


def maps(m, x, pooled):
    """Both maps, curved; the coarse one smaller by `pooled`."""
    return torch.tanh(m.fine(x)), torch.tanh(F.avg_pool2d(m.coarse(x), pooled))


def level(m, x, pooled=2):
    fine, coarse = maps(m, x, pooled)
    return m.lateral(fine) + F.interpolate(m.top(coarse), size=x.shape[2:])


def decoded(m, x, pooled=2):
    return F.relu(m.head(m.neck(level(m, x, pooled))))


def multiplied(graph: Graph) -> int:
    return sum(n.op.weight.numel() * n.shape[2] * n.shape[3] for n in graph.of(NamedConv2d))


@pytest.mark.parametrize(
    ("shape", "pooled"),
    [((4, 8, 12), 2), ((4, 4, 4), 2), ((4, 4, 18), (2, 3)), ((4, 24, 4), (4, 2)),
     ((4, 6, 5), (2, 1)), ((4, 4, 15), (1, 5)), ((4, 5, 16), (1, 4))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("bias", [True, False])
def test_as_the_two_convolutions_to_the_border(shape, pooled, bias):
    own = layers(lateral=nn.Conv2d(3, WIDE, 1, bias=bias), top=nn.Conv2d(5, WIDE, 1, bias=bias),
                 neck=nn.Conv2d(WIDE, WIDE, 3, padding=1, bias=bias),
                 head=nn.Conv2d(WIDE, NARROW, 3, padding=1, bias=bias))  # fmt: skip
    made = assert_exact_alone(lambda m, x: decoded(m, x, pooled), shape, **own)
    assert made.rewrites[NAME] == 1
    larger = [n for n in made.graph.of(Call) if n.op.kind.startswith("upsample")]
    assert {1 in n.shape[2:] for n in larger} == {True}  # of the border alone


def test_an_image_has_less_than_half_the_products():
    before, _ = rewritten(decoded, (4, 40, 40), lambda graph: 0, **layers())
    after, count = rewritten(decoded, (4, 40, 40), convolve_maps_twice, **layers())
    assert count == 1 and multiplied(after) < 0.5 * multiplied(before)


def pyramid(m, x):
    """Three levels, each convolved twice; a batch norm behind, as heads have."""
    fine, coarse = torch.tanh(m.fine(x)), torch.tanh(F.avg_pool2d(m.coarse(x), 2))
    levels = [m.top(F.avg_pool2d(coarse, 2))]
    levels.append(m.between(coarse) + F.interpolate(levels[-1], scale_factor=2))
    levels.append(m.lateral(fine) + F.interpolate(levels[-1], scale_factor=2))
    heads = [F.relu(m.norm(m.head(m.neck(x)))) for x in levels]
    return sum(F.interpolate(h, x.shape[2:], mode="bilinear") for h in heads)


@pytest.mark.parametrize("shape", [(4, 16, 24), (4, 12, 12)], ids=str)
def test_levels_upon_levels(shape):
    own = layers(between=nn.Conv2d(5, WIDE, 1), norm=nn.BatchNorm2d(NARROW))
    made = assert_exact_alone(pyramid, shape, **own)
    assert made.rewrites[NAME] == 2
    # The top level is read, so others' biases are shifts of it; the middle one's conv takes its.
    shifts = [n for n in made.graph.of(NamedConv2d) if n.op.groups == WIDE]
    assert [[n.path for n in shift.inputs] for shift in shifts] == [["top"], ["top"]]
    assert made.rewrites[ONE] == 1  # the finest level's, on the maps of the middle one


@pytest.mark.parametrize("shape", [(4, 8, 12), (4, 2, 2), (4, 4, 18)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_as_one_convolution_to_the_border(shape, bias):
    def function(m, x):
        y = level(m, x)
        return torch.cat([F.relu(m.head(y)), y], 1)

    own = layers(
        lateral=nn.Conv2d(3, WIDE, 1, bias=bias), head=nn.Conv2d(WIDE, NARROW, 3, 1, 1, bias=bias)
    )
    made = assert_exact_alone(function, shape, **own)
    assert made.rewrites[ONE] == 1 and made.rewrites[NAME] == 0
    convs = [n.op for n in made.graph.of(NamedConv2d) if n.path == "head"]
    kernels = [conv.kernel_size for conv in convs if conv.groups == 1]
    assert sorted(kernels) == [(2, 2)] * 4 + [(3, 3)]


def test_not_as_one_where_little_is_saved():
    def function(m, x):
        return F.relu(m.head(level(m, x, (2, 1))))

    assert assert_exact_alone(function, (4, 8, 12), **layers()).rewrites[ONE] == 0


def test_a_coarse_map_that_is_no_convolution_gets_the_bias():
    def function(m, x):
        fine, coarse = maps(m, x, 2)
        total = m.lateral(fine) + F.interpolate(torch.tanh(m.top(coarse)), scale_factor=2)
        return F.relu(m.head(m.neck(total)))

    assert assert_exact_alone(function, **layers()).rewrites[NAME] == 1


def test_a_level_that_others_read_too_stays_what_it_was():
    def function(m, x):
        y = level(m, x)
        return torch.cat([F.relu(m.head(m.neck(y))), y], 1)

    assert assert_exact_alone(function, **layers()).rewrites[NAME] == 1


def read_between(m, x):
    y = m.neck(level(m, x))
    return torch.cat([m.head(y), y], 1)


def read_twice(m, x):
    fine, coarse = maps(m, x, 2)
    lateral = m.lateral(fine)
    total = lateral + F.interpolate(m.top(coarse), scale_factor=2)
    return torch.cat([m.head(m.neck(total)), lateral], 1)


def resized(mode, *size):
    def function(m, x):
        fine, coarse = maps(m, x, 2)
        total = m.lateral(fine) + F.interpolate(m.top(coarse), (8, 12), mode=mode)
        return m.head(m.neck(total))

    return function


CONVS = {
    "stride": {"head": nn.Conv2d(WIDE, NARROW, 3, 2, padding=1)},
    "dilation": {"neck": nn.Conv2d(WIDE, WIDE, 3, padding=2, dilation=2)},
    "groups": {"neck": nn.Conv2d(WIDE, WIDE, 3, padding=1, groups=2)},
    "no padding": {"head": nn.Conv2d(WIDE, NARROW, 3)},
    "a larger kernel": {"neck": nn.Conv2d(WIDE, WIDE, 5, padding=2)},
    "a larger lateral": {"lateral": nn.Conv2d(3, WIDE, 3, padding=1)},
    "few channels between": {"lateral": nn.Conv2d(3, 4, 1), "top": nn.Conv2d(5, 4, 1),
                             "neck": nn.Conv2d(4, 4, 3, padding=1),
                             "head": nn.Conv2d(4, 4, 3, padding=1)},
}  # fmt: skip
FUNCTIONS = {
    "read between": (read_between, (4, 8, 12)),
    "the lateral read twice": (read_twice, (4, 8, 12)),
    "bilinear": (resized("bilinear"), (4, 8, 12)),
    "a curve between": (lambda m, x: m.head(torch.tanh(m.neck(level(m, x)))), (4, 8, 12)),
    "no whole factor": (lambda m, x: m.head(m.neck(m.lateral(m.fine(x)) + F.interpolate(
        m.top(F.avg_pool2d(m.coarse(x), 2)), size=(5, 7)))), (4, 5, 7)),
    "nothing repeated": (lambda m, x: m.head(m.neck(m.lateral(m.fine(x)) + m.top(m.coarse(x)))),
                         (4, 8, 12)),
    "no inside": (decoded, (4, 2, 12)),
}  # fmt: skip


@pytest.mark.parametrize("name", [*CONVS, *FUNCTIONS])
def test_where_it_must_not(name):
    function, shape = FUNCTIONS.get(name, (decoded, (4, 8, 12)))
    _, count = rewritten(function, shape, convolve_maps_twice, **layers(**CONVS.get(name, {})))
    assert count == 0
