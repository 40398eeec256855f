"""An XNNPACK delegate of a `.pte`: a header ("XH00"), a flatbuffer with the graph, constants."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.graph import (
    CONCAT,
    CONV,
    CONV_TRANSPOSE,
    DEPTHWISE,
    DEQUANTIZE,
    DYNAMIC,
    LINEAR,
    MATMUL,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    FileNode,
    FileTensor,
    fill_of,
)
from export.targets.flatbuffer import DamagedError, Schema, UnsupportedError, at

INVALID_ID = 0xFFFFFFFF
TYPES = {
    "fp32": "float32",
    "pfp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "qint8": "int8",
    "qcint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "qcint32": "int32",
    "int32": "int32",
    "qcint4": "int4",
    "qbint4": "int4",
    "qdint8": DYNAMIC,
    "qpint8": DYNAMIC,
}
OPS = {
    "Conv2d": CONV,
    "DepthwiseConv2d": DEPTHWISE,
    "ConvTranspose2d": CONV_TRANSPOSE,
    "FullyConnected": LINEAR,
    "BatchMatrixMultiply": MATMUL,
    "ScaledDotProductAttention": MATMUL,
    "StaticTranspose": TRANSPOSE,
    "StaticReshape": RESHAPE,
    **{f"Concatenate{n}": CONCAT for n in range(2, 6)},
}
MOST_SCALES = 4_000_000  # of all tensors: a file can point at the same ones from everywhere
STORED = ("float32", "float16", "int8", "uint8", "int32")  # values that NumPy can show


@dataclass
class Content:
    """What a `.pte` holds, as it is found. blobs: named constants of the file.

    elsewhere: keys of constants that the file only names: they lie in a `.ptd` beside it.
    """

    blobs: dict[str, memoryview]
    tensors: dict[str, FileTensor] = field(default_factory=dict)
    nodes: list[FileNode] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    scales: int = 0


def read_xnnpack_graph(blob: memoryview, schema: Schema) -> tuple[dict[str, Any], memoryview]:
    """The graph's tables and the bytes of its constants."""
    if blob[4:8] in (b"XN00", b"XN01"):
        raise UnsupportedError("an XNNPACK delegate of before 2023, without a header")
    if blob[4:8] != b"XH00" or len(blob) < 30:
        raise DamagedError("an XNNPACK delegate has no header")
    start, size, constants, length = struct.unpack_from("<IIIQ", blob, 10)
    if max(start + size, constants + length) > len(blob):
        raise DamagedError(f"an XNNPACK delegate of {len(blob)} bytes is cut short")
    return schema.read(blob[start : start + size], "XNNGraph"), blob[constants:]


def add_xnnpack_graph(
    content: Content, graph: dict[str, Any], constants: memoryview, args: list[str], prefix: str,
    partition: int,
) -> None:  # fmt: skip
    """Adds the tensors and ops of one graph; `args` are the call's program tensors.

    prefix: of the names that the graph's own tensors get.
    """

    def constant(index: int) -> memoryview | None:
        entry = at(graph["constant_data"], index, "constant")
        if entry["named_key"]:
            if entry["named_key"] not in content.blobs:
                content.elsewhere.add(entry["named_key"])
            return content.blobs.get(entry["named_key"])
        if entry["offset"] + entry["size"] > len(constants):
            raise DamagedError(f"a constant leads to byte {entry['offset'] + entry['size']}")
        return constants[entry["offset"] : entry["offset"] + entry["size"]]

    names: dict[int, str] = {}
    for entry in graph["xvalues"]:
        kind, value = _union(entry, "xvalue_union")
        quant = None
        if kind == "XNNQuantizedTensorValue":
            quant, value = value["quant_params"], value["tensor_value"]
        if value is None:
            raise DamagedError("a quantized value has no tensor")
        external = value["external_id"]
        name = (
            f"{prefix}v{value['id_out']}"
            if external == INVALID_ID
            else at(args, external, "argument of a delegate's call")
        )
        names[value["id_out"]] = name
        if not isinstance(value["datatype"], str):
            raise UnsupportedError(f"XNNPACK's datatype {value['datatype']}")
        xnn_type = value["datatype"].removeprefix("xnn_datatype_")
        dtype = TYPES.get(xnn_type, xnn_type)
        scale, zero_point, axis = _quant_params(quant, constant)
        index, shape = value["constant_buffer_idx"], tuple(int(d) for d in value["dims"])
        content.scales += len(scale)
        if content.scales > MOST_SCALES:
            raise DamagedError(f"more than {MOST_SCALES} scales")
        fill = None
        data = constant(index) if index else None
        if data is not None and dtype in STORED:
            if len(data) != math.prod(shape) * np.dtype(dtype).itemsize:
                raise DamagedError(f"a constant of {len(data)} bytes for {shape} {dtype}")
            content.constants[name] = np.frombuffer(data, dtype).reshape(shape)
            fill = fill_of(content.constants[name])
        tensor = FileTensor(name, shape, dtype, scale, zero_point, axis, index > 0, fill)
        content.tensors[name] = tensor
    for entry in graph["xnodes"]:
        kind, fields = _union(entry, "xnode_union")
        content.nodes.append(_node(kind.removeprefix("XNN"), fields, names, content, partition))


def _union(entry: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    if entry[name] is None:
        raise DamagedError(f"an {name} is empty")
    return entry[name]


def _quant_params(
    quant: tuple[str, dict] | None, constant: Callable[[int], memoryview | None]
) -> tuple[tuple, tuple, int | None]:
    """(scale, zero_point, axis) of an XNNPACK value; no scale where it is found while running."""
    if quant is None:
        return (), (), None
    kind, q = quant
    if kind == "PerTensorQuant":
        return (q["scale"],), (q["zero_point"],), None
    if kind == "PerChannelQuant":
        scale = q["scale"]
        if not len(scale):
            data = constant(q["scale_buffer_idx"])
            if data is None:
                return (), (), q["channel_dim"]
            if 4 * q["num_scales"] > len(data):
                raise DamagedError(f"{q['num_scales']} scales in {len(data)} bytes")
            scale = np.frombuffer(data, "<f4", q["num_scales"])
        return tuple(float(s) for s in scale), (0,) * len(scale), q["channel_dim"]
    if kind == "PerChannelGroupQuant":  # a scale for every few weights: no tensor of ours has one
        return (), (), q["channel_dim"]
    if kind == "PerTokenDynamicQuant":
        return (), (), None
    raise UnsupportedError(f"XNNPACK's quantization {kind}")


def _node(
    kind: str, fields: dict[str, Any], names: dict[int, str], content: Content, partition: int
) -> FileNode:
    ids = {k: v for k, v in fields.items() if k.endswith("_id") and v != INVALID_ID}
    for value in ids.values():
        if value not in names:
            raise DamagedError(f"{kind} reads or makes value {value}, which isn't there")
    inputs = tuple(names[v] for k, v in sorted(ids.items(), key=_operand) if "output" not in k)
    outputs = tuple(names[v] for k, v in ids.items() if "output" in k)
    if not inputs or not outputs:
        raise DamagedError(f"{kind} has no operand")
    op = OPS.get(kind, kind.lower())
    first, result = content.tensors[inputs[0]], content.tensors[outputs[0]]
    if op == "convert":
        eight = [t.dtype in ("int8", "uint8") for t in (first, result)]
        op = {(False, True): QUANTIZE, (True, False): DEQUANTIZE}.get(tuple(eight), op)
        op = "dynamic_quantize" if result.dtype == DYNAMIC else op
    shapes = [content.tensors[i].shape for i in inputs]
    macs = _macs(op, kind, fields, shapes, result.shape)
    return FileNode(op, inputs, outputs, macs or 0, partition, macs is not None)


def _macs(op: str, kind: str, fields: dict, shapes: list[tuple], out: tuple) -> int | None:
    if op in (CONV, DEPTHWISE, CONV_TRANSPOSE):
        kernel = fields["kernel_height"] * fields["kernel_width"]
        if op == CONV_TRANSPOSE:
            return math.prod(shapes[0]) * kernel * fields["group_output_channels"]
        return math.prod(out) * kernel * (1 if op == DEPTHWISE else fields["group_input_channels"])
    if kind == "ScaledDotProductAttention":
        query, key, value = shapes[:3] if len(shapes) > 2 else ((), (), ())
        if not (query and value and len(key) > 1):
            return None
        return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    if op in (LINEAR, MATMUL):
        return math.prod(out) * shapes[0][-1] if shapes[0] else None
    return 0


OPERANDS = ("query", "key", "value", "input", "filter", "bias")


def _operand(item: tuple[str, int]) -> tuple[int, str]:
    """Sorts a node's operands: data (input_id, input1_id, …), then filter, then bias."""
    name = item[0]
    order = next((i for i, start in enumerate(OPERANDS) if name.startswith(start)), len(OPERANDS))
    return order, name
