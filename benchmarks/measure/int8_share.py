"""The int8 part of a file's convolution and linear multiply-accumulates, whoever wrote it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.forms.means import only_takes_mean

WEIGHTED = ("Conv", "Gemm", "MatMul")


def int8_share(path: Path) -> float | None:
    """0..1, counted as `mobilemod inspect` does; None where that can't be told."""
    if path.suffix == ".onnx":
        return onnx_share(path)
    try:
        from export.auditing.audit import inspect_file

        return inspect_file(path).int8_share
    except UserError:
        return None


def onnx_share(path: Path) -> float:
    """Of an ONNX file with explicit quantize and dequantize: int8 where both operands are."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    known = [*graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in known}
    weights = {t.name: t for t in graph.initializer}
    producer = {out: node for node in graph.node for out in node.output}
    done, total = 0, 0
    for node in graph.node:
        values = _weight(node.input[1], producer, weights) if _weighted(node) else None
        if values is None:
            continue
        weight = values.shape
        # Per output value: all of a weight but its output channels, which stand first in Conv
        # and in a transposed Gemm, and last in MatMul.
        last = node.op_type == "MatMul" or not _attribute(node, "transB", node.op_type == "Conv")
        inner = math.prod(weight) // weight[-1 if last else 0]
        if only_takes_mean(values.min(), values.max(), inner):
            continue
        macs = math.prod(shapes[node.output[0]]) * inner
        total += macs
        if all(_dequantized(name, producer) for name in node.input[:2]):
            done += macs
    if not total:
        raise UserError(f"{path}: holds no convolution and no linear")
    return done / total


def _weighted(node: Any) -> bool:
    return node.op_type in WEIGHTED


def _attribute(node: Any, name: str, default: Any) -> Any:
    return next((a.i for a in node.attribute if a.name == name), default)


def _dequantized(name: str, producer: dict[str, Any]) -> bool:
    return name in producer and producer[name].op_type == "DequantizeLinear"


def _weight(name: str, producer: dict[str, Any], stored: dict[str, Any]) -> np.ndarray | None:
    """The constant behind a tensor, dequantized by its first scale; None where it is none."""
    from onnx.numpy_helper import to_array

    scale = 1.0
    while name not in stored:
        node = producer.get(name)
        if node is None or node.op_type not in ("DequantizeLinear", "QuantizeLinear", "Identity"):
            return None
        if node.op_type == "DequantizeLinear" and node.input[1] in stored:
            scale = float(to_array(stored[node.input[1]]).flat[0])
        name = node.input[0]
    return to_array(stored[name]) * scale
