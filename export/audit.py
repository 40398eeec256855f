"""The audit: what became int8 in a model file, what did not, and which module it comes from."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.backend import FORMS, backend_for
from export.bundle_parts import load_table, table_file
from export.graph import (
    CONV,
    DEPTHWISE,
    DEQUANTIZE,
    LINEAR,
    MATMUL,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    FileGraph,
    FileNode,
    FileTensor,
)
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.manifest import bundle_around
from quantization.params import ParameterTable

SCHEMA = "mobilemod/inspection/1"
WEIGHTED = (CONV, DEPTHWISE, LINEAR)
ATTENTION = re.compile(r"\.attn(\.|$)")
INT_DTYPES = ("int8", "uint8")
# Data movement and the change of number format say nothing about which kernel computes.
NOT_COMPUTE = (QUANTIZE, DEQUANTIZE, TRANSPOSE, RESHAPE, "constant", "flatten", "delegate")


@dataclass(frozen=True)
class FloatOp:
    """Ops of one kind that stayed float in one module."""

    op: str
    module: str
    count: int
    macs: int


@dataclass(frozen=True)
class Audit:
    """What `mobilemod inspect` finds out about one file.

    macs: multiply-accumulates of convolutions and linears; matmul_macs: of products of two
    activations. int8_share: the int8 part of `macs`, 0..1. partitions: delegate calls.
    outside: op -> count outside every delegate. quantized: where explicit quantize and dequantize
    stand, "producer > consumer" -> count of pairs. moves: transposes and reshapes outside
    attention, "op module" -> count.
    """

    file: str
    target: str
    bytes: int
    sha256: str
    macs: int
    int8_macs: int
    int8_share: float
    matmul_macs: int
    int8_matmul_macs: int
    partitions: int | None
    outside: dict[str, int]
    quantize_ops: int
    dequantize_ops: int
    transposes: int
    quantized: dict[str, int]
    moves: dict[str, int]
    ops: dict[str, int]
    float_ops: tuple[FloatOp, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values, with the schema's name."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


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
    zeros = tuple(zero_point) or (0,)
    # A per-channel weight's zero points are all 0; files differ in whether they spell them out.
    zeros = zeros[:1] if len(set(zeros)) == 1 else zeros
    return dtype(scale).tobytes(), zeros


def audit_graph(graph: FileGraph, path: Path, names: Names) -> Audit:
    """Audit of a file's graph; modules are named where `names` knows the parameters."""
    producer = {out: node for node in graph.nodes for out in node.outputs}
    modules = node_modules(graph, names)
    macs: Counter[bool] = Counter()
    matmul: Counter[bool] = Counter()
    floats: dict[tuple[str, str], list[int]] = defaultdict(list)
    for node in graph.nodes:
        int8 = _is_int8(node, graph, producer)
        if node.op in WEIGHTED:
            macs[int8] += node.macs
        elif node.op == MATMUL:
            matmul[int8] += node.macs
        if not int8 and node.op not in NOT_COMPUTE and _is_float(node, graph):
            floats[node.op, modules.get(node, "")].append(node.macs)
    total, ops = sum(macs.values()), Counter(n.op for n in graph.nodes)
    return Audit(
        file=path.name,
        target=graph.target,
        bytes=_size(path),
        sha256=file_sha256(path),
        macs=total,
        int8_macs=macs[True],
        int8_share=macs[True] / total if total else 0.0,
        matmul_macs=sum(matmul.values()),
        int8_matmul_macs=matmul[True],
        partitions=graph.partitions,
        outside=dict(Counter(n.op for n in graph.nodes if n.partition is None))
        if graph.partitions is not None
        else {},
        quantize_ops=ops[QUANTIZE],
        dequantize_ops=ops[DEQUANTIZE],
        transposes=ops[TRANSPOSE],
        quantized=_pairs(graph, producer),
        moves=dict(
            Counter(
                f"{n.op} {modules.get(n, '')}".strip()
                for n in graph.nodes
                if n.op in (TRANSPOSE, RESHAPE) and not ATTENTION.search(modules.get(n, ""))
            )
        ),
        ops=dict(ops.most_common()),
        float_ops=tuple(
            FloatOp(op, module, len(m), sum(m)) for (op, module), m in sorted(floats.items())
        ),
    )


def _pairs(graph: FileGraph, producer: dict[str, FileNode]) -> dict[str, int]:
    """Between which ops a value is quantized and dequantized again, the most frequent first."""
    readers: dict[str, list[FileNode]] = defaultdict(list)
    for node in graph.nodes:
        for name in node.inputs:
            readers[name].append(node)

    found: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op != QUANTIZE:
            continue
        made_by = producer.get(node.inputs[0])
        after = [n for n in readers[node.outputs[0]] if n.op == DEQUANTIZE]
        ops = sorted({reader.op for n in after for reader in readers[n.outputs[0]]})
        if ops:
            found[f"{made_by.op if made_by else 'input'} > {', '.join(ops)}"] += 1
    return dict(found.most_common())


def _is_int8(node: FileNode, graph: FileGraph, producer: dict[str, FileNode]) -> bool:
    """Whether the op computes on int8: its data (and weight) are int8, or dequantized from it."""
    data = list(node.inputs[:2]) if node.op in (*WEIGHTED, MATMUL) else list(node.inputs)
    seen = False
    for name in data:
        tensor = graph.tensors[name]
        if tensor.dtype in INT_DTYPES:
            seen = True
            continue
        if tensor.constant and node.op not in (*WEIGHTED, MATMUL):
            continue
        source = producer.get(name)
        if source is None or source.op != DEQUANTIZE:
            return False
        seen = True
    if not seen:
        return False
    # Between explicit pairs an op is int8 only when its result is quantized as well, but for
    # convolutions and linears: int8 operands alone select their integer kernel.
    if any(graph.tensors[o].dtype in INT_DTYPES for o in node.outputs) or node.op in WEIGHTED:
        return True
    uses = [n for n in graph.nodes if set(node.outputs) & set(n.inputs)]
    return bool(uses) and all(n.op == QUANTIZE for n in uses)


def _is_float(node: FileNode, graph: FileGraph) -> bool:
    return any(graph.tensors[o].dtype in ("float32", "float16") for o in node.outputs)


def node_modules(
    graph: FileGraph, names: Names, weights: dict[str, str] | None = None
) -> dict[FileNode, str]:
    """Each node's published module: its own weight's, else that of the next known tensor.

    A `.tflite` of ours says it itself: its tensors are named `module:role`. weights: names of
    constants that are known otherwise.
    """
    weights = weights or {}
    known = {name: weights.get(name) or names.find(t) for name, t in graph.tensors.items()}
    if graph.target == "tflite":
        known = {name: known[name] or (name if ":" in name else None) for name in known}
    downstream: dict[str, str] = {}
    modules: dict[FileNode, str] = {}
    for node in reversed(graph.nodes):
        weight = next((known[i] for i in node.inputs if (known[i] or "").endswith(":weight")), None)
        after = next((known[o] or downstream.get(o) for o in node.outputs), None)
        name = weight or after or ""
        if name:
            modules[node] = name.partition(":")[0]
        for i in node.inputs if name else ():
            downstream[i] = known[i] or name
    return modules


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def inspect_file(path: Path) -> Audit:
    """Audit of any `.pte`, `.tflite` or `.mlpackage`; modules are named from the bundle's tables.

    Raises `UserError` for a missing or unknown file.
    """
    if not path.exists():
        raise UserError(f"no such model file: {path}")
    return audit_graph(backend_for(path).read_graph(path), path, Names(tables_beside(path)))


def tables_beside(path: Path) -> list[ParameterTable]:
    """The parameter tables of the bundle that a model file lies in; none outside a bundle."""
    bundle = bundle_around(path)
    if bundle is None:
        return []
    return [load_table(bundle, form) for form in FORMS if table_file(form) in bundle.hashes]


def require_int8(audit: Audit, share: float) -> None:
    """`UserError` with module and remedy where less than `share` of conv and linear MACs is int8.

    share: 0..1, the recipe's `min_int8_share`.
    """
    if audit.int8_share >= share:
        return
    worst = max((f for f in audit.float_ops if f.op in WEIGHTED), key=lambda f: f.macs)
    module = worst.module or "(unnamed)"
    raise UserError(
        f"{audit.file}: only {audit.int8_share:.1%} of convolution and linear multiply-accumulates "
        f"are int8, the recipe asks {share:.0%}; "
        f"the largest float one is {module} ({worst.macs / 1e6:.1f} M); "
        f"make '{module}:weight' and the tensors beside it int8 in the recipe"
    )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} x{n}" for name, n in counts.items()) or "none"


def format_audit(audit: Audit) -> str:
    """The audit as text for a terminal."""
    lines = [
        f"{audit.file}  ({audit.target}, {audit.bytes / 1e6:.2f} MB, sha256 {audit.sha256[:12]})",
        f"  conv and linear MACs  {audit.macs / 1e6:8.1f} M, {audit.int8_share:.2%} int8",
        f"  attention matmul MACs {audit.matmul_macs / 1e6:8.1f} M, "
        f"{audit.int8_matmul_macs / max(1, audit.matmul_macs):.0%} int8",
        f"  quantize / dequantize {audit.quantize_ops} / {audit.dequantize_ops}",
        f"  transposes            {audit.transposes}",
        f"  moves outside attention  {_listed(audit.moves)}",
    ]
    if audit.quantized:
        lines.append("  pairs of quantize and dequantize between:")
        lines += [f"    {place:<40} x{count}" for place, count in audit.quantized.items()]
    if audit.partitions is not None:
        lines += [
            f"  delegate partitions   {audit.partitions}",
            f"  outside the delegate  {_listed(audit.outside)}",
        ]
    by_op: dict[str, list[FloatOp]] = defaultdict(list)
    for f in audit.float_ops:
        by_op[f.op].append(f)
    if by_op:
        lines.append("  ops in float:")
    for op, found in sorted(by_op.items(), key=lambda kv: -sum(f.count for f in kv[1])):
        where = sorted({f.module for f in found if f.module})
        shown = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        lines.append(f"    {op:<16} x{sum(f.count for f in found):<4} {shown}")
    return "\n".join(lines)
