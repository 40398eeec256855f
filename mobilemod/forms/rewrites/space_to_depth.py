"""Strided slices of an image, all of them, after one another in its channels: one rearrangement."""

from __future__ import annotations

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.ops import Call, Rearrange
from mobilemod.forms.rewrites.strided_slice import strided

BATCH, CHANNELS, ROWS, ROW, COLUMNS, COLUMN = range(6)  # ROW, COLUMN: within a patch


def space_to_depth(graph: Graph) -> int:
    """A join of x[:, :, i::s, j::t] for all i and j, rows first or columns first (Swin's merging of
    patches), moves (B, C, H, W) to (B, s t C, H / s, W / t)."""
    count = 0
    for node in graph.of(Call):
        move = _move(node)
        if move is not None:
            node.op, node.inputs, node.role = *move, "moved"
            count += 1
    return count


def _move(node: Node) -> tuple[Rearrange, list[Node]] | None:
    op = node.op
    if not isinstance(op, Call) or op.kind != "cat" or len(node.shape) != 4 or op.args[1] != 1:
        return None
    parts = [strided(n) for n in node.inputs]
    if None in parts or len({(p.source, p.step) for p in parts}) != 1:
        return None
    source, (s, t) = parts[0].source, parts[0].step
    starts = [p.start for p in parts]
    rows_first = [(i, j) for i in range(s) for j in range(t)]
    columns_first = [(i, j) for j in range(t) for i in range(s)]
    if source.shape[2] % s or source.shape[3] % t or starts not in (rows_first, columns_first):
        return None
    outer = [ROW, COLUMN] if starts == rows_first else [COLUMN, ROW]
    _, channels, height, width = source.shape
    move = Rearrange(
        [0, channels, height // s, s, width // t, t],
        [[BATCH], [CHANNELS], [ROWS, ROW], [COLUMNS, COLUMN]],
        [[BATCH], [*outer, CHANNELS], [ROWS], [COLUMNS]],
    )
    return move, [source]
