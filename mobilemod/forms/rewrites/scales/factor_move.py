"""A constant factor of a product goes to the factor with fewer values: a gate's, a statistic's."""

from __future__ import annotations

import math

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.ops import Affine, Call


def scale_smaller_factor(graph: Graph) -> int:
    """(x f) s + t = x (f s) + t, where nothing else reads the product and f is one per channel."""
    count = 0
    for node in graph.of(Affine):
        product, scale = node.inputs[0], node.op.scale
        alone = is_product(product) and len(graph.users()[product]) == 1
        if not alone or not bool((scale != 1).any()):
            continue
        small = min(product.inputs, key=lambda n: math.prod(n.shape))
        fits = len(small.shape) == len(product.shape) and len(scale) in (1, small.shape[1])
        if not fits or math.prod(small.shape) == math.prod(product.shape):
            continue
        factor = Node(Affine(scale), [small], small.shape, node.path, node.role)
        graph.insert(factor, before=product)
        product.inputs = [factor if n is small else n for n in product.inputs]
        if node.op.shift is None:
            graph.drop(node, product)
        else:
            node.op = Affine(scale.new_ones(1), node.op.shift)
        count += 1
    return count


def is_product(node: Node) -> bool:
    """Whether a node is a product of two different tensors."""
    same = len(set(node.inputs)) < 2
    return isinstance(node.op, Call) and node.op.name == "mul.Tensor" and not same
