"""Modules as graphs of the compiler, and whether a rewrite changed what they compute."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mobilemod.forms.capture import capture
from mobilemod.forms.graph import Graph
from mobilemod.forms.layout.translate import known_ops, translate


class Lambda(nn.Module):
    """A function of an image and of layers."""

    def __init__(self, function: Callable, **layers: nn.Module):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def graph_of(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """`module` on two images of (C, H, W); nothing may be left as it was."""
    graph, left = translate(capture(module, (2, *shape), known_ops()))
    assert not left
    return graph


@torch.no_grad()
def rewritten(
    function: Callable, shape: tuple[int, ...], *passes: Callable[[Graph], int], **layers: nn.Module
) -> tuple[Graph, int]:
    """The graph after passes, which computes the same as `function(layers, x)`; how often they
    found something."""
    torch.manual_seed(0)
    module = Lambda(function, **layers).eval()
    graph = graph_of(module, shape)
    count = 0
    for apply in passes:
        count += apply(graph)
        graph.prune()
    for batch in (1, 3):
        x = torch.randn(batch, *shape)
        expected = module(x)
        limit = 1e-5 * float(expected.abs().max())
        assert float((graph.run(x) - expected).abs().max()) <= limit
    return graph, count


def kinds(graph: Graph) -> list[str]:
    """The ops in order, without the input."""
    return [getattr(n.op, "kind", type(n.op).__name__) for n in graph.nodes[1:]]
