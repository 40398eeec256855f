"""A scale and shift goes into the convolution before it: batch norm, layer scale, scores' scale."""

from __future__ import annotations

import torch

from mobilemod.forms.graph import Graph
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Affine


def fold_into_producer(graph: Graph) -> int:
    """Multiply the rows of a convolution that only the scale reads, and its bias."""
    users, count = graph.users(), 0
    for node in graph.of(Affine):
        before = node.inputs[0]
        if not isinstance(before.op, NamedConv2d) or len(users[before]) > 1:
            continue
        conv, affine = before.op, node.op
        scale = affine.scale.expand(conv.out_channels)
        bias = torch.zeros(conv.out_channels, dtype=torch.float64)
        if conv.bias is not None:
            bias = conv.bias.detach().double() * scale
        if affine.shift is not None:
            bias = bias + affine.shift
        has_bias = conv.bias is not None or affine.shift is not None
        weight = conv.weight.detach().double() * scale[:, None, None, None]
        before.op = conv.with_weights(weight.float(), bias.float() if has_bias else None)
        graph.drop(node, before)
        users = graph.users()
        count += 1
    return count
