"""Which of the network's modules an op of a file is of, and what stands outside the delegates."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.graph import FileGraph, FileNode, FileTensor
from quantization.params import ParameterTable

OWN_NAME = re.compile(r":\D")  # other converters write "name:0"


@dataclass(frozen=True)
class Outside:
    """What a module has outside every delegate: op -> count; cuts: between how many partitions."""

    ops: dict[str, int]
    cuts: int


class Names:
    """Finds the published tensor behind a file's tensor, by its quantization parameters."""

    def __init__(self, tables: list[ParameterTable]):
        self.by_params: dict[tuple, str] = {}
        for table in tables:
            for entry in table.entries.values():
                if entry.source not in table.entries:
                    for half in (False, True):
                        key = _key(entry.scale, entry.zero_point, half)
                        self.by_params.setdefault(key, entry.tensor)

    def find(self, tensor: FileTensor) -> str | None:
        """The table's name of `tensor`, or None."""
        if not tensor.scale:
            return None
        return self.by_params.get(_key(tensor.scale, tensor.zero_point, False)) or (
            self.by_params.get(_key(tensor.scale, tensor.zero_point, True))
        )


def _key(scale: tuple[float, ...], zero_point: tuple[int, ...], half: bool) -> tuple:
    dtype = np.float16 if half else np.float32
    with np.errstate(over="ignore"):
        scales = dtype(scale)
    zeros = tuple(zero_point) or (0,)
    # A per-channel weight's zero points are all 0; files differ in whether they spell them out.
    zeros = zeros[:1] if len(set(zeros)) == 1 else zeros
    return scales.tobytes(), zeros


def node_modules(
    graph: FileGraph, names: Names, weights: dict[str, str] | None = None
) -> dict[FileNode, str]:
    """Each node's published module: its own weight's, else that of the next known tensor.

    Where the file says it itself, of a node or by names (`module:role`), that goes before. weights:
    names of constants that are known otherwise.
    """
    weights = weights or {}
    known = {name: weights.get(name) or names.find(t) for name, t in graph.tensors.items()}
    if graph.facts.named:
        known = {name: known[name] or (name if OWN_NAME.search(name) else None) for name in known}
    downstream: dict[str, str] = {}
    modules: dict[FileNode, str] = {}
    for node in reversed(graph.nodes):
        weight = next((known[i] for i in node.inputs if (known[i] or "").endswith(":weight")), None)
        after = next((known[o] or downstream.get(o) for o in node.outputs), None)
        name = node.module or weight or after or ""
        if name:
            modules[node] = name.partition(":")[0]
        for i in node.inputs if name else ():
            downstream[i] = known[i] or name
    # What stands behind all that is named is of what it works on.
    makers = {out: node for node in graph.nodes for out in node.outputs}
    for node in graph.nodes:
        before = [modules[makers[i]] for i in node.inputs if makers.get(i) in modules]
        if before:
            modules.setdefault(node, before[0])
    return modules


def outside(graph: FileGraph, modules: dict[FileNode, str]) -> dict[str, Outside]:
    """What each module has outside every delegate, and how often that ends a partition."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    cuts: Counter[str] = Counter()
    before, between = None, set()
    for node in graph.nodes if graph.partitions is not None else ():
        if node.partition is None:
            module = modules.get(node, "")
            found[module][node.op] += 1
            between.add(module)
            continue
        if before not in (None, node.partition):
            cuts.update(between)
        before, between = node.partition, set()
    return {m: Outside(dict(ops), cuts[m]) for m, ops in found.items()}


def outside_lines(
    modules: dict[str, Outside], reasons: Mapping[str, str] | None = None
) -> list[str]:
    """What each module has outside the delegate, a line each, those that cut it most first.

    reasons: why the delegate doesn't take an op, as the target says it.
    """
    lines = []
    for module, outside in sorted(modules.items(), key=lambda m: -m[1].cuts):
        cuts = f", between {outside.cuts + 1} partitions" if outside.cuts else ""
        why = dict.fromkeys(r for op, r in (reasons or {}).items() if op in outside.ops)
        said = "".join(f"; {reason}" for reason in why)
        lines.append(f"{module or '(unnamed)'}: {listed(outside.ops)}{cuts}{said}")
    return lines


def listed(counts: dict[str, int]) -> str:
    """Names with their counts, or "none"."""
    return ", ".join(f"{name} x{n}" for name, n in counts.items()) or "none"
