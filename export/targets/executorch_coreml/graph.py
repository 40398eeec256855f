"""The graph of a `.pte` with Core ML's delegate, whose ML program is one partition of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.graph import FileGraph
from export.targets.coreml import graph as coreml
from export.targets.executorch.reader import read_pte
from export.targets.executorch_coreml.payload import opened_package
from mobilemod.errors import UserError
from mobilemod.targets.executorch_coreml import FACTS


def read_graph(path: Path) -> FileGraph:
    """The file's graph: the program's ops in the partition that calls them, kernels of ExecuTorch
    outside; `UserError` where it is damaged."""
    file = read_pte(path)
    with opened_package(path, file) as package:
        inner = coreml.read_graph(package)
    outer, (call,) = file.graph, file.opaque
    place = next(i for i, n in enumerate(outer.nodes) if n.partition == call)
    edges, given = (*inner.inputs, *inner.outputs), outer.nodes[place].inputs
    if len(edges) != len(given):
        raise UserError(
            f"{path}: damaged: the delegate is called with {len(given)} tensors, its program has "
            f"{len(edges)}; export it again"
        )
    outside = dict(zip(edges, given, strict=True))
    names = {name: outside.get(name, f"p{call}.{name}") for name in inner.tensors}
    within = {names[n]: replace(t, name=names[n]) for n, t in inner.tensors.items()}
    nodes = (
        replace(
            node,
            inputs=tuple(names[n] for n in node.inputs),
            outputs=tuple(names[n] for n in node.outputs),
            partition=call,
        )
        for node in inner.nodes
    )
    return replace(
        outer,
        target=FACTS.name,
        tensors=within | outer.tensors,
        nodes=(*outer.nodes[:place], *nodes, *outer.nodes[place + 1 :]),
        opaque={},
        notes=outer.notes + inner.notes,
    )
