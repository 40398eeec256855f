"""A shift per channel goes behind a sum, where a convolution takes it."""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine, Call


def move_behind_sum(graph: Graph) -> int:
    """(x s + t) + y = (x s + y) + t, where nothing else reads the shifted."""
    count = 0
    for node in graph.of(Affine):
        users = graph.users()
        if node.op.shift is None or len(users[node]) != 1 or not is_sum(users[node][0]):
            continue
        total = users[node][0]
        after = users[total]
        if node.shape != total.shape or not after or not all(map(_takes, after)):
            continue
        shift = Affine(node.op.scale.new_ones(1), node.op.shift)
        moved = Node(shift, [total], total.shape, node.path, node.role)
        graph.put_behind(total, moved)
        if bool((node.op.scale != 1).any()):
            node.op = Affine(node.op.scale)
        else:
            graph.drop(node, node.inputs[0])
        count += 1
    return count


def is_sum(node: Node) -> bool:
    """Whether a node is a sum of two tensors."""
    call = isinstance(node.op, Call) and node.op.name == "add.Tensor"
    return call and len(node.inputs) == 2 and not node.op.options


def _takes(node: Node) -> bool:
    return isinstance(node.op, NamedConv2d) and not any(node.op.padding)
