"""Two scales and shifts after one another become one, and one that does nothing none."""

from __future__ import annotations

from mobilemod.forms.graph import Graph
from mobilemod.forms.ops import Affine


def merge_affines(graph: Graph) -> int:
    """(x s1 + t1) s2 + t2 = x (s1 s2) + (t1 s2 + t2), where nothing reads what is between; x 1 = x,
    as of a norm that nothing trained."""
    count = 0
    for node in graph.of(Affine):
        before = node.inputs[0]
        if node.op.shift is None and bool((node.op.scale == 1).all()):
            graph.drop(node, before)
            count += 1
            continue
        if not isinstance(before.op, Affine) or len(graph.users()[before]) > 1:
            continue
        first, second = before.op, node.op
        shift = second.shift
        if first.shift is not None:
            moved = first.shift * second.scale
            shift = moved if shift is None else moved + shift
        node.op = Affine(first.scale * second.scale, shift)
        node.inputs = list(before.inputs)
        count += 1
    return count
