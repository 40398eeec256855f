"""A 1x1 convolution goes before an upsampling: the weights of the pixels that a new one is made of
sum to one, at borders too, so channels may be mixed before or after it, and biases added.

Decoders bring maps of several sizes to the largest's, join and mix them (SegFormer), or join a
pooled branch with others (DeepLab): nearly all of that work is then on maps as large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import nn

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Call, Hole
from mobilemod.forms.rewrites.convolution_chain import is_pointwise


@dataclass
class Part:
    """Channels of what a convolution reads: those of `inputs`, behind `resize` where there is one.

    columns: the places of these channels.
    """

    resize: Node | None
    inputs: list[Node] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)


def convolve_before_upsampling(graph: Graph) -> int:
    """Give each upsampled part of what a convolution reads its columns before the upsampling, all
    others theirs together, and add the results.

    Where nothing else reads the upsampled, and it has as many channels as the convolution gives, or
    more.
    """
    count = 0
    for node in graph.of(NamedConv2d):
        parts = _parts(graph, node) if is_pointwise(node.op) else []
        if not any(part.resize for part in parts):
            continue
        total: Node | None = None
        for number, part in enumerate(parts):
            made = _convolved(graph, node, part, number if len(parts) > 1 else None)
            total = made if total is None else _added(graph, node, total, made)
        graph.drop(node, total)
        count += 1
    return count


def _parts(graph: Graph, node: Node) -> list[Part]:
    """The upsampled parts in order, then the rest as one."""
    users, source = graph.users(), node.inputs[0]
    joined = isinstance(source.op, Call) and source.op.kind == "cat" and source.op.args[1] == 1
    whole = joined and len(users[source]) == 1
    parts, rest, first = [], Part(None), 0
    for n in source.inputs if whole else [source]:
        columns = list(range(first, first + n.shape[1]))
        first += n.shape[1]
        few = len(users[n]) == 1 and n.shape[1] >= node.op.out_channels
        if few and _upsampled(n):
            parts.append(Part(n, list(n.inputs), columns))
        else:
            rest.inputs.append(n)
            rest.columns += columns
    return [*parts, rest] if rest.inputs else parts


def _upsampled(node: Node) -> bool:
    known = isinstance(node.op, Call) and node.op.kind.startswith("upsample_")
    return known and math.prod(node.shape) > math.prod(node.inputs[0].shape)


def _convolved(graph: Graph, node: Node, part: Part, number: int | None) -> Node:
    """The convolution's columns for a part, and the part's upsampling; the first has the bias."""
    source, conv = part.inputs[0], node.op
    if len(part.inputs) > 1:
        shape = (source.shape[0], len(part.columns), *source.shape[2:])
        join = Call("cat.default", [[Hole(i) for i in range(len(part.inputs))], 1])
        source = _put(graph, node, join, part.inputs, shape)
    own = conv.with_weights(
        conv.weight[:, part.columns],
        None if number else conv.bias,
        f"{conv.part}{'' if number is None else number}",
    )
    made = _put(graph, node, own, [source], (*node.shape[:2], *source.shape[2:]))
    if part.resize is None:
        return made
    resize = Call(part.resize.op.name, part.resize.op.args, part.resize.op.options)
    return _put(graph, node, resize, [made], node.shape, part.resize.role)


def _added(graph: Graph, node: Node, x: Node, y: Node) -> Node:
    return _put(graph, node, Call("add.Tensor", [Hole(0), Hole(1)]), [x, y], node.shape)


def _put(
    graph: Graph, node: Node, op: nn.Module, inputs: list[Node], shape: tuple[int, ...],
    role: str = "",
) -> Node:  # fmt: skip
    """A new node of the same module before `node`."""
    return graph.insert(Node(op, inputs, shape, node.path, role), before=node)
