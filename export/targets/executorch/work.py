"""Ops of a `.pte` outside every delegate: their operands and multiply-accumulates."""

from __future__ import annotations

import math
import re
from typing import Any

from export.graph import (
    CONCAT,
    CONV,
    CONV_TRANSPOSE,
    DEPTHWISE,
    DEQUANTIZE,
    LINEAR,
    MATMUL,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    FileNode,
    FileTensor,
)
from export.targets.flatbuffer import at

OPS = {
    "cat": CONCAT,
    "view_copy": RESHAPE,
    **dict.fromkeys(("permute_copy", "transpose_copy", "t_copy"), TRANSPOSE),
    **dict.fromkeys(("bmm", "baddbmm", "mm", "matmul", "mv", "dot"), MATMUL),
    **dict.fromkeys(("addmm", "addmv", "linear", "mixed_mm", "mixed_linear"), LINEAR),
}
ADDEND_FIRST = ("addmm", "addmv", "baddbmm")
# Libraries whose ops are known; those of any other may do anything.
KNOWN = ("aten", "dim_order_ops", "quantized_decomposed", "executorch_prim", "et_quant_test")
# … and the ones of theirs that multiply and accumulate by rules of their own.
UNKNOWN = re.compile(
    r"conv|scaled_dot_product|lstm|gru|rnn|einsum|cdist|pdist|linalg|fft|bilinear$|tensordot|svd|inverse"
)
TRANSPOSED, GROUPS = 6, 8  # where aten.convolution has these arguments


def portable_node(
    name: str, args: list[int], values: list[Any], prefix: str, tensors: dict[str, FileTensor]
) -> FileNode:
    """The node of one kernel call: an out variant, whose last argument repeats what it writes."""
    library, _, op = name.rpartition("::")
    kinds = [at(values, i, "value") or ("Null", {}) for i in args]
    lists = [_tensors(i, *value, prefix, tensors) for i, value in zip(args, kinds, strict=True)]
    outputs = lists[-1] if lists else []
    inputs = [t for listed in lists[:-1] for t in listed if t not in outputs]
    if op in ADDEND_FIRST:
        inputs = [*inputs[1:], *inputs[:1]]
    shapes = [tensors[t].shape for t in inputs]
    out = tensors[outputs[0]].shape if outputs else ()
    macs: int | None = 0
    if op == "convolution":
        flag = kinds[TRANSPOSED] if len(kinds) > TRANSPOSED else ("Null", {})
        op, macs = _convolution(shapes, out, bool(flag[1].get("bool_val")))
    elif op in OPS and OPS[op] in (MATMUL, LINEAR):
        macs = math.prod(out) * shapes[0][-1] if shapes and shapes[0] else None
    elif op.startswith("quantize_"):
        op = QUANTIZE
    elif op.startswith("dequantize_"):
        op = DEQUANTIZE
    elif library not in KNOWN or UNKNOWN.search(op):
        macs = None
    shown = op if library in KNOWN else name
    node = OPS.get(op, shown)
    return FileNode(node, tuple(inputs), tuple(outputs), macs or 0, known=macs is not None)


def _tensors(
    index: int, kind: str, value: dict, prefix: str, tensors: dict[str, FileTensor]
) -> list[str]:
    """Names of the tensors that an argument is, or lists."""
    indices = [index] if kind == "Tensor" else []
    if kind in ("TensorList", "OptionalTensorList"):
        indices = [int(i) for i in value["items"] if i >= 0]
    return [f"{prefix}t{i}" for i in indices if f"{prefix}t{i}" in tensors]


def _convolution(shapes: list[tuple], out: tuple, transposed: bool) -> tuple[str, int | None]:
    """Weights are (out, in / groups, …), transposed (in, out / groups, …), of any rank."""
    if len(shapes) < 2 or len(shapes[1]) < 3 or not out:
        return CONV, None
    data, weight = shapes[:2]
    if transposed:
        return CONV_TRANSPOSE, math.prod(data) * math.prod(weight[1:])
    depthwise = weight[1] == 1 and len(data) > 1 and data[-len(weight) + 1] > 1
    return DEPTHWISE if depthwise else CONV, math.prod(out) * math.prod(weight[1:])
