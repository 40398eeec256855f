"""The graph of a `.tflite` file: ops, tensors, delegate partitions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.graph import (
    CONCAT,
    DEQUANTIZE,
    LINEAR,
    MATMUL,
    QUANTIZE,
    RECURRENT,
    RESHAPE,
    TRANSPOSE,
    FileGraph,
    FileNode,
    FileTensor,
    fill_of,
    shape_text,
)
from export.targets.tflite.edit import OPERATORS
from export.targets.tflite.placement.partitions import RuntimeRefusal, ask_partitions
from export.targets.tflite.reader import DTYPES, called, names_of, read_model
from export.targets.tflite.work import OPS, SHAPE_FIRST, UNKNOWN, macs
from mobilemod.targets.tflite import FACTS

NORMALISED = OPS | {
    "QUANTIZE": QUANTIZE,
    "DEQUANTIZE": DEQUANTIZE,
    "DENSIFY": DEQUANTIZE,  # of constants: a sparse weight becomes dense
    "TRANSPOSE": TRANSPOSE,
    "RESHAPE": RESHAPE,
    "CONCATENATION": CONCAT,
}
CUSTOM = "CUSTOM"
FILLED = ("float32", "float16", "int8", "uint8")  # as NumPy calls them too


def read_graph(path: Path) -> FileGraph:
    """The file's graph, with the partitions that the default XNNPACK delegate makes of it here.

    Ops and work come from the file alone. The runtime is asked for the partitions in a process of
    its own; where it can't load the file (custom ops, say), `partitions` is None and a note tells.
    """
    model = read_model(path)
    subgraphs = model["subgraphs"]
    owner = _methods(model)
    tensors: dict[str, FileTensor] = {}
    nodes: list[FileNode] = []
    notes: list[str] = []
    names: list[list[str]] = []
    for i, graph in enumerate(subgraphs):
        names.append(names_of(graph, "" if i == 0 else f"{graph['name'] or 'subgraph'}.{i}/"))
        for name, tensor in zip(names[i], graph["tensors"], strict=True):
            tensors[name] = _tensor(model, name, tensor)
        for op in graph["operators"]:
            nodes.append(replace(_node(model, graph, op, names[i]), method=owner[i]))
    nodes = _with_products(nodes, tensors)
    first = subgraphs[0]
    count: int | None = None
    try:
        inside, count = ask_partitions(str(path.resolve()))
        nodes[: len(inside)] = [
            replace(n, partition=p) for n, p in zip(nodes, inside, strict=False)
        ]
    except RuntimeRefusal as error:
        notes.append(f"no partitions: the TFLite runtime here doesn't load it ({error})")
    notes += _notes(model)
    edges = [tuple(names[0][i] for i in first[side]) for side in ("inputs", "outputs")]
    return FileGraph(FACTS.name, tensors, tuple(nodes), *edges, count, notes=tuple(notes))


def _with_products(nodes: list[FileNode], tensors: dict[str, FileTensor]) -> list[FileNode]:
    """Fully connected ops whose weight is computed are products of matrices, as of one head."""
    makers = {name: node for node in nodes for name in node.outputs}

    def stored(name: str) -> bool:
        maker = makers.get(name)
        passed = maker is not None and maker.op in (DEQUANTIZE, RESHAPE, TRANSPOSE)
        return stored(maker.inputs[0]) if passed else tensors[name].constant

    return [
        replace(n, op=MATMUL) if n.op == LINEAR and not stored(n.inputs[1]) else n for n in nodes
    ]


def _methods(model: dict[str, Any]) -> list[str]:
    """Subgraph -> the method that it belongs to: a signature's, and what that calls."""
    subgraphs = model["subgraphs"]
    entries = {s["subgraph_index"]: s["signature_key"] for s in model["signature_defs"]}
    entries.setdefault(0, subgraphs[0]["name"] or "main")
    owner: dict[int, str] = {}
    for start, name in sorted(entries.items()):
        pending = [start]
        while pending:
            i = pending.pop()
            if i in owner or (i != start and i in entries):
                continue
            owner[i] = name
            pending += [j for op in subgraphs[i]["operators"] for j in called(op)]
    alone = [owner.get(i, f"subgraph {i}, never called") for i in range(len(subgraphs))]
    return alone if len(set(alone)) > 1 else [""] * len(alone)


def _notes(model: dict[str, Any]) -> list[str]:
    notes = []
    for i in model["subgraphs"][0]["inputs"]:
        tensor = model["subgraphs"][0]["tensors"][i]
        signature, shape = tensor["shape_signature"], tensor["shape"]
        if -1 in signature:
            free, given = shape_text(signature), shape_text(shape)
            notes.append(f"input {tensor['name']} is {free}: the work is of {given}")
    calls = {
        _kind(model, op) for graph in model["subgraphs"] for op in graph["operators"] if called(op)
    }
    if calls - {"STABLEHLO_COMPOSITE", "CALL_ONCE", "CALL"}:
        notes.append("branches and loops: the work is of each branch and one turn of a loop")
    return notes


def _node(model: dict[str, Any], graph: dict[str, Any], op: dict[str, Any], names: list[str]):
    kind = _kind(model, op)
    inputs, outputs = op["inputs"].tolist(), op["outputs"].tolist()
    normal = NORMALISED.get(kind, kind if kind not in OPERATORS.values() else kind.lower())
    if kind in SHAPE_FIRST:
        inputs = [*inputs[1:3][::-1], *inputs[3:], *inputs[:1]]
    elif normal == RECURRENT:
        states = {i for i in inputs if i >= 0 and graph["tensors"][i]["is_variable"]}
        inputs = [i for i in inputs if i not in states]
    tensors = graph["tensors"]
    shapes = [tuple(tensors[i]["shape"].tolist()) if i >= 0 else () for i in inputs]
    out = tuple(tensors[outputs[0]]["shape"].tolist()) if outputs and outputs[0] >= 0 else ()
    options = op["builtin_options"]
    transposed = bool(options and options[0] == "BatchMatMulOptions" and options[1]["adj_x"])
    work = macs(kind, shapes, out, transposed)
    custom = kind not in OPERATORS.values() and kind not in OPS
    known = work is not None and not custom and kind not in UNKNOWN
    return FileNode(
        normal,
        tuple(names[i] for i in inputs if i >= 0),
        tuple(names[i] for i in outputs if i >= 0),
        work or 0,
        known=known,
    )


def _kind(model: dict[str, Any], op: dict[str, Any]) -> str:
    """The builtin operator's name, or a custom one's own."""
    code = model["operator_codes"][op["opcode_index"]]
    number = max(code["builtin_code"], code["deprecated_builtin_code"])
    kind = OPERATORS.get(number, f"builtin {number}")
    return (code["custom_code"] or "custom") if kind == CUSTOM else kind


def _tensor(model: dict[str, Any], name: str, tensor: dict[str, Any]) -> FileTensor:
    buffer = model["buffers"][tensor["buffer"]]
    # A constant beyond 2 GB lies behind the flatbuffer, at an offset.
    constant = len(buffer["data"]) > 0 or buffer["offset"] > 1 or tensor["external_buffer"] > 0
    params = tensor["quantization"]
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    if params is not None and len(params["scale"]):
        scale = tuple(params["scale"].tolist())
        zero_point = tuple(params["zero_point"].tolist()) or (0,) * len(scale)
    axis = int(params["quantized_dimension"]) if len(scale) > 1 else None
    dtype, held = DTYPES[tensor["type"]], np.asarray(buffer["data"], np.uint8).tobytes()
    shape = tuple(tensor["shape"].tolist())
    plain = dtype in FILLED and len(held) == math.prod(shape) * np.dtype(dtype).itemsize
    fill = fill_of(np.frombuffer(held, dtype)) if plain else None
    return FileTensor(name, shape, dtype, scale, zero_point, axis, constant, fill)
