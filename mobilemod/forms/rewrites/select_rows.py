"""A convolution whose result is only read in pieces becomes a convolution a piece: q, k and v."""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Select


def select_rows(graph: Graph) -> int:
    """Give every `Select` of a convolution that nothing else reads its rows as its own layer."""
    users, count = graph.users(), 0
    for node in graph.of(NamedConv2d):
        conv, readers = node.op, users[node]
        if node is graph.output or not readers or conv.groups != 1:
            continue
        if not all(isinstance(r.op, Select) for r in readers):
            continue
        if sum(len(r.op.index) for r in readers) > conv.out_channels:
            continue
        for number, reader in enumerate(readers):
            part = str(number) if len(readers) > 1 else ""
            graph.drop(reader, graph.insert(_piece(node, reader, part), before=reader))
        count += 1
    return count


def _piece(node: Node, reader: Node, part: str) -> Node:
    conv, index = node.op, list(reader.op.index)
    bias = None if conv.bias is None else conv.bias[index]
    own = NamedConv2d(conv.module, part, conv.weight[index], bias, stride=conv.stride,
                      padding=conv.padding, dilation=conv.dilation)  # fmt: skip
    return Node(own, list(node.inputs), reader.shape, node.path, node.role)
