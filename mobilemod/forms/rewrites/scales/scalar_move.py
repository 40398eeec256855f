"""A factor that is one number moves back through products and moves to the convolution before."""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine, MatMul, Rearrange


def move_scalars_back(graph: Graph) -> int:
    """(a q) k = a (q k): scale q where the way leads to a convolution that nothing else reads."""
    count = 0
    for node in graph.of(Affine):
        if len(node.op.scale) > 1 or node.op.shift is not None:
            continue
        users = graph.users()
        last = node
        before = node.inputs[0]
        while isinstance(before.op, MatMul | Rearrange) and len(users[before]) == 1:
            last, before = before, before.inputs[0]
        if last is node or not isinstance(before.op, NamedConv2d) or len(users[before]) > 1:
            continue
        moved = Node(node.op, [before], before.shape, node.path, node.role)
        graph.insert(moved, after=before)
        last.inputs = [moved, *last.inputs[1:]]
        graph.drop(node, node.inputs[0])
        count += 1
    return count
