"""A scale and shift per channel commutes with means over positions and with moves of positions."""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine, Call, Rearrange


def move_behind_pooling(graph: Graph) -> int:
    """Scale what comes out of the pooling instead, where a convolution takes it there."""
    count = 0
    for node in graph.of(Affine):
        users = graph.users()
        readers = users[node]
        if len(readers) != 1 or not _commutes(readers[0]):
            continue
        pooling = readers[0]
        after = users[pooling]
        if not after or not all(isinstance(r.op, NamedConv2d | Affine) for r in after):
            continue
        pooling.inputs = [node.inputs[0]]
        moved = Node(node.op, [pooling], pooling.shape, node.path, node.role)
        graph.put_behind(pooling, moved)
        count += 1
    return count


def _commutes(node: Node) -> bool:
    if isinstance(node.op, Rearrange):
        source, target = node.op.source, node.op.target
        return len(source) == len(target) == 4 and source[:2] == target[:2]
    if not isinstance(node.op, Call) or len(node.inputs) != 1 or len(node.shape) != 4:
        return False
    if node.op.name == "mean.dim":
        return list(node.op.args[1]) == [2, 3]
    return node.op.name == "slice.Tensor" and node.op.args[1] in (2, 3)
