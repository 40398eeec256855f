"""The marks that `widths` put around changes of width, taken out of the converted file."""

from __future__ import annotations

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.targets.tflite.edit import WEIGHTED, TfliteModel
from quantization.params import WIDE_MAX, WIDE_MIN, constant_params

MARK = "CEIL"
# What `widths` marks to give it 16 bits; whatever else it marks stays float.
WIDENED = ("ADD", "SUB", "MUL", "CONCATENATION")


def take_marks(model: TfliteModel) -> bool:
    """Make of what is marked what the file holds: ops on 16-bit codes, and changes of width.
    Whether it has 16-bit codes; one without has no marks."""
    if all(t.type != schema.TensorType.INT16 for t in model.graph.tensors):
        return False
    _widen(model)
    _join(model)
    _lengthen_biases(model)
    for op in model.graph.operators:
        if hasattr(op.builtinOptions, "potScaleInt16"):
            op.builtinOptions.potScaleInt16 = False  # a kernel for powers of two is another one
    return True


def _widen(model: TfliteModel) -> None:
    """Every float op of `WIDENED` between marks, 16-bit codes outside, as one on codes; its
    constants get the least scale that holds them, which is the table's."""
    maker = {int(op.outputs[0]): op for op in model.graph.operators}
    readers: dict[int, list[schema.OperatorT]] = {}
    for op in model.graph.operators:
        for i in op.inputs:
            readers.setdefault(int(i), []).append(op)

    def marks(op: schema.OperatorT | None) -> bool:
        return op is not None and model.op_name(op) == MARK

    for op in model.graph.operators:
        read = [int(i) for i in op.inputs if int(i) >= 0]
        data = [i for i in read if not model.is_constant(i)]
        behind = readers.get(int(op.outputs[0]), [])
        framed = len(behind) == 1 and all(marks(o) for o in (*behind, *map(maker.get, data)))
        if model.op_name(op) not in WIDENED or not framed:
            continue
        codes = {i: int(maker[int(maker[i].inputs[0])].inputs[0]) for i in data}
        op.inputs = [codes[i] if i in codes else _wide(model, i) for i in read]
        (quantize,) = readers[int(behind[0].outputs[0])]
        op.outputs, quantize.outputs = quantize.outputs, op.outputs
    model.drop_unread()


def _wide(model: TfliteModel, index: int) -> int:
    """A tensor of 16-bit codes of a float constant; its index."""
    values = model.constant(index, np.float32)
    scale = np.float32(constant_params("", values, "int16").scale[0])
    codes = np.round(values / scale).clip(WIDE_MIN, WIDE_MAX).astype(np.int16)
    made = copy.copy(model.graph.tensors[index])
    made.type, made.buffer = schema.TensorType.INT16, model.add_buffer(codes)
    made.quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[0])
    model.graph.tensors.append(made)
    return len(model.graph.tensors) - 1


def _join(model: TfliteModel) -> None:
    """Without marks: DEQUANTIZE and QUANTIZE around one are one QUANTIZE between codes."""
    maker = {int(op.outputs[0]): op for op in model.graph.operators}
    passed = {out: int(op.inputs[0]) for out, op in maker.items() if model.op_name(op) == MARK}
    for op in model.graph.operators:
        marked = [int(i) for i in op.inputs if int(i) in passed]
        op.inputs = [passed.get(int(i), int(i)) for i in op.inputs]
        if marked and model.op_name(op) == "QUANTIZE":
            before = maker[int(op.inputs[0])]
            op.inputs = before.inputs if model.op_name(before) == "DEQUANTIZE" else op.inputs
    model.drop_unread()


def _lengthen_biases(model: TfliteModel) -> None:
    """Biases of 64 bits for convolutions and linears of 16-bit codes, as their kernels read them;
    the converter writes 32."""
    for op in model.graph.operators:
        if model.op_name(op) not in WEIGHTED or len(op.inputs) < 3 or int(op.inputs[2]) < 0:
            continue
        index = int(op.inputs[2])
        bias = model.graph.tensors[index]
        wide = model.graph.tensors[int(op.inputs[0])].type == schema.TensorType.INT16
        if wide and bias.type == schema.TensorType.INT32:
            codes = model.constant(index, np.int32).astype(np.int64)
            bias.type, bias.buffer = schema.TensorType.INT64, model.add_buffer(codes)
