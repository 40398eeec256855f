"""A 3x3 convolution on a level of a pyramid, as one on each of its maps.

Repeated, a pixel of the coarse map is twice under a kernel of three: each new pixel is made of two
by two old ones. What the coarse map's levels are made into, level by level, is convolved so too.
"""

from __future__ import annotations

from mobilemod.forms.graph import Graph
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.rewrites.pyramid.level import MOST_LEFT, is_plain, level_at, weights


def convolve_maps(graph: Graph) -> int:
    """Where a quarter of the products is saved."""
    count = 0
    for node in graph.of(NamedConv2d):
        level = level_at(graph, node.inputs[0], node) if is_plain(node) else None
        if level is None:
            continue
        weight, bias = weights(node)
        if level.products(weight) > MOST_LEFT * weight.numel():
            continue
        graph.drop(node, level.added(*level.unshifted().convolved(weight, bias)))
        graph.prune()
        count += 1
    return count
