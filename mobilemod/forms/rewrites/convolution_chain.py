"""A 1x1 convolution right after a convolution goes into it: their kernels are multiplied."""

from __future__ import annotations

import torch

from mobilemod.forms.graph import Graph
from mobilemod.forms.mobile_ops import NamedConv2d


def merge_chains(graph: Graph) -> int:
    """Where nothing else reads what is between, and the product has no more to compute."""
    count = 0
    for node in graph.of(NamedConv2d):
        before = node.inputs[0]
        if not isinstance(before.op, NamedConv2d) or len(graph.users()[before]) > 1:
            continue
        first, second = before.op, node.op
        if is_pointwise(second) and first.groups == 1 and _pays(first, second):
            before.op, before.shape = _product(first, second), node.shape
            graph.drop(node, before)
            count += 1
    return count


def is_pointwise(conv: NamedConv2d) -> bool:
    """Whether each result is made of all channels at one position, which is its own."""
    plain = conv.groups == 1 and not any(conv.padding)
    return plain and conv.kernel_size == conv.stride == (1, 1)


def _pays(first: NamedConv2d, second: NamedConv2d) -> bool:
    one = second.out_channels * first.weight[0].numel()
    return one <= first.weight.numel() + second.weight.numel()


def _product(first: NamedConv2d, second: NamedConv2d) -> NamedConv2d:
    matrix = second.weight.detach().double().flatten(1)
    weight = torch.einsum("om,mixy->oixy", matrix, first.weight.detach().double())
    bias = None if second.bias is None else second.bias.detach().double()
    if first.bias is not None:
        moved = matrix @ first.bias.detach().double()
        bias = moved if bias is None else bias + moved
    return first.with_weights(weight.float(), None if bias is None else bias.float())
