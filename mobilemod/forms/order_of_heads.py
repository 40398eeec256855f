"""The order of attention's heads where images lie channels first: matrices (features, positions).

The canonical form's matrices are (positions, features), which an image in channels-last memory
already is. Where memory is channels-first, the other order is, and no value has to move.
"""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.ops import MatMul, Rearrange


def turn_heads(graph: Graph) -> int:
    """Turn the matrices whose transposes need no move, on both sides of their products."""
    users, count = graph.users(), 0
    for node in graph.of(Rearrange):
        if len(node.op.target) == 3 and all(isinstance(r.op, MatMul) for r in users[node]):
            turned = _turned(node.op.target)
            if _flat(node.op.source) == _flat(turned) and users[node]:
                node.op = Rearrange(node.op.sizes, node.op.source, turned)
                node.shape = _turned(node.shape)
                for reader in dict.fromkeys(users[node]):
                    reader.op = MatMul(tuple(
                        t != (n is node)
                        for t, n in zip(reader.op.transposed, reader.inputs, strict=True)
                    ))  # fmt: skip
                count += 1
    for node in graph.of(MatMul):
        readers = users[node]
        if readers and all(_takes(r) for r in readers):
            first, second = node.op.transposed
            node.op = MatMul((not second, not first))
            node.inputs.reverse()
            node.shape = _turned(node.shape)
            for reader in readers:
                op = reader.op
                reader.op = Rearrange(op.sizes, _turned(op.source), op.target)
            count += 1
    return count


def _takes(reader: Node) -> bool:
    op = reader.op
    return isinstance(op, Rearrange) and _flat(_turned(op.source)) == _flat(op.target)


def _turned(dims: tuple) -> tuple:
    return (dims[0], dims[2], dims[1])


def _flat(dims: tuple) -> tuple:
    return tuple(a for dim in dims for a in dim)
