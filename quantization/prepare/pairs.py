"""Pairs of layers that share a channel linearly, found from a canonical graph.

A convolution's output channel can be divided by a factor in its rows if every reader gives it
back: convolutions in their columns, the other side of a product of matrices in the rows that made
it. Everything between must be linear in the channel. So the channels' numbers are sent through
the graph in place of values: moves move them, products keep them, and where they arrive they say
which column holds which channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine, Call, MatMul, Rearrange, Repeat, Select, Tile

NONE = -1.0  # in place of a channel's number: a value that no channel scales
# Positively homogeneous: a positive factor passes.
HOMOGENEOUS = ("relu", "leaky_relu", "prelu", "abs", "neg")
# Within each channel of an image, whatever they do over positions.
PER_CHANNEL = (
    "mean", "sum", "avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "amax", "amin", "slice",
    "upsample_nearest2d", "upsample_bilinear2d", "constant_pad_nd",
)  # fmt: skip
MOVES = ("reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "slice", "index_select")


@dataclass(frozen=True)
class Reader:
    """A convolution that gives the factors back.

    channels: which of the pair's channels each of its inputs holds, -1 for none; with `rows`,
    each of its outputs.
    """

    module: str
    channels: tuple[int, ...]
    rows: bool = False


@dataclass(frozen=True)
class Pair:
    """A convolution whose output channels may be divided by factors, and those that multiply.

    tensor: the output, whose (C,) ranges decide. module: the convolution. full: fill every
    channel, not only bring outliers down; free where each reader holds a scale per channel too.
    """

    tensor: str
    module: str
    channels: int
    readers: tuple[Reader, ...]
    full: bool


@dataclass(frozen=True)
class _Product:
    """Where channels are summed over: a product of matrices, its operand, (matrices, K) numbers."""

    node: Node
    operand: int
    channels: Tensor


def find_pairs(graph: Graph) -> Iterator[Pair]:
    """All pairs of a named graph, in its order."""
    convs = list(graph.of(NamedConv2d))
    ends = {node: _ends(graph, node) for node in convs}
    wide = {n.op.module for n in convs if n.op.groups == n.op.in_channels > 1}
    products = {
        (end.node, end.operand): (node, end.channels)
        for node in convs
        for end in ends[node]
        if isinstance(end, _Product) and len(ends[node]) == 1
    }
    for node in convs:
        readers = [_answer(end, node, products) for end in ends[node]]
        found = tuple(r for r in readers if r is not None)
        if found and len(found) == len(readers):
            full = all(r.module in wide and not r.rows for r in found)
            yield Pair(node.tensor, node.op.module, node.op.out_channels, found, full)


def _answer(
    end: Reader | _Product, first: Node, products: dict[tuple[Node, int], tuple[Node, Tensor]]
) -> Reader | None:
    """Who gives the factors back; of a product the convolution that made its other operand."""
    if isinstance(end, Reader):
        return end
    other, theirs = products.get((end.node, 1 - end.operand), (first, end.channels))
    if other is first:
        return None
    held = dict.fromkeys(range(other.op.out_channels), NONE)
    for own, their in (
        torch.stack([end.channels.flatten(), theirs.flatten()], 1).unique(dim=0).tolist()
    ):
        if their == NONE or held[their] not in (NONE, own):
            return None
        held[their] = own
    return Reader(other.op.module, tuple(map(int, held.values())), rows=True)


def _ends(graph: Graph, first: Node) -> list[Reader | _Product]:
    """Where the channels of `first` arrive; nothing where some can't be given back."""
    found: list[Reader | _Product] = []
    start = torch.arange(first.op.out_channels, dtype=torch.float32)
    seen = {first: start[:, None, None].expand(first.shape)}
    for node in graph.nodes[graph.nodes.index(first) + 1 :]:
        inputs = [seen.get(n) for n in node.inputs]
        if all(x is None for x in inputs):
            continue
        if isinstance(node.op, NamedConv2d):
            columns = _per_channel(inputs[0])
            result = (
                None if columns is None else Reader(node.op.module, tuple(columns.int().tolist()))
            )
        else:
            result = _passed(node, inputs)
        if result is None:
            return []
        if isinstance(result, Tensor):
            seen[node] = result
        else:
            found.append(result)
    return [] if graph.output in seen else found


def _passed(node: Node, inputs: Sequence[Tensor | None]) -> Tensor | _Product | None:
    """Which channel's factor each value of a node has; None where it isn't linear in them."""
    op = node.op
    if isinstance(op, Call) and op.kind == "cat":
        return op(
            *(_unscaled(n) if x is None else x for n, x in zip(node.inputs, inputs, strict=True))
        )
    if sum(x is not None for x in inputs) > 1:
        return None
    at = next(i for i, x in enumerate(inputs) if x is not None)
    x = inputs[at]
    if isinstance(op, MatMul):
        return _multiplied(node, at, x)
    if isinstance(op, Tile):
        return op(x, _unscaled(node.inputs[1])) if at == 0 else _unscaled(node)
    if isinstance(op, Rearrange | Repeat | Select):
        return op(x)
    if isinstance(op, Affine):
        return x if op.shift is None else None
    return _called(node, at, x) if isinstance(op, Call) else None


def _called(node: Node, at: int, x: Tensor) -> Tensor | None:
    op: Call = node.op  # type: ignore[assignment]
    if op.kind in HOMOGENEOUS and at == 0:
        return x
    if op.kind == "mul" or (op.kind == "div" and at == 0):
        return x.expand(node.shape)
    if op.kind in PER_CHANNEL and len(node.shape) == x.ndim == 4 and node.shape[1] == x.shape[1]:
        columns, zero = _per_channel(x), op.kind != "constant_pad_nd" or not any(op.args[2:])
        return columns[:, None, None].expand(node.shape) if columns is not None and zero else None
    return op(x) if op.kind in MOVES else None


def _multiplied(node: Node, operand: int, x: Tensor) -> Tensor | _Product | None:
    """Channels along rows or columns stay apart; along what is summed over they end here."""
    summed = 1 if operand else 2  # of an operand as it is multiplied, (matrices, rows, columns)
    x = x.transpose(1, 2) if node.op.transposed[operand] else x
    first = x.narrow(summed, 0, 1)
    if bool((x == first).all()):
        return first.expand(node.shape)
    kept = x.select(3 - summed, 0)
    return _Product(node, operand, kept) if bool((x == kept.unsqueeze(3 - summed)).all()) else None


def _per_channel(x: Tensor) -> Tensor | None:
    """(C,) of an image whose channels hold one number each, else None."""
    columns = x[0, :, 0, 0] if x.ndim == 4 else None
    if columns is None or not bool((x == columns[:, None, None]).all()):
        return None
    return columns


def _unscaled(node: Node) -> Tensor:
    return torch.full((1,), NONE).expand(node.shape)
