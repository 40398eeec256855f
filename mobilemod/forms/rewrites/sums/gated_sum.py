"""x f + x becomes x (f + 1), where f is one value per channel or position: a sum less."""

from __future__ import annotations

import math

import torch

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.ops import Affine
from mobilemod.forms.rewrites.scales.factor_move import is_product
from mobilemod.forms.rewrites.scales.shift_move import is_sum


def join_gated_sums(graph: Graph) -> int:
    """Add one to the factor, where nothing else reads the product and the factor is smaller."""
    count = 0
    for node in list(graph.nodes):
        if not is_sum(node):
            continue
        product = next((n for n in node.inputs if is_product(n)), None)
        x = next((n for n in node.inputs if n is not product), None)
        if product is None or x not in product.inputs or len(graph.users()[product]) > 1:
            continue
        factor = next(n for n in product.inputs if n is not x)
        if math.prod(factor.shape) >= math.prod(x.shape) or product.shape != x.shape:
            continue
        one = torch.ones(1)
        more = Node(Affine(one, one), [factor], factor.shape, node.path, "shifted")
        graph.insert(more, before=product)
        product.inputs = [more if n is factor else n for n in product.inputs]
        graph.drop(node, product)
        count += 1
    return count
