"""The first op of a program that a runtime computes otherwise, for files that can't be opened.

The program is lowered again with the results of some of its ops as its output, then with those
between the last that is right and the first that isn't, until they stand side by side.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx, nn

from export.targets.base import ModelInfo, common_path
from export.targets.comparison import how_they_part, references
from export.targets.target import Target

PROBES = 24
# Ops that only move values or change their format.
MOVES = (
    "alias", "clone", "contiguous", "detach", "detach_", "expand", "flatten", "permute", "reshape",
    "select", "slice", "squeeze", "t", "to", "transpose", "unsqueeze", "view", "getitem",
    "dequantize_per_tensor", "dequantize_per_channel",
)  # fmt: skip


class Probed(nn.Module):
    """A program's graph with the results of `nodes` as its output, (1, N)."""

    def __init__(self, whole: fx.GraphModule, nodes: list[fx.Node]):
        super().__init__()
        graph, copies = fx.Graph(), {}
        graph.graph_copy(whole.graph, copies)
        flat = [graph.call_method("reshape", (copies[n], 1, -1)) for n in nodes]
        graph.output(graph.call_function(torch.cat, (flat, 1)))
        self.network = fx.GraphModule(whole, graph)
        for node in self.network.graph.find_nodes(op="call_module"):
            self.network.graph.erase_node(node)  # torch's guards on the input
        self.network.graph.eliminate_dead_code()
        self.network.recompile()
        self.num_classes = sum(n.meta["val"].numel() for n in nodes)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def first_op(
    target: Target, info: ModelInfo, program: nn.Module, image: np.ndarray, *, int8: bool
) -> str | None:
    """The module and the op that part first on `image`, float32 (1, 3, H, W); None where none does.

    It takes a lowering or two. int8: as `Target.lower` is told.
    """
    with torch.no_grad():
        whole = torch.export.export(program.eval(), (torch.from_numpy(image),)).module()
    nodes = _computing(whole.graph)
    while nodes:
        step = -(-len(nodes) // PROBES)
        chosen = nodes[::-step][::-1]
        bad = _first_wrong(target, info, Probed(whole, chosen), chosen, image, int8)
        if bad is None:
            return None
        if step == 1:
            return _in_words(chosen[bad], program)
        end = nodes.index(chosen[bad]) + 1
        nodes = nodes[max(end - step, 0) : end]
    return None


def _computing(graph: fx.Graph) -> list[fx.Node]:
    """The ops that compute real values from the image."""
    moving, found = set(graph.find_nodes(op="placeholder")), []
    for node in graph.nodes:
        if moving.isdisjoint(node.all_input_nodes):
            continue
        moving.add(node)
        value = node.meta.get("val")
        real = isinstance(value, Tensor) and value.is_floating_point()
        if node.op == "call_function" and real and _op(node) not in MOVES:
            found.append(node)
    return found


def _first_wrong(
    target: Target,
    info: ModelInfo,
    probed: Probed,
    nodes: list[fx.Node],
    image: np.ndarray,
    int8: bool,
) -> int | None:
    """The place among `nodes` of the first whose values in the file aren't the program's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"probed{target.facts.suffix}"
        target.lower(probed, info, path, int8=int8)
        found = target.load(path).run_many(image)
    expected, shaken = references(probed, image)
    ends = np.cumsum([n.meta["val"].numel() for n in nodes])[:-1]
    parts = [np.split(values, ends, 1) for values in (expected, found, *shaken)]
    for i, (own, other, *noise) in enumerate(zip(*parts, strict=True)):
        if how_they_part(own, other, noise) is not None:
            return i
    return None


def _op(node: fx.Node) -> str:
    """ "softmax" of aten.softmax.int."""
    return node.target.__name__.partition(".")[0]


def _in_words(node: fx.Node, program: nn.Module) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    paths = [path for path, _ in stack if path]
    # The network's module where its tensors are named, else the program's.
    module = (common_path(program.get_submodule(paths[-1])) or paths[-1]) if paths else ""
    return f"{module} ({_op(node)})" if module else _op(node)
