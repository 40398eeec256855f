"""A sum of images resized alike is the sum of the images, resized once: resizing is linear.

Decoders bring the maps of several levels to one size and add them. Added before the last resize,
they are as few values as it gets.
"""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.ops import Call
from mobilemod.forms.rewrites.scales.shift_move import is_sum

LINEAR = ("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d")


def add_before_resize(graph: Graph) -> int:
    """up(a) + up(b) to up(a + b), and (x + up(a)) + up(b) to x + up(a + b)."""
    count = 0
    for node in graph.of(Call):
        if not _adds(node):
            continue
        users = graph.users()
        for other, later in (node.inputs, node.inputs[::-1]):
            inner = other.inputs if _adds(other) and len(users[other]) == 1 else [other]
            first = next((n for n in inner if _alike(n, later)), None)
            if first is None or len(users[first]) > 1 or len(users[later]) > 1:
                continue
            small = [first.inputs[0], later.inputs[0]]
            total = Node(node.op, small, small[0].shape, node.path)
            later.inputs = [total]
            graph.nodes.remove(later)
            for new in (total, later):  # behind all that either of both comes from
                graph.insert(new, before=node)
            if first is other:
                graph.drop(node, later)
            else:
                node.inputs = [next(n for n in inner if n is not first), later]
            graph.prune()
            count += 1
            break
    return count


def _adds(node: Node) -> bool:
    """Whether a node is a sum of two tensors, nothing spread."""
    return (
        is_sum(node)
        and len(set(node.inputs)) == 2
        and all(n.shape == node.shape for n in node.inputs)
    )


def _alike(first: Node, second: Node) -> bool:
    """Whether both resize images of one shape in the same way."""
    a, b = first.op, second.op
    if not isinstance(a, Call) or not isinstance(b, Call) or a.kind not in LINEAR:
        return False
    same = (a.name, repr(a.args), a.options) == (b.name, repr(b.args), b.options)
    return same and first is not second and first.inputs[0].shape == second.inputs[0].shape
