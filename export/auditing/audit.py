"""The audit: what became int8 in a model file, what did not, and which module it comes from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.auditing.modules import Names, Outside, node_modules, outside
from export.graph import (
    DEQUANTIZE,
    MATMUL,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    WEIGHTED,
    FileGraph,
    FileNode,
)
from export.number_formats import FLOAT, INT8, OTHER, GraphIndex, NumberFormats
from export.tables import load_tables
from export.targets.target import target_of_file
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.manifest import bundle_around
from quantization.params import ParameterTable

SCHEMA = "mobilemod/inspection/1"
# What only hands a value on to the next op that computes.
HANDED_ON = (QUANTIZE, DEQUANTIZE, TRANSPOSE, RESHAPE)
MEAN = "mean as convolution"
MOST_MACS = 10**20  # no processor gets through more
# What only files of other exporters have: left out of a bundle's manifest.
OTHERS_FIGURES = (
    "weight_dequantize_ops", "formats", "mixed", "unknown_work", "opaque", "methods", "notes",
)  # fmt: skip
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
class Inspection:
    """What `mobilemod inspect` finds out about one file.

    macs: multiply-accumulates of convolutions, linears and recurrent layers; mean_macs: of those
    convolutions that only take a mean, which are in no other figure; matmul_macs: of
    products of two activations. int8_share: the part of `macs` with int8 activations and weights,
    0..1, None where a delegate that can't be looked into hides some. partitions: delegate calls,
    None where none is known. outside: op -> count outside every delegate; outside_modules: module
    -> its share of these, "" for what none is known of. quantize_ops,
    dequantize_ops: of activations; weight_dequantize_ops: those that only unpack a stored weight.
    quantized: where explicit quantize and dequantize stand, "producer > consumer" -> count of
    pairs. moves: transposes and reshapes that are not around a product of activations, as in
    attention, "op module" -> count. formats: number
    format -> `macs` in it. mixed: number format that is neither int8 nor float -> op -> count.
    unknown_work: op -> count, where no multiply-accumulates could be told. opaque: delegates that
    can't be looked into -> calls. methods: method -> its macs, where there are several. notes:
    what to know about the figures.
    """

    file: str
    target: str
    bytes: int
    sha256: str
    macs: int
    int8_macs: int
    int8_share: float | None
    mean_macs: int
    matmul_macs: int
    int8_matmul_macs: int
    partitions: int | None
    outside: dict[str, int]
    outside_modules: dict[str, Outside]
    quantize_ops: int
    dequantize_ops: int
    weight_dequantize_ops: int
    transposes: int
    quantized: dict[str, int]
    moves: dict[str, int]
    ops: dict[str, int]
    float_ops: tuple[FloatOp, ...]
    formats: dict[str, int]
    mixed: dict[str, dict[str, int]]
    unknown_work: dict[str, int]
    opaque: dict[str, int]
    methods: dict[str, int]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values, with the schema's name."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def audit_graph(graph: FileGraph, path: Path, names: Names) -> Inspection:
    """Of a file's graph; modules are named where `names` knows the parameters."""
    modules = node_modules(graph, names)
    formats = NumberFormats(graph)
    macs: Counter[str] = Counter()
    int8: Counter[bool] = Counter()  # whether a product of activations -> int8 MACs
    totals: Counter[bool] = Counter()
    methods: Counter[str] = Counter()
    means = 0
    floats: dict[tuple[str, str], list[int]] = defaultdict(list)
    mixed: dict[str, Counter[str]] = defaultdict(Counter)
    for node in graph.nodes:
        kind, words = formats.of(node)
        mean = formats.index.takes_mean(node)
        if mean:
            means += node.macs
        elif node.op in (*WEIGHTED, MATMUL):
            product = formats.index.is_product(node)
            totals[product] += node.macs
            int8[product] += node.macs if kind == INT8 else 0
            macs[words] += 0 if product else node.macs
            methods[node.method] += node.macs
        if node.op not in NOT_COMPUTE:
            if kind == FLOAT:
                floats[MEAN if mean else node.op, modules.get(node, "")].append(node.macs)
            elif kind not in (INT8, OTHER):
                mixed[words][node.op] += 1
    if totals.total() > MOST_MACS:
        power = len(str(totals.total())) - 1
        raise UserError(f"{path}: damaged: its shapes make 10^{power} operations")
    total, ops = totals[False], Counter(n.op for n in graph.nodes)
    unpacking = sum(formats.index.dequantizes_weights(n) for n in graph.nodes)
    # Where there are means alone, nothing is left to be int8.
    share = int8[False] / total if total else float(means > 0)
    return Inspection(
        file=path.name,
        target=graph.target,
        bytes=_size(path),
        sha256=file_sha256(path),
        macs=total,
        int8_macs=int8[False],
        int8_share=None if graph.opaque else share,
        mean_macs=means,
        matmul_macs=totals[True],
        int8_matmul_macs=int8[True],
        partitions=graph.partitions,
        outside=dict(Counter(n.op for n in graph.nodes if n.partition is None))
        if graph.partitions is not None
        else {},
        outside_modules=outside(graph, modules),
        quantize_ops=ops[QUANTIZE],
        dequantize_ops=ops[DEQUANTIZE] - unpacking,
        weight_dequantize_ops=unpacking,
        transposes=ops[TRANSPOSE],
        quantized=_pairs(formats.index),
        moves=dict(
            Counter(
                f"{n.op} {modules.get(n, '')}".strip()
                for n in graph.nodes
                if n.op in (TRANSPOSE, RESHAPE) and not around_product(formats.index, n)
            )
        ),
        ops=dict(ops.most_common()),
        float_ops=tuple(
            FloatOp(op, module, len(m), sum(m)) for (op, module), m in sorted(floats.items())
        ),
        formats={words: count for words, count in macs.most_common() if count},
        mixed={words: dict(found.most_common()) for words, found in sorted(mixed.items())},
        unknown_work=dict(Counter(n.op for n in graph.nodes if not n.known).most_common()),
        opaque=dict(graph.opaque),
        methods={m: methods[m] for m in graph.methods} if len(graph.methods) > 1 else {},
        notes=graph.notes,
    )


def around_product(index: GraphIndex, move: FileNode) -> bool:
    """Whether `move` only brings an input to a product of activations, or its result away."""
    nodes, before, seen = index.graph.nodes, move, set()
    while before.op in HANDED_ON and before.inputs:
        made_by = index.made_by(before.inputs[0])
        if made_by is None:
            break
        before = made_by
    after = list(move.outputs)
    while after:
        name = after.pop()
        for i in set(index.readers.get(name, ())) - seen:
            seen.add(i)
            if index.is_product(nodes[i]):
                return True
            after += nodes[i].outputs if nodes[i].op in HANDED_ON else ()
    return index.is_product(before)


def _pairs(index: GraphIndex) -> dict[str, int]:
    """Between which ops a value is quantized and dequantized again, the most frequent first."""
    nodes, readers = index.graph.nodes, index.readers
    found: Counter[str] = Counter()
    for node in nodes:
        if node.op != QUANTIZE or not node.inputs or not node.outputs:
            continue
        made_by = index.made_by(node.inputs[0])
        after = [nodes[i] for i in readers.get(node.outputs[0], []) if nodes[i].op == DEQUANTIZE]
        uses = {i for n in after for out in n.outputs for i in readers.get(out, [])}
        ops = sorted({nodes[i].op for i in uses})
        if ops:
            found[f"{made_by.op if made_by else 'input'} > {', '.join(ops)}"] += 1
    return dict(found.most_common())


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def inspect_file(path: Path, seen: Callable[[FileGraph], object] | None = None) -> Inspection:
    """Of a model file; modules are named from the bundle's tables. seen: is given its graph.

    Raises `UserError` for a missing, damaged or unknown file, and where the reader itself fails.
    """
    with faults_told(path, "reader"):
        return audit_file(path, seen)


@contextlib.contextmanager
def faults_told(path: Path, part: str) -> Iterator[None]:
    """A fault of ours as `UserError`: a stranger's file is no error of ours to end with."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        detail = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"{path}: not supported: the {part} fails on it ({detail})") from error


def audit_file(path: Path, seen: Callable[[FileGraph], object] | None = None) -> Inspection:
    """As `inspect_file`, but a fault of the reader comes through as what it is."""
    if not path.exists():
        raise UserError(f"no such model file: {path}")
    graph = target_of_file(path).read_graph(path)
    audit = audit_graph(graph, path, Names(tables_beside(path)))
    if seen is not None:
        seen(graph)
    return audit


def tables_beside(path: Path) -> list[ParameterTable]:
    """The parameter tables of the bundle that a model file lies in; none outside a bundle."""
    bundle = bundle_around(path)
    return [] if bundle is None else load_tables(bundle)


def require_int8(audit: Inspection, share: float, left: Sequence[str] = ()) -> None:
    """`UserError` with module and remedy where less than `share` of conv and linear MACs is int8.

    share: 0..1, the recipe's `min_int8_share`. left: a line for each op that no rewrite took.
    """
    if audit.int8_share is not None and audit.int8_share >= share:
        return
    told = (
        f"{audit.file}: only {audit.int8_share:.1%} of convolution and linear multiply-accumulates "
        f"are int8, the recipe asks {share:.0%}; "
    )
    weighted = [line for line in left if line.split(": ")[1:2] == ["convolution"]]
    if weighted:
        raise UserError(f"{told}no rewrite takes {'; '.join(weighted[:3])}, which stays float")
    weighted_ops = (f for f in audit.float_ops if f.op in WEIGHTED)
    worst = max(weighted_ops, key=lambda f: f.macs, default=None)
    if worst is None:  # of int8 weights, or in several formats
        raise UserError(f"{told}'mobilemod inspect' tells in what format each is; mend the recipe")
    module = worst.module or "(unnamed)"
    raise UserError(
        f"{told}the largest float one is {module} ({worst.macs / 1e6:.1f} M); "
        f"make '{module}:weight' and the tensors beside it int8 in the recipe"
    )
