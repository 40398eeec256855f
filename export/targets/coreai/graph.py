"""A Core AI model's graph, from its saved program: ops, tensors, number formats, work."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from export import graph as ops
from export.graph import FileGraph, FileNode, FileTensor, fill_of
from export.targets.coreai.reader import (
    CONSTANT,
    CONV,
    DEQUANTIZE,
    INVOKE,
    OUTPUT,
    PAD,
    QUANTIZE,
    Asset,
    body,
    op_id,
    open_asset,
    tensor_type,
)
from mobilemod.targets.coreai import FACTS

NAMES = {
    "transpose": ops.TRANSPOSE,
    "reshape": ops.RESHAPE,
    "concat": ops.CONCAT,
    "batch_matmul": ops.MATMUL,
    "matmul": ops.MATMUL,
}
# Ops that the converter writes as functions of their own, which say what they are.
COMPOSITES = {"avg_pool_2d": "avg_pool2d"}
COMPOSITE = re.compile(r'composite_declaration<"(\w+)"')
# Prefixes of an op's name that say how it is written, not what it computes.
WRITTEN = ("coreai.", "decomposable.", "broadcasting_")
DATA = {CONV: (0, 1), QUANTIZE: (0,), DEQUANTIZE: (0,)}


def read_graph(path: Path) -> FileGraph:
    """The model's graph. Where the ops run is decided on the device: partitions are None.

    A convolution's weight appears as the constant that it is stored as, its codes with their
    scales. `UserError` for a file that is missing or damaged.
    """
    return read_values(open_asset(path))[0]


def read_values(asset: Asset) -> tuple[FileGraph, dict[str, Any]]:
    """The graph of an opened asset, and the value in its function that each tensor is; those
    inside a function that it calls are none of its own."""
    return _Reading(asset).graph()


class _Reading:
    """Tensors and nodes as they are found."""

    def __init__(self, asset: Asset):
        self.asset = asset
        self.tensors: dict[str, FileTensor] = {}
        self.nodes: list[FileNode] = []
        self.folded: list[Any] = []  # sums of a convolution and its bias

    def graph(self) -> tuple[FileGraph, dict[str, Any]]:
        block = self.asset.graph.regions[0].blocks[0]
        names: dict[Any, str] = {}
        for name, argument in zip(self.asset.names, block.arguments, strict=True):
            names[argument] = self._add(name, argument)
        outputs = self._read(self.asset.graph, names, "")
        graph = FileGraph(
            FACTS.name, self.tensors, tuple(self.nodes), self.asset.names, tuple(outputs)
        )
        # What is padded for a convolution goes by the name of what it was before, the first.
        return graph, {name: value for value, name in reversed(names.items())}

    def _add(self, name: str, value: Any, **changes: Any) -> str:
        shape, dtype = tensor_type(value)
        while name in self.tensors:
            name += "'"
        self.tensors[name] = FileTensor(name, **({"shape": shape, "dtype": dtype} | changes))
        return name

    def _read(self, graph: Any, names: dict[Any, str], prefix: str) -> list[str]:
        """Read a function, whose values have `names`; names of what it gives."""
        weights = {
            op.operands[1]: self.asset.tensors.get(op_id(op), "")
            for op in body(graph) if op.name == CONV
        }  # fmt: skip
        for op in body(graph):
            if op.name == OUTPUT:
                return [names[v] for v in op.operands]
            kind = op.name
            for part in WRITTEN:
                kind = kind.removeprefix(part)
            number = op_id(op) or str(len(self.tensors))
            own = "" if kind == "constant" else self.asset.tensors.get(number, "")
            name = own if op.name == QUANTIZE and own else f"{prefix}{kind}.{number}"
            if op.name == CONSTANT:
                values = self.asset.constant(op.results[0])
                fill = None if values is None else fill_of(values)
                names[op.results[0]] = self._add(name, op.results[0], constant=True, fill=fill)
            elif op.name == INVOKE and (whole := _composite(self.asset.called[_callee(op)])):
                self._node(op, whole, f"{prefix}{whole}.{number}", names)
            elif op.name == INVOKE:
                inner = self.asset.called[_callee(op)]
                arguments = inner.regions[0].blocks[0].arguments
                given = dict(zip(arguments, (names[v] for v in op.operands), strict=True))
                made = self._read(inner, given, f"{name}/")
                names.update(zip(op.results, made, strict=True))
            elif op in self.folded:
                pass
            elif op.name == PAD and self._pads_convolutions(op):
                names[op.results[0]] = names[op.operands[0]]
            elif op.name == DEQUANTIZE and self.asset.constant(op.operands[0]) is not None:
                # A stored weight is what its convolution reads, as in the other formats.
                fields = quantization(self.asset, op)
                stored = self.tensors[names[op.operands[0]]]
                name = weights.get(op.results[0]) or name
                made = self._add(name, op.results[0], constant=True, fill=stored.fill, **fields)
                names[op.results[0]] = made
            else:
                self._node(op, kind, name, names)
        return []

    def _pads_convolutions(self, op: Any) -> bool:
        """Whether padding is a convolution's own, which the format has as an op before it."""
        fill = self.asset.constant(op.operands[2])
        readers = {use.owner.name for use in op.results[0].uses}
        return readers == {CONV} and fill is not None and not fill.any()

    def _biased(self, conv: Any) -> tuple[Any, Any] | None:
        """The sum that alone reads a convolution, and the constant per channel in it."""
        readers = [use.owner for use in conv.results[0].uses]
        if len(readers) != 1 or not readers[0].name.endswith("add"):
            return None
        others = [v for v in readers[0].operands if v != conv.results[0]]
        values = self.asset.constant(others[0]) if len(others) == 1 else None
        channels = conv.results[0].type.shape[1]
        per_channel = values is not None and values.shape == (1, channels, 1, 1)
        return (readers[0], others[0]) if per_channel else None

    def _node(self, op: Any, kind: str, name: str, names: dict[Any, str]) -> None:
        places = DATA.get(op.name, range(len(op.operands)))
        given = [op.operands[i] for i in places]
        inputs = [names[v] for v in given if v in names]
        results = list(op.results)
        biased = self._biased(op) if op.name == CONV else None
        if biased is not None:
            total, bias = biased
            self.folded.append(total)
            inputs.append(names[bias])
            results = list(total.results)
        for result in results:
            fields = quantization(self.asset, op) if op.name == QUANTIZE else {}
            names[result] = self._add(name, result, **fields)
        out = tuple(names[r] for r in results)
        found, macs = self._work(op, kind, inputs, out)
        module = self.asset.tensors.get(op_id(op), "").partition(":")[0]
        self.nodes.append(
            FileNode(found, tuple(inputs), out, macs or 0, None, macs is not None, "", module)
        )

    def _work(
        self, op: Any, kind: str, inputs: list[str], outputs: tuple[str, ...]
    ) -> tuple[str, int | None]:
        """(Normalised name, multiply-accumulates or None where not known)."""
        shapes = [self.tensors[n].shape for n in inputs]
        out = self.tensors[outputs[0]].shape if outputs else ()
        if op.name == CONV:
            weight = shapes[1]
            groups = self.asset.constant(op.operands[4])
            wide = groups is not None and int(groups) == weight[0] > 1
            known = min((*weight, *out)) >= 0
            macs = math.prod(out) * math.prod(weight[1:]) if known else None
            return ops.DEPTHWISE if wide else ops.CONV, macs
        name = NAMES.get(kind, kind)
        if name == ops.MATMUL:
            known = shapes[0] and min((*shapes[0], *out)) >= 0
            return name, math.prod(out) * shapes[0][-1] if known else None
        known = not any(word in kind for word in ("conv", "matmul", "attention", "lstm", "gru"))
        return name, 0 if known else None


def _callee(op: Any) -> str:
    return str(op.attributes["callee"]).partition("@")[2].partition(">")[0].strip('"')


def _composite(function: Any) -> str:
    """The op that a function is as a whole, "" for none that is known."""
    if "composite_decl" not in function.attributes:
        return ""
    found = COMPOSITE.search(str(function.attributes["composite_decl"]))
    return COMPOSITES.get(found.group(1), "") if found else ""


def quantization(asset: Asset, op: Any) -> dict[str, Any]:
    """Type, scales, zero points and axis of a quantize or dequantize, of what is codes in it."""
    scale, zero, _, axis = map(asset.constant, list(op.operands)[1:5])
    codes = op.results[0] if op.name == QUANTIZE else op.operands[0]
    fields: dict[str, Any] = {"dtype": tensor_type(codes)[1]}
    if scale is None or zero is None:
        return fields
    scales = np.atleast_1d(scale).astype(np.float64)
    zeros = np.broadcast_to(np.atleast_1d(zero).astype(np.int64), scales.shape)
    fields |= {"scale": tuple(scales.tolist()), "zero_point": tuple(zeros.tolist())}
    return fields | {"axis": int(axis) if scales.size > 1 and axis is not None else None}


def stored_codes(asset: Asset) -> Iterator[tuple[np.ndarray, tuple[float, ...]]]:
    """(int8 codes, scales) of every stored weight, in order."""
    for op in body(asset.graph):
        if op.name == DEQUANTIZE and (codes := asset.constant(op.operands[0])) is not None:
            yield codes, quantization(asset, op)["scale"]
