"""Two 3x3 convolutions after one another on a level of a pyramid, as one on each of its maps.

A Semantic FPN's neck gives a level 256 channels and convolves them, its head convolves that
(Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019). All of it is linear up to the
head's activation: the product of both kernels, 5x5, times the 1x1's matrix goes over the fine map's
few channels, and over the coarse map, before its pixels are repeated, as 3x3.
"""

from __future__ import annotations

from torch import Tensor

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.rewrites.pyramid.kernels import composed
from mobilemod.forms.rewrites.pyramid.level import MOST_LEFT, Level, is_plain, level_at, weights

LEAST_SIDE = 3  # an image of fewer rows or columns has none inside its border


def convolve_maps_twice(graph: Graph) -> int:
    """Where nothing else reads what is between, and a quarter of the products is saved."""
    count = 0
    for node in sorted(graph.of(NamedConv2d), key=lambda n: n.shape[2:]):
        before = node.inputs[0]
        if not (is_plain(node) and is_plain(before)) or len(graph.users()[before]) > 1:
            continue
        level = level_at(graph, before.inputs[0], node)
        if level is None or min(node.shape[2:]) < LEAST_SIDE:
            continue
        first, second = weights(before), weights(node)
        now = first[0].numel() + second[0].numel()
        if level.products(composed(first[0], second[0])) > MOST_LEFT * now:
            continue
        graph.drop(node, _convolved(level.unshifted(), first, second))
        graph.prune()  # a coarse level that finer ones alone read then takes their biases
        count += 1
    return count


def _convolved(level: Level, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Node:
    """What both convolutions, (weight, bias) each, make of a level."""
    (inner, shift), (outer, bias) = first, second
    whole = bias + outer.sum((2, 3)) @ shift
    fine, coarse = level.convolved(composed(inner, outer), whole)
    return level.added(_bordered(level, fine, first, outer), coarse)


def _bordered(level: Level, node: Node, first: tuple[Tensor, Tensor], outer: Tensor) -> Node:
    """`node` less what the second convolution of both would read around its image: zeros there,
    of which the product of both kernels knows nothing."""
    inner, shift = first
    for dim, name in ((3, "column"), (2, "row")):
        sides = []
        for last in (False, True):
            # Beside the first row the inner kernel's last row meets it, and the outer kernel's
            # first row meets that; so for columns.
            near, far = inner.narrow(dim, 0 if last else 2, 1), outer.narrow(dim, 2 * last, 1)
            side = level.side(dim, last, f"{name}{int(last)}")
            if dim == 2:  # corners too: there are places beside the image to either side
                around = -far.sum((2, 3)) @ shift
                less = level.conv(side, composed(near, -far), around, f"{name}{int(last)}.around")
            else:
                less = level.conv(side, near, shift, f"{name}{int(last)}.around")
                less = level.conv(less, -far, None, f"{name}{int(last)}.less")
            at = node.shape[dim] - 1 if last else 0
            sides.append(level.added(level.cut(node, dim, at), less))
        inside = level.cut(node, dim, 1, node.shape[dim] - 2)
        node = level.joined([sides[0], inside, sides[1]], dim)
    return node
