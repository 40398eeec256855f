"""Operations of a Core ML program: their names, their operands' order, their work."""

from __future__ import annotations

import math
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
    RECURRENT,
    RESHAPE,
    TRANSPOSE,
)
from export.targets.coreml.values import Values

OPS = {
    "conv_transpose": CONV_TRANSPOSE,
    "quantize": QUANTIZE,
    "dequantize": DEQUANTIZE,
    "linear": LINEAR,
    "matmul": MATMUL,
    "einsum": MATMUL,
    "scaled_dot_product_attention": MATMUL,
    **dict.fromkeys(("lstm", "gru", "rnn"), RECURRENT),
    "transpose": TRANSPOSE,
    "reshape": RESHAPE,
    "concat": CONCAT,
}
# The inputs that are data, in this order; the others are attributes (strides, axes, scales…)
# unless the file computes them.
DATA = (
    "x", "query", "key", "value", "y", "input", "weight", "weight_ih", "weight_hh",
    "weight_ih_back", "weight_hh_back", "bias", "values", "probabilities", "data",
)  # fmt: skip
Shape = tuple[int, ...]


def operands(op: Any) -> list[str]:
    """The arguments that are data, in order, then all others."""
    first = [n for n in DATA if n in op.inputs]
    return first + sorted(n for n in op.inputs if n not in DATA)


def is_data(op: Any, argument: str) -> bool:
    """Whether a constant given as `argument` is an operand, not a setting."""
    if op.type == "layer_norm" and argument in ("weight", "bias"):
        return False
    return argument in DATA


def work(op: Any, shapes: dict[str, Shape], out: Shape, values: Values) -> tuple[str, int | None]:
    """(Normalised op name, multiply-accumulates or None where not known).

    shapes: argument -> the shape of its value; "values" and others with several: of "values.0", ….
    """
    kind = op.type
    x, weight = shapes.get("x", ()), shapes.get("weight", ())
    name = OPS.get(kind, kind)
    if kind == "conv":
        depthwise = values.number(op, "groups", 1) == (weight or (0,))[0] > 1
        name = DEPTHWISE if depthwise else CONV
    if kind not in ("conv", *OPS) or name in (QUANTIZE, DEQUANTIZE, TRANSPOSE, RESHAPE, CONCAT):
        return name, 0
    if any(d < 0 for shape in (*shapes.values(), out) for d in shape):
        return name, None
    if kind == "conv":
        return name, math.prod(out) * math.prod(weight[1:]) if weight else None
    if kind == "conv_transpose":
        return name, math.prod(x) * math.prod(weight[1:]) if x and weight else None
    if kind == "linear":
        return name, math.prod(out) * weight[1] if len(weight) == 2 else None
    if kind == "matmul":
        inner = -2 if values.number(op, "transpose_x", 0) else -1
        return name, math.prod(out) * x[inner] if len(x) >= -inner else None
    if kind == "einsum":
        return name, _einsum(values.argument(op, "equation"), shapes)
    if kind == "scaled_dot_product_attention":
        query, key, value = (shapes.get(n, ()) for n in ("query", "key", "value"))
        if len(query) < 2 or len(key) < 2 or not value:
            return name, None
        return name, math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    found = [math.prod(s) for n, s in shapes.items() if n.startswith("weight") and len(s) == 2]
    return name, math.prod(x[:-1]) * sum(found) if x and found else None


def _einsum(equation: Any, shapes: dict[str, Shape]) -> int | None:
    """The product of all axes' lengths: each combination is one multiply-accumulate."""
    if not isinstance(equation, str):
        return None
    terms = equation.replace(" ", "").split("->")[0].split(",")
    given = [shapes.get(f"values.{i}", ()) for i in range(len(terms))]
    if any(len(t) != len(s) for t, s in zip(terms, given, strict=True)):
        return None
    lengths: dict[str, int] = {}
    for term, shape in zip(terms, given, strict=True):
        for axis, length in zip(term, shape, strict=True):
            lengths[axis] = max(length, lengths.get(axis, 1))
    return math.prod(lengths.values())
