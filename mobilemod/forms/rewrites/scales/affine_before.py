"""A scale and shift goes into all convolutions after it: a norm's, a batch norm's before a linear.

Where a convolution pads with zeros, only a scale does: a shift isn't there in the padding.
"""

from __future__ import annotations

import torch

from mobilemod.forms.graph import Graph
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine


def fold_into_readers(graph: Graph) -> int:
    """Multiply the columns of every convolution that reads the scale, if nothing else reads it."""
    count = 0
    for node in graph.of(Affine):
        readers = graph.users()[node]
        if node is graph.output or not readers:
            continue
        if not all(_takes(r.op, node.op) for r in readers):
            continue
        for reader in readers:
            reader.op = _scaled(reader.op, node.op)
        graph.drop(node, node.inputs[0])
        count += 1
    return count


def _takes(op: object, affine: Affine) -> bool:
    if not isinstance(op, NamedConv2d):
        return False
    return affine.shift is None or not any(op.padding)


def _scaled(conv: NamedConv2d, affine: Affine) -> NamedConv2d:
    channels, groups = conv.in_channels, conv.groups
    scale = affine.scale.expand(channels)
    weight = conv.weight.detach().double()
    # Row r reads the channels of its group: (out, in / groups) of scale and shift.
    width = channels // groups
    rows = torch.arange(conv.out_channels) // (conv.out_channels // groups)
    bias = None if conv.bias is None else conv.bias.detach().double()
    if affine.shift is not None:
        columns = affine.shift.expand(channels).reshape(groups, width)[rows]
        shift = (weight.sum((2, 3)) * columns).sum(1)
        bias = shift if bias is None else bias + shift
    weight = weight * scale.reshape(groups, width)[rows][:, :, None, None]
    return conv.with_weights(weight.float(), None if bias is None else bias.float())
