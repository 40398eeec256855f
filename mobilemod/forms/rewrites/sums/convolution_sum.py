"""Two convolutions of one image that are added are one: their kernels are added.

So is a strided slice that is added to a depthwise one (EfficientFormerV2's downsampling attention),
and so are two heads whose answers are averaged.
"""

from __future__ import annotations

import torch

from mobilemod.forms.graph import Graph
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Call


def add_convolutions(graph: Graph) -> int:
    """Put the smaller kernel into the larger one, where all its taps lie on taps of that."""
    count = 0
    for node in graph.of(Call):
        if node.op.name != "add.Tensor" or len(node.inputs) != 2 or node.op.options:
            continue
        users = graph.users()
        if any(len(users[n]) > 1 or not isinstance(n.op, NamedConv2d) for n in node.inputs):
            continue
        large, small = sorted(node.inputs, key=lambda n: -n.op.weight[0].numel())
        places = _places(large.op, small.op)
        same = large.inputs == small.inputs and large.shape == small.shape
        alike = large.op.stride == small.op.stride and large.op.groups == small.op.groups
        if not same or not alike or places is None:
            continue
        large.op = _sum(large.op, small.op, places)
        graph.drop(node, large)
        count += 1
    return count


def _places(large: NamedConv2d, small: NamedConv2d) -> list[list[int]] | None:
    """The rows and the columns of `large` at which `small` has its own; None where it has none."""
    places: list[list[int]] = []
    for dim in (0, 1):
        shift = large.padding[dim] - small.padding[dim]
        offsets = [shift + i * small.dilation[dim] for i in range(small.kernel_size[dim])]
        found = [offset // large.dilation[dim] for offset in offsets]
        apart = any(offset % large.dilation[dim] for offset in offsets)
        if apart or found[0] < 0 or found[-1] >= large.kernel_size[dim]:
            return None
        places.append(found)
    return places


def _sum(large: NamedConv2d, small: NamedConv2d, places: list[list[int]]) -> NamedConv2d:
    rows, columns = places
    weight = large.weight.detach().clone()
    weight[:, :, torch.tensor(rows)[:, None], torch.tensor(columns)] += small.weight.detach()
    biases = [conv.bias.detach() for conv in (large, small) if conv.bias is not None]
    return large.with_weights(weight, sum(biases) if biases else None)
