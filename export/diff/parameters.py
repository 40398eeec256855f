"""The parameters that two files hold of one op, and where they differ by more than rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from export.diff.named import NamedTaps, conv_weight, parameters
from export.diff.rules import calls_of, conv_bias, inputs_of, operand
from export.diff.taps_program import Call
from export.graph import CONV, DEPTHWISE, DEQUANTIZE, LINEAR
from mobilemod.forms.splits import Piece, whole_kernel

# float16 rounds a code's product with its scale after it rounded the scale.
HALF_TOLERANCE, HALF_SMALLEST = 1.5 * 2.0**-10, 6e-8
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Parameter:
    """One parameter as a file holds it: `values`, float64 and real, or a setting's name.

    step: what its rounding to integers makes of it, where it is put together from pieces that
    have scales of their own, or may be compared with one that is.
    """

    values: np.ndarray | str
    step: np.ndarray | None = None
    pieces: bool = False


@dataclass(frozen=True)
class ParameterDifference:
    """A parameter that two files hold differently; tensor: the first that it bears on."""

    parameter: str
    tensor: str
    text: str


def parameter_differences(
    a: NamedTaps, b: NamedTaps, names: list[str]
) -> list[ParameterDifference]:
    """Every parameter of the ops that make `names`, common to both files, that differs by more
    than its format's rounding, in the network's order; none of an int8 file beside a float one."""
    found: list[ParameterDifference] = []
    if a.int8 != b.int8:
        return found
    known = set(names)
    for name in names:
        own, other = (dict(parameters_of(n, name, known)) for n in (a, b))
        for label in [k for k in own if k in other]:
            text = parameter_difference(own[label], other[label], a.half or b.half)
            if text:
                found.append(ParameterDifference(label, name, text))
    return found


def parameters_of(named: NamedTaps, name: str, known: set[str]) -> Iterator[tuple[str, Parameter]]:
    """(what it is, the parameter) for all between the tensors `known` and `name`."""
    yield from _of_codes(name, *parameters(named.tensor(name)))
    for source in inputs_of(named, name, known):
        yield from _of_codes(f"{source}, as read,", *_as_read(named, source))
    calls = calls_of(named, name, known)
    for module, pieces in named.program.splits.items():
        labels = [f"{module}.part{i}:weight" for i in range(len(pieces))]
        made = {named.program.weights.get(c.output): c for c in calls}
        if made.keys() >= set(labels):
            yield from _whole_kernel(named, module, pieces, [made[label] for label in labels])
    for call in calls:
        yield from _of_op(named, call, name.partition(":")[0])


def _of_codes(label: str, scale: float | None, zero: float) -> Iterator[tuple[str, Parameter]]:
    if scale is not None:
        yield f"{label} scale", Parameter(np.array([scale]))
        yield f"{label} zero point", Parameter(np.array([float(zero)]))


def _as_read(named: NamedTaps, name: str) -> tuple[float | None, float]:
    """The scale and zero point that codes are read by, where a file has them apart."""
    for node in named.taps.graph.nodes:
        if node.op == DEQUANTIZE and node.inputs[0] == named.names[name]:
            settings = named.taps.settings(node.outputs[0])
            if "scale" in settings:
                return float(settings["scale"]), float(settings["zero point"])
    return parameters(named.tensor(name))


def _of_op(named: NamedTaps, call: Call, module: str) -> Iterator[tuple[str, Parameter]]:
    node = named.naming.steps.get(call.output)
    if node is None:
        return
    for key, value in named.taps.settings(node.outputs[0]).items():
        values = value if isinstance(value, str) else np.array([value])
        yield f"{module} {key}", Parameter(values)
    label = named.program.weights.get(call.output)
    if label is not None and node.op in (CONV, DEPTHWISE, LINEAR):
        weight, bias = _weight(named, call, label), _bias(named, call)
        yield label, weight
        if label.endswith(".variance:weight"):
            yield f"{module} eps", bias
        else:
            yield label.replace(":weight", ":bias"), bias
    for name in call.inputs:
        value = operand(named, node) if name in named.program.operands else None
        if value is not None:
            yield named.program.operands[name], Parameter(value)


def _weight(named: NamedTaps, call: Call, label: str) -> Parameter:
    """A convolution's weight as published."""
    node = named.naming.steps[call.output]
    weight = conv_weight(named.taps, node)
    merging = named.program.mergings.get(label)
    if merging is not None:
        weight = merging.published(torch.from_numpy(weight)).numpy()
    scale = named.taps.graph.tensors[node.inputs[1]].scale
    step = np.array(scale, np.float64).reshape(-1, 1, 1, 1) if scale else None
    return Parameter(weight, step)


def _bias(named: NamedTaps, call: Call) -> Parameter:
    program, node = named.program, named.naming.steps[call.output]
    bias = conv_bias(named, node)
    if bias is None:
        bias = np.zeros(conv_weight(named.taps, node).shape[0])
    read = program.made.get(call.inputs[0])
    weight = named.taps.graph.tensors[node.inputs[1]].scale
    if read is None or read.op != DEQUANTIZE or not weight:
        return Parameter(bias.ravel())
    scale = program.graph.tensors[read.inputs[0]].scale[0]
    return Parameter(bias.ravel(), np.array(weight, np.float64) * scale)


def _whole_kernel(
    named: NamedTaps, module: str, pieces: Sequence[Piece], calls: list[Call]
) -> Iterator[tuple[str, Parameter]]:
    """The published depthwise kernel that pieces add up to, and its bias."""
    weights = [_weight(named, call, named.program.weights[call.output]) for call in calls]
    steps = [np.zeros((len(w.values), 1, 1, 1)) if w.step is None else w.step for w in weights]
    kernel, step = (
        whole_kernel(pieces, [torch.from_numpy(part) for part in parts]).numpy()
        for parts in ([w.values for w in weights], steps)
    )
    yield f"{module}:weight", Parameter(kernel, step, pieces=True)
    biases = [_bias(named, call) for call in calls]
    total = np.sum([bias.values for bias in biases], axis=0)
    yield f"{module}:bias", Parameter(total, biases[0].step, pieces=True)


def parameter_difference(a: Parameter, b: Parameter, half: bool) -> str:
    """How two parameters differ, "" where they don't beyond rounding."""
    one, other = a.values, b.values
    if isinstance(one, str) or isinstance(other, str):
        return "" if one == other else f"{one} / {other}"
    if one.size != other.size:
        return f"{one.size} values / {other.size}"
    other = other.reshape(one.shape)
    largest = np.maximum(np.abs(one), np.abs(other))
    limit = largest * (HALF_TOLERANCE if half else TOLERANCE)
    limit = limit + (HALF_SMALLEST if half else 1e-9 * float(largest.max()))
    if a.pieces != b.pieces:
        for step in (a.step, b.step):
            limit = limit + (0.0 if step is None else 0.505 * step)
    wrong = np.abs(one - other) > limit
    if not wrong.any():
        return ""
    where = np.unravel_index(int(np.argmax(np.abs(one - other) - limit)), one.shape)
    values = f"{one[where]:.9g} / {other[where]:.9g}"
    if one.size == 1:
        return values
    return f"{int(wrong.sum())} of {one.size} values, such as {values}"
