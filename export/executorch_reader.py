"""What is in a `.pte`, read from the file alone: the program and XNNPACK's graphs inside it.

Layout: the program is a flatbuffer, delegates and constants lie in segments behind it; an
XNNPACK delegate is a header ("XH00") and a flatbuffer of its own. Both schemas come with the
executorch package.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.flatbuffer import Schema
from export.graph import (
    CONCAT,
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

TARGET = "executorch"
METADATA_METHOD = "metadata"
INVALID_ID = 0xFFFFFFFF
SCALAR_TYPES = {"BYTE": "uint8", "CHAR": "int8", "HALF": "float16", "FLOAT": "float32"} | {
    name.upper(): name for name in ("uint16", "uint32", "uint64", "bool")
} | {"SHORT": "int16", "INT": "int32", "LONG": "int64", "DOUBLE": "float64"}  # fmt: skip
XNN_TYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "qint8": "int8",
    "qcint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "qcint32": "int32",
    "int32": "int32",
}
XNN_OPS = {
    "Conv2d": CONV,
    "DepthwiseConv2d": DEPTHWISE,
    "FullyConnected": LINEAR,
    "BatchMatrixMultiply": MATMUL,
    "StaticTranspose": TRANSPOSE,
    "StaticReshape": RESHAPE,
    **{f"Concatenate{n}": CONCAT for n in range(2, 6)},
}
PORTABLE_OPS = {
    "cat": CONCAT,
    "permute_copy": TRANSPOSE,
    "transpose_copy": TRANSPOSE,
    "view_copy": RESHAPE,
    "bmm": MATMUL,
    "mm": MATMUL,
    "addmm": LINEAR,
    "linear": LINEAR,
}


@dataclass
class PteFile:
    """A `.pte`'s content.

    constants: name of a constant tensor of `graph` -> its values as stored (int8 codes, float32).
    metadata: labels and preprocessing, as written by the export; empty in other files.
    """

    graph: FileGraph
    constants: dict[str, np.ndarray]
    metadata: dict[str, Any]


@dataclass
class _Content:
    segments: list[bytes]
    named: dict[str, bytes]
    tensors: dict[str, FileTensor] = field(default_factory=dict)
    nodes: list[FileNode] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)


def read_pte(path: Path) -> PteFile:
    """The content of a `.pte`. Raises `UserError` where the file is missing, cut or damaged.

    Constants of a delegate are stored under the sha256 of their bytes, which is checked.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); export it again") from None
    if data[4:6] != b"ET":
        raise UserError(f"{path}: no ExecuTorch program (its identifier is missing)")
    try:
        return _read(data)
    except (struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); export it again") from None


def _read(data: bytes) -> PteFile:
    length = len(data)
    base = 0
    if data[8:12] == b"eh00":
        length, base, size = struct.unpack_from("<QQQ", data, 16)
        if len(data) < max(length, base + size):
            raise ValueError(f"{len(data)} bytes of {max(length, base + size)}")
    program = _schema("program").read(data[:length], "Program")
    segments = []
    for s in program["segments"]:
        start, stop = base + s["offset"], base + s["offset"] + s["size"]
        if stop > len(data):
            raise ValueError(f"{len(data)} bytes of {stop}")
        segments.append(data[start:stop])
    named = {n["key"]: segments[n["segment_index"]] for n in program["named_data"]}
    for key, blob in named.items():
        digest = key.removeprefix("scale_")
        if re.fullmatch("[0-9a-f]{64}", digest) and hashlib.sha256(blob).hexdigest() != digest:
            raise ValueError("a constant's bytes don't match its checksum")
    plans = {plan["name"]: plan for plan in program["execution_plan"]}
    metadata = {}
    if METADATA_METHOD in plans:
        metadata = json.loads(plans[METADATA_METHOD]["values"][0]["val"][1]["string_val"])
    content = _Content(segments, named)
    plan = plans["forward"]
    partitions = _read_plan(content, program, plan)
    inputs, outputs = (tuple(f"t{i}" for i in plan[side]) for side in ("inputs", "outputs"))
    graph = FileGraph(
        TARGET, content.tensors, tuple(content.nodes), inputs, outputs, partitions=partitions
    )
    return PteFile(graph, content.constants, metadata)


def _read_plan(content: _Content, program: dict, plan: dict) -> int:
    """Adds the plan's tensors and instructions; returns the number of delegate calls."""
    values = [v["val"] for v in plan["values"]]
    for i, value in enumerate(values):
        if value is not None and value[0] == "Tensor":
            t = value[1]
            dtype = SCALAR_TYPES.get(t["scalar_type"], str(t["scalar_type"]).lower())
            constant = t["allocation_info"] is None and t["data_buffer_idx"] > 0
            content.tensors[f"t{i}"] = FileTensor(
                f"t{i}", _ints(t["sizes"]), dtype, (), (), None, constant
            )
    calls = 0
    for instruction in plan["chains"][0]["instructions"]:
        kind, call = instruction["instr_args"]
        if kind == "KernelCall":
            operator = plan["operators"][call["op_index"]]
            content.nodes.append(_portable_node(operator["name"], call["args"], values, content))
        elif kind == "DelegateCall":
            delegate = plan["delegates"][call["delegate_index"]]
            processed = delegate["processed"]
            if processed["location"] == "SEGMENT":
                blob = content.segments[processed["index"]]
            else:
                blob = program["backend_delegate_data"][processed["index"]]["data"].tobytes()
            if delegate["id"] == "XnnpackBackend":
                _read_xnnpack(content, blob, [f"t{i}" for i in call["args"]], calls)
            else:
                names = tuple(f"t{i}" for i in call["args"])
                content.nodes.append(FileNode("delegate", names, (), partition=calls))
            calls += 1
    return calls


def _portable_node(name: str, args: np.ndarray, values: list, content: _Content) -> FileNode:
    """An op outside every delegate; its last tensor argument is the output."""
    op = name.rpartition("::")[2]
    tensors: list[str] = []
    for i in args:
        kind, value = values[i] or ("Null", {})
        indices = [i] if kind == "Tensor" else value["items"] if kind == "TensorList" else []
        tensors += [f"t{j}" for j in indices if f"t{j}" in content.tensors]
    *inputs, output = tensors
    if op == "cat":  # Its first argument lists the tensors; the copy of the list ends the call.
        inputs = [t for t in inputs if t != output]
    shapes = [content.tensors[t].shape for t in inputs]
    out = math.prod(content.tensors[output].shape)
    macs = 0
    if op == "convolution":
        kernel = shapes[1][1:]
        op = DEPTHWISE if kernel[0] == 1 and shapes[0][1] == shapes[1][0] > 1 else CONV
        macs = out * math.prod(kernel)
    elif op in ("bmm", "mm"):
        macs = out * shapes[0][-1]
    elif op in ("addmm", "linear"):
        macs = out * shapes[-1 if op == "linear" and len(shapes) == 2 else 1][-1]
    elif op.startswith("quantize_"):
        op = QUANTIZE
    elif op.startswith("dequantize_"):
        op = DEQUANTIZE
    return FileNode(PORTABLE_OPS.get(op, op), tuple(inputs), (output,), macs)


def _read_xnnpack(content: _Content, blob: bytes, args: list[str], partition: int) -> None:
    """Adds the tensors and ops of one XNNPACK graph; `args` are the call's program tensors."""
    if blob[4:8] != b"XH00":
        raise ValueError("an XNNPACK delegate has no header")
    start, size, constants, _ = struct.unpack_from("<IIIQ", blob, 10)
    graph = _schema("xnnpack").read(blob[start : start + size], "XNNGraph")

    def constant(index: int) -> bytes:
        entry = graph["constant_data"][index]
        if entry["named_key"]:
            return content.named[entry["named_key"]]
        at = constants + entry["offset"]
        return blob[at : at + entry["size"]]

    names: dict[int, str] = {}
    for union in graph["xvalues"]:
        kind, value = union["xvalue_union"]
        quant = None
        if kind == "XNNQuantizedTensorValue":
            quant, value = value["quant_params"], value["tensor_value"]
        external = value["external_id"]
        name = f"p{partition}.v{value['id_out']}" if external == INVALID_ID else args[external]
        names[value["id_out"]] = name
        xnn_type = value["datatype"].removeprefix("xnn_datatype_")
        dtype = XNN_TYPES.get(xnn_type, xnn_type)
        scale, zero_point, axis = _quant_params(quant, constant)
        index, shape = value["constant_buffer_idx"], _ints(value["dims"])
        content.tensors[name] = FileTensor(name, shape, dtype, scale, zero_point, axis, index > 0)
        if index and dtype in ("float32", "float16", "int8", "uint8", "int32"):
            content.constants[name] = np.frombuffer(constant(index), dtype).reshape(shape)
    for node in graph["xnodes"]:
        content.nodes.append(_xnnpack_node(*node["xnode_union"], names, content, partition))


def _quant_params(quant: tuple[str, dict] | None, constant) -> tuple[tuple, tuple, int | None]:
    """(scale, zero_point, axis) of an XNNPACK value."""
    if quant is None:
        return (), (), None
    kind, q = quant
    if kind == "PerTensorQuant":
        return (q["scale"],), (q["zero_point"],), None
    if kind == "PerChannelQuant":
        scale = q["scale"]
        if not len(scale):
            scale = np.frombuffer(constant(q["scale_buffer_idx"]), "<f4", q["num_scales"])
        return tuple(float(s) for s in scale), (0,) * len(scale), q["channel_dim"]
    raise ValueError(f"unknown quantization {kind}")


def _xnnpack_node(
    kind: str, fields: dict, names: dict[int, str], content: _Content, partition: int
) -> FileNode:
    kind = kind.removeprefix("XNN")
    ids = {k: v for k, v in fields.items() if k.endswith("_id") and v != INVALID_ID}
    inputs = tuple(names[v] for k, v in sorted(ids.items(), key=_operand) if "output" not in k)
    outputs = tuple(names[v] for k, v in ids.items() if "output" in k)
    first, result = content.tensors[inputs[0]], content.tensors[outputs[0]]
    out, macs = math.prod(result.shape), 0
    op = XNN_OPS.get(kind, kind.lower())
    if op in (CONV, DEPTHWISE):
        macs = out * fields["kernel_height"] * fields["kernel_width"]
        macs *= fields["group_input_channels"]
    elif op in (LINEAR, MATMUL):
        macs = out * first.shape[-1]
    elif op == "convert":
        integer = [t.dtype in ("int8", "uint8") for t in (first, result)]
        op = {(False, True): QUANTIZE, (True, False): DEQUANTIZE}.get(tuple(integer), op)
    return FileNode(op, inputs, outputs, macs, partition)


def _operand(item: tuple[str, int]) -> tuple[bool, bool, str]:
    """Sorts a node's operands: data (input_id, input1_id, …), then filter, then bias."""
    name = item[0]
    return name.startswith("bias"), name.startswith("filter"), name


def _ints(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


@functools.cache
def _schema(which: str) -> Schema:
    """The schema of the program or of XNNPACK's graph, from the installed executorch package."""
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("reading a .pte needs the package 'executorch'; install it with pip")
    paths = {
        "program": ("exir/_serialize/program.fbs", "exir/_serialize/scalar_type.fbs"),
        "xnnpack": ("backends/xnnpack/serialization/schema.fbs",),
    }[which]
    root = Path(next(iter(spec.submodule_search_locations)))
    return Schema(*((root / p).read_text("utf-8") for p in paths))
