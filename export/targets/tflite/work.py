"""Multiply-accumulates of a TFLite operator, from the shapes of its tensors."""

from __future__ import annotations

import math

from export.graph import CONV, CONV_TRANSPOSE, DEPTHWISE, LINEAR, MATMUL, RECURRENT

OPS = {
    "CONV_2D": CONV,
    "CONV_3D": CONV,
    "DEPTHWISE_CONV_2D": DEPTHWISE,
    "TRANSPOSE_CONV": CONV_TRANSPOSE,
    "CONV_3D_TRANSPOSE": CONV_TRANSPOSE,
    "Convolution2DTransposeBias": CONV_TRANSPOSE,  # MediaPipe's
    "FULLY_CONNECTED": LINEAR,
    "BATCH_MATMUL": MATMUL,
    **dict.fromkeys(("LSTM", "RNN", "SVDF"), RECURRENT),
    **{
        f"{way}DIRECTIONAL_SEQUENCE_{k}": RECURRENT
        for way in ("UNI", "BI")
        for k in ("LSTM", "RNN")
    },
}
# Their inputs are output shape, weight, data, bias.
SHAPE_FIRST = ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")
# Builtins that may multiply and accumulate in ways that the file's shapes alone don't tell.
UNKNOWN = (
    "LSH_PROJECTION", "CONCAT_EMBEDDINGS", "SKIP_GRAM", "RFFT2D", "STABLEHLO_CONVOLUTION",
    "STABLEHLO_DOT_GENERAL", "STABLEHLO_CUSTOM_CALL", "DELEGATE", "WHILE", "STABLEHLO_WHILE",
)  # fmt: skip

Shape = tuple[int, ...]


def macs(kind: str, inputs: list[Shape], out: Shape, transposed: bool = False) -> int | None:
    """Work of an operator of `kind`; None where it isn't known.

    inputs: shapes in the order data, weight, … (missing ones are ()). transposed: a matmul's first
    operand is. Weights are (out, h, w, in), depthwise (1, h, w, out), 3-D (d, h, w, in, out).
    """
    op = OPS.get(kind)
    if op is None:
        return 0
    data, weight = (*inputs, (), ())[:2]
    if not data or not out or any(d < 0 for shape in (*inputs, out) for d in shape):
        return None  # a shape that only the runtime finds out
    ranks = {"CONV_3D": 5, "CONV_3D_TRANSPOSE": 5, "FULLY_CONNECTED": 2}
    if op in (CONV, DEPTHWISE, CONV_TRANSPOSE, LINEAR) and len(weight) != ranks.get(kind, 4):
        return None
    if op == RECURRENT:
        steps = math.prod(data[:-1])
        return steps * sum(math.prod(w) for w in inputs[1:] if len(w) == 2)
    if op == MATMUL:
        if len(data) < 2:
            return None
        return math.prod(out) * data[-2 if transposed else -1]
    if kind == "CONV_3D":
        return math.prod(out) * math.prod(weight[:4])
    if kind == "CONV_3D_TRANSPOSE":
        return math.prod(data) * math.prod(weight[:4])
    if op == CONV_TRANSPOSE:
        return math.prod(data) * math.prod(weight[:3])
    if op == DEPTHWISE:
        return math.prod(out) * math.prod(weight[1:3])
    return math.prod(out) * math.prod(weight[1:])
