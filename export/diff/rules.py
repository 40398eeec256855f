"""What an op's result is before any rounding: its program in float64, with a file's parameters.

A kernel's code is right where it is the nearest one to that; how far past the middle between two
codes the exact value may lie shows how exactly the kernel computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.diff.named import NamedTaps, TappedTensor, conv_weight, parameters, real_constant
from export.diff.taps_program import IMAGE, Call
from export.graph import CONV, DEPTHWISE, DEQUANTIZE, LINEAR, QUANTIZE, FileNode
from mobilemod.evaluation.agreement import sqnr_db


@dataclass(frozen=True)
class Exact:
    """An op's exact result, float64: in steps of its scale from code 0 where it becomes codes
    (scale not None), of which `limits` are the least and the greatest; else real."""

    values: np.ndarray
    scale: float | None
    limits: tuple[int, int] = (0, 0)

    def codes(self) -> np.ndarray:
        """The nearest codes, ties to even, float64."""
        return np.clip(np.rint(self.values), *self.limits)

    def to_middle(self) -> np.ndarray:
        """How far each value is from the middle between two codes, in steps, 0 to 0.5."""
        return np.abs(self.values - np.floor(self.values) - 0.5)

    def past_middle(self, codes: np.ndarray) -> np.ndarray:
        """How far each value lies past the middle to the next code, in steps; 0 within."""
        inside = np.clip(self.values, *self.limits)
        return np.maximum(np.abs(codes - inside) - 0.5, 0.0)


def inputs_of(named: NamedTaps, name: str, known: set[str]) -> list[str]:
    """The tensors among `known` that `name` is computed from, in the network's order."""
    read = {i for call in calls_of(named, name, known) for i in call.inputs}
    return [n for n in named.names if n in known - {name} and named.program.names[n] in read]


def calls_of(named: NamedTaps, name: str, known: set[str]) -> list[Call]:
    """The program's ops between the tensors `known` and `name`."""
    program = named.program
    return program.between({program.names[n] for n in known - {name}}, [program.names[name]])


def exact(
    named: NamedTaps,
    name: str,
    x: np.ndarray,
    inputs: Mapping[str, TappedTensor],
    rounded: bool = True,
) -> Exact:
    """`name` computed in float64 from `inputs`, or from the image `x` where it needs none.

    Parameters are the file's; tensors that become codes on the way are rounded to the nearest,
    ties to even, unless `rounded` is false.
    """
    program = named.program
    target = program.names[name]
    held = {program.names[n]: parameters(named.tensor(n)) for n in named.names}
    scales = {tensor: params for tensor, params in held.items() if params[0] is not None}
    given = {IMAGE: _double(x)}
    given |= {program.names[n]: _double(named.in_form(n, t.values)) for n, t in inputs.items()}
    for call in program.between(given, [target]):
        if call.output in named.naming.steps:
            given |= _constants(named, call)
    steps: list[Tensor] = []
    limits: list[tuple[int, int]] = []

    def run(call: Call, args: list[Any]) -> Tensor:
        values = [_widened(a) for a in args]
        if call.op not in (QUANTIZE, DEQUANTIZE):
            return call.function(*values, **call.options)
        codes = call.output if call.op == QUANTIZE else call.inputs[0]
        scale, zero = scales.get(codes) or values[1:3]
        if call.op == DEQUANTIZE:
            return (values[0] - zero) * scale
        y = values[0] / scale + zero
        if call.output == target:
            steps.append(y)
            limits.append((values[3], values[4]))
        return y.round().clamp(values[3], values[4]) if rounded else y

    result = program.compute([target], given, run)[target]
    values = named.in_form(name, (steps[-1] if steps else result).numpy())
    if not steps:
        return Exact(values, None)
    return Exact(values, parameters(named.tensor(name))[0], limits[-1])


def _constants(named: NamedTaps, call: Call) -> dict[str, Tensor]:
    """The program's constants that `call` reads -> the file's values of them."""
    node = named.naming.steps[call.output]
    found: dict[str, Tensor] = {}
    if call.op == CONV and node.op in (CONV, DEPTHWISE, LINEAR):
        found[call.inputs[1]] = _double(conv_weight(named.taps, node))
        bias = conv_bias(named, node)
        if len(call.inputs) > 2 and bias is not None:
            found[call.inputs[2]] = _double(bias)
    for name in call.inputs:
        value = operand(named, node) if name in named.program.operands else None
        if value is not None:
            found[name] = _double(value.reshape(named.program.constants[name].shape))
    return found


def conv_bias(named: NamedTaps, node: FileNode) -> np.ndarray | None:
    """A convolution's real bias, float64 (out,); None where it has none."""
    if len(node.inputs) < 3:
        return None
    tensors = named.taps.graph.tensors
    bias = real_constant(named.taps, node.inputs[2])
    if bias is None or tensors[node.inputs[2]].dtype not in ("int32", "int64"):
        return None if bias is None else bias.ravel()
    x, weight = (tensors[name] for name in node.inputs[:2])
    return bias * np.float64(x.scale[0]) * np.array(weight.scale, np.float64)


def operand(named: NamedTaps, node: FileNode) -> np.ndarray | None:
    """The constant operand of an elementwise op, float64, flat; None where the file has none."""
    for name in node.inputs:
        while name in named.makers and len(named.makers[name].inputs) == 1:
            name = named.makers[name].inputs[0]
        value = real_constant(named.taps, name)
        if value is not None:
            return value.ravel()
    return None


def _double(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float64))


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double()
    if isinstance(value, list | tuple):
        return [_widened(v) for v in value]
    return value


def exactness(
    named: NamedTaps, x: np.ndarray, values: Mapping[str, TappedTensor], kinds: Mapping[str, str]
) -> list[dict[str, Any]]:
    """How exactly a file computes each kind of op from its own tensors, `values`.

    kinds: tensor -> what makes it. Of codes the share that isn't the nearest one, and how far past
    the middle the farthest lies, in steps; of real values the least dB from the exact result.
    """
    known, found = set(values), {}
    for name, tensor in values.items():
        inputs = {n: values[n] for n in inputs_of(named, name, known)}
        result, coded = exact(named, name, x, inputs), tensor.scale is not None
        entry = found.setdefault(
            (kinds[name], coded),
            {"op": kinds[name], "codes": coded, "tensors": 0, "values": 0, "off": 0,
             "past_middle": 0.0, "exact_db": None},
        )  # fmt: skip
        entry["tensors"] += 1
        entry["values"] += tensor.values.size
        if coded:
            codes = tensor.values.astype(np.float64)
            entry["off"] += int((codes != result.codes()).sum())
            entry["past_middle"] = max(entry["past_middle"], float(result.past_middle(codes).max()))
        else:
            decibel = sqnr_db(result.values.reshape(1, -1), tensor.real.reshape(1, -1))
            if math.isfinite(decibel):
                entry["exact_db"] = min(entry["exact_db"] or math.inf, decibel)
    return list(found.values())
