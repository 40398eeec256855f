"""Every other row and column becomes a convolution: delegates take no strided slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Call

POSITIONS = (2, 3)  # the dimensions of rows and columns


@dataclass(frozen=True)
class Strided:
    """Rows and columns `start`, `start + step`, … of the image `source`, to its end."""

    source: Node
    start: tuple[int, int]
    step: tuple[int, int]


def strided(node: Node) -> Strided | None:
    """What a node is, by one slice along rows, one along columns, or both; None for all else."""
    found: dict[int, tuple[int, int]] = {}
    while isinstance(node.op, Call) and node.op.name == "slice.Tensor" and len(node.shape) == 4:
        _, dim, start, end, *step = (*node.op.args, 1)
        size = node.inputs[0].shape[dim]
        whole = len(range(start, end, step[0])) == len(range(start, size, step[0]))
        if dim not in POSITIONS or dim in found or start >= step[0] or not whole:
            break
        found[dim] = start, step[0]
        node = node.inputs[0]
    if all(step == 1 for _, step in found.values()):
        return None
    rows, columns = (found.get(dim, (0, 1)) for dim in POSITIONS)
    return Strided(node, (rows[0], columns[0]), (rows[1], columns[1]))


def slices_as_convolutions(graph: Graph) -> int:
    """1x1 convolutions that read a slice from row and column 0 on stride over the image themselves;
    for all other readers the slice is a depthwise convolution with a single weight of 1."""
    count = 0
    for node in reversed(list(graph.of(Call))):
        readers, found = graph.users()[node], strided(node)
        if found is None or not (readers or node is graph.output):
            continue
        if all(strided(r) for r in readers) and node is not graph.output:
            continue  # half of a slice along both
        for reader in readers:
            if _takes_stride(reader, found):
                conv = reader.op
                reader.op = conv.with_weights(conv.weight, conv.bias, stride=_product(conv, found))
                reader.inputs = [found.source]
        if node is graph.output or graph.users()[node]:
            graph.replace(node, graph.insert(_convolution(graph, node, found), before=node))
        count += 1
    return count


def _takes_stride(reader: Node, found: Strided) -> bool:
    conv = reader.op
    if not isinstance(conv, NamedConv2d) or any(found.start):
        return False
    return conv.kernel_size == (1, 1) and not any(conv.padding)


def _product(conv: NamedConv2d, found: Strided) -> tuple[int, int]:
    return conv.stride[0] * found.step[0], conv.stride[1] * found.step[1]


def _convolution(graph: Graph, node: Node, found: Strided) -> Node:
    channels = node.shape[1]
    rows, columns = found.start
    weight = torch.zeros(channels, 1, rows + 1, columns + 1)
    weight[:, :, rows, columns] = 1
    used = [n.op.part for n in graph.of(NamedConv2d) if n.op.module == node.path]
    part = _unused("slice", used)
    conv = NamedConv2d(node.path, part, weight, None, stride=found.step, groups=channels)
    return Node(conv, [found.source], node.shape, node.path, node.role)


def _unused(name: str, used: Sequence[str]) -> str:
    number = 0
    while (unique := f"{name}{number or ''}") in used:
        number += 1
    return unique
